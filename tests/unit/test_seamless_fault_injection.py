"""The fixture `seamless_fault_injection`: what it plants is what checks find, and nothing else."""

from __future__ import annotations

import threading
from collections import Counter

import polars as pl
import pytest

from quant_sdk.conformance import rules
from quant_sdk.conformance.pipeline import ConformancePipeline
from quant_sdk.errors import (
    Conflict,
    DiskFull,
    InvalidInput,
    SourceError,
    SourceRefused,
    UnknownName,
    UnknownSymbol,
    VenueBusy,
)
from quant_sdk.lakehouse.coverage import coverage
from quant_sdk.lakehouse.timeframe import Timeframe, to_micros
from quant_sdk.schemas import FileSchemaRegistry
from quant_sdk.schemas.dtypes import polars_schema
from quant_sdk.sources.fetch import COLUMNS, fetch_bars
from quant_sdk.sources.protocol import BarQuery, Capabilities
from quant_sdk.testing import SeamlessFaults
from quant_sdk.testing.clean import FIRST, clean_bars
from quant_sdk.testing.deformed import DEFORMATIONS
from quant_sdk.testing.faulty_source import SOURCE_FAULTS
from quant_sdk.testing.flaws import ALL, BARS

HOUR = Timeframe.parse("1h")
START = to_micros(FIRST)


def numbered(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_row_index("row")


def counted(frame: pl.DataFrame, timeframe: str = "1h") -> tuple[Counter[str], int, int]:
    """Return counts by rule, quarantined rows and identical duplicates, as `admit` finds."""
    pipeline = ConformancePipeline.partial_ok(True)
    checked = pipeline.admit(numbered(frame), Timeframe.parse(timeframe))
    found = Counter(checked.quarantined["rule"].to_list())
    found.update(checked.notes)
    bars = checked.bars.with_columns(timeframe=pl.lit(timeframe))
    found["missing_bars"] = sum(series.missing for series in coverage(bars))
    found["identical_duplicate"] = checked.identical_duplicates
    return +found, checked.quarantined.height, checked.identical_duplicates


BEYOND = ("out_of_order", "stale_series", "return_after_gap")
"""What only the whole pipeline counts."""
ALONE = [flaw.name for flaw in BARS if flaw.name != "return_after_gap"]


def of_admit(expected: dict[str, int]) -> dict[str, int]:
    return {rule: count for rule, count in expected.items() if rule not in BEYOND}


@pytest.fixture
def faults(seamless_fault_injection):
    return seamless_fault_injection


def test_every_rule_has_a_flaw_and_every_flaw_a_rule(faults):
    assert set(faults.flaws) == {rule.id for rule in rules.BUILT_IN}
    assert all(flaw.name in flaw.counts for flaw in ALL)
    assert {flaw.kind: set(faults.flaws_of(flaw.kind)) for flaw in ALL} == {
        "bars": {rule.id for rule in rules.BARS},
        "ticks": {rule.id for rule in rules.TICKS},
        "quotes": {rule.id for rule in rules.QUOTES},
    }


@pytest.mark.parametrize("kind", ["bars", "ticks", "quotes"])
def test_clean_frames_have_the_columns_of_their_schema(faults, kind):
    schema = FileSchemaRegistry().get(kind)
    frame = getattr(faults, kind)()
    assert dict(frame.schema) == polars_schema(schema, schema.required)
    assert frame.null_count().sum_horizontal().item() == 0


@pytest.mark.parametrize("timeframe", ["1s", "1m", "50m", "1h", "1d", "1w"])
def test_clean_bars_have_nothing_to_find(faults, timeframe):
    assert counted(faults.bars(5, 300, timeframe), timeframe) == (Counter(), 0, 0)


@pytest.mark.parametrize("name", ALONE)
def test_each_flaw_of_bars_is_found_and_nothing_else(faults, name):
    count = 2
    planted = faults.plant(flaws={name: count})
    found, quarantined, duplicates = counted(planted.frame)
    assert found == of_admit(planted.expected)
    assert (quarantined, duplicates) == (planted.quarantined, planted.identical_duplicates)
    assert planted.expected[name] >= count
    assert len(planted.places[name]) == count


@pytest.mark.parametrize("seed", range(5))
def test_all_flaws_at_once_are_each_counted(faults, seed):
    clean = faults.bars(20, 1000)
    flaws = {name: number + 1 for number, name in enumerate(ALONE)}
    planted = faults.plant(clean, flaws, seed=seed)
    found, quarantined, duplicates = counted(planted.frame)
    assert found == of_admit(planted.expected)
    assert (quarantined, duplicates) == (planted.quarantined, planted.identical_duplicates)


def asked(planted, kind="bars"):
    """Return what the whole pipeline finds: counts by rule, and the report."""
    result = ConformancePipeline(kind, mode="partial_ok").run(
        planted.frame, node="test", as_of=planted.as_of
    )
    found = {rule.rule: rule.count for rule in result.report.rules if rule.count}
    return found, result.report


@pytest.mark.parametrize("flaw", ALL, ids=lambda flaw: flaw.name)
def test_the_pipeline_finds_each_flaw_and_nothing_else(faults, flaw):
    planted = faults.plant(getattr(faults, flaw.kind)(), {flaw.name: 2})
    found, report = asked(planted, flaw.kind)
    assert found == planted.expected
    assert {each.severity for each in report.schema_findings} <= {"note"}
    assert report.quarantined == planted.quarantined
    assert report.identical_duplicates == planted.identical_duplicates
    assert (report.rows_in, report.rows_out) == (planted.frame.height, planted.rows_out)


@pytest.mark.parametrize("kind", ["bars", "ticks", "quotes"])
@pytest.mark.parametrize("seed", range(3))
def test_the_pipeline_counts_all_flaws_at_once(faults, kind, seed):
    clean = getattr(faults, kind)(20, 1000)
    flaws = {name: number + 1 for number, name in enumerate(faults.flaws_of(kind))}
    planted = faults.plant(clean, flaws, seed=seed)
    found, report = asked(planted, kind)
    assert found == planted.expected
    assert report.quarantined == planted.quarantined
    assert report.rows_out == planted.rows_out


@pytest.mark.parametrize("kind", ["bars", "ticks", "quotes"])
def test_the_pipeline_finds_nothing_in_clean_frames(faults, kind):
    clean = getattr(faults, kind)()
    result = ConformancePipeline(kind).run(clean, node="test")
    assert [rule for rule in result.report.rules if rule.count] == []
    assert result.report.schema_findings == ()
    assert result.frame.select(clean.columns).equals(clean)


@pytest.mark.parametrize("name", DEFORMATIONS)
def test_the_pipeline_calls_each_deformation_as_it_is_told_to(faults, name):
    deformed = faults.deform(name)
    kind = "ticks" if name == "side_unknown" else "bars"
    result = ConformancePipeline(kind, mode="partial_ok").run(deformed.frame, node="test")
    (finding,) = [each for each in result.report.schema_findings if each.code == deformed.code]
    assert all(each.severity == "note" for each in result.report.schema_findings if each != finding)
    assert (finding.code, finding.severity, finding.column) == (
        deformed.code,
        deformed.severity,
        deformed.column,
    )
    assert result.report.quarantined == deformed.rows


def test_the_same_seed_plants_the_same_flaws(faults):
    first, again, other = (faults.plant(seed=seed) for seed in (1, 1, 2))
    assert first.frame.equals(again.frame, null_equal=True)
    assert first.places == again.places
    assert first.places != other.places


def test_nothing_is_changed_where_nothing_is_planted(faults):
    clean = faults.bars()
    planted = faults.plant(clean, {})
    assert planted.frame.equals(clean)
    assert (planted.expected, planted.quarantined, planted.rows_out) == ({}, 0, clean.height)


def test_planting_leaves_the_clean_frame_alone(faults):
    clean = faults.bars()
    before = clean.clone()
    faults.plant(clean)
    assert clean.equals(before)


def test_rows_come_out_of_order_where_that_is_planted(faults):
    planted = faults.plant(flaws={"out_of_order": 3})
    same = pl.col("symbol") == pl.col("symbol").shift(1)
    back = planted.frame.filter(same & (pl.col("ts") < pl.col("ts").shift(1)))
    assert back.height == planted.expected["out_of_order"] == 3


def test_a_stale_series_ends_before_the_others(faults):
    planted = faults.plant(flaws={"stale_series": 2})
    ends = planted.frame.group_by("symbol").agg(pl.col("ts").max())["ts"].sort()
    behind = [HOUR.bars_between(HOUR.end_of(end), planted.as_of) for end in ends]
    assert behind == [1, 1, 0]


def test_a_return_after_a_gap_is_one_that_spans_a_gap(faults):
    planted = faults.plant(flaws={"return_after_gap": 2})
    within = pl.col("symbol") == pl.col("symbol").shift(1)
    jumps = planted.frame.filter(within & (pl.col("close") > 6 * pl.col("close").shift(1)))
    assert jumps.height == 2
    missing = [series.missing for series in coverage(planted.frame)]
    assert sum(missing) == planted.expected["missing_bars"] == 2


@pytest.mark.parametrize("kind", ["ticks", "quotes"])
def test_trades_and_quotes_are_flawed_where_it_is_said(faults, kind):
    clean = getattr(faults, kind)()
    planted = faults.plant(clean, dict.fromkeys(faults.flaws_of(kind), 2))
    assert planted.as_of is None
    assert planted.frame.height == clean.height + 2 * (kind == "ticks")
    kept = planted.frame.join(clean, on=clean.columns, how="semi", nulls_equal=True)
    untouched = clean.height - sum(map(len, planted.places.values()))
    assert kept.height == untouched + 2 * (kind == "ticks")


def test_a_flaw_that_such_a_frame_cannot_have_is_refused(faults):
    with pytest.raises(UnknownName) as caught:
        faults.plant(flaws={"ohlc_ordr": 1})
    assert "ohlc_order" in caught.value.fix
    with pytest.raises(UnknownName):
        faults.plant(faults.ticks(), {"ohlc_order": 1})


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (clean_bars(1, 40), "room for 0"),
        (clean_bars().sort("ts"), "not in order"),
        (clean_bars().reverse(), "not in order"),
        (pl.DataFrame({"a": [1]}), "neither"),
    ],
)
def test_a_frame_without_room_or_order_is_refused(faults, frame, told):
    with pytest.raises(InvalidInput, match=told):
        faults.plant(frame, {"ohlc_order": 1})


def test_a_series_has_room_for_some_flaws_only(faults):
    with pytest.raises(InvalidInput, match="room for 3 of return_after_gap"):
        faults.plant(flaws={"return_after_gap": 4})
    with pytest.raises(InvalidInput, match="room for 9 of volume_spike"):
        faults.plant(flaws={"volume_spike": 10})


def test_every_deformation_changes_the_frame_and_names_a_code(faults):
    for name in faults.deformations:
        clean = faults.ticks() if name == "side_unknown" else faults.bars()
        deformed = faults.deform(name)
        assert deformed.code
        assert not (deformed.frame.schema == clean.schema and deformed.frame.equals(clean))
    with pytest.raises(UnknownName):
        faults.deform("volume_droped")
    with pytest.raises(InvalidInput):
        faults.deform("side_unknown", faults.bars())


class Bars:
    """A source that gives hours, two a page."""

    id = "test"
    venue = "TEST"
    capabilities = Capabilities(
        page_size=2,
        since_inclusive=True,
        lookback=0,
        max_requests_per_second=1e9,
        timeframes=("1h",),
        gives_next=True,
    )

    def transform_query(self, query):
        return {"since": query.start}

    def extract(self, request):
        return request["since"]

    def transform_data(self, answer):
        opens = [answer, answer + HOUR.micros]
        return pl.DataFrame(
            {"ts": opens, **{name: [1.0, 2.0] for name in COLUMNS if name != "ts"}}
        ).cast(COLUMNS)


QUERY = BarQuery(symbol="TEST:AB", timeframe="1h", start=START, end=START + 8 * HOUR.micros)


def fetch(source):
    return fetch_bars(source, QUERY, now_us=QUERY.end, caller=lambda call: call())


def test_a_source_without_plans_is_as_good_as_the_one_within(faults):
    whole, wrapped = fetch(Bars()), fetch(faults.source(Bars()))
    assert wrapped.bars.equals(whole.bars)
    assert wrapped.holes == whole.holes == ()
    assert faults.source(Bars()).capabilities.gives_next


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("error", SourceError),
        ("busy", VenueBusy),
        ("refused", SourceRefused),
        ("unknown_symbol", UnknownSymbol),
        ("torn", SourceError),
    ],
)
def test_a_source_fails_as_often_as_planned(faults, fault, error):
    source = faults.source(Bars()).fails(fault, times=2, after=1)
    request = source.transform_query(QUERY)

    def ask():
        return source.transform_data(source.extract(request))

    assert ask().height == 2
    for _ in range(2):
        with pytest.raises(error):
            ask()
    assert ask().height == 2
    assert source.met == {fault: 2}


def test_a_failed_page_is_a_hole_and_the_rest_comes(faults):
    fetched = fetch(faults.source(Bars()).fails("error", after=1))
    assert [(hole.start, hole.end, hole.cause) for hole in fetched.holes] == [
        (START + 2 * HOUR.micros, START + 4 * HOUR.micros, "fetch_failed")
    ]
    assert fetched.bars.height == 6


@pytest.mark.parametrize(
    "fault", ["empty", "duplicates", "conflicts", "out_of_order", "wrong_unit"]
)
def test_a_source_tells_wrong_things_as_planned(faults, fault):
    right = Bars().transform_data(START)
    source = faults.source(Bars()).fails(fault)
    wrong = source.transform_data(source.extract(source.transform_query(QUERY)))
    assert wrong.schema == right.schema
    if fault == "empty":
        assert wrong.height == 0
    elif fault == "out_of_order":
        assert wrong.equals(right.reverse())
    elif fault == "wrong_unit":
        assert (wrong["ts"].to_physical() == right["ts"].to_physical() // 1000).all()
    else:
        assert wrong["ts"].to_list() == [ts for ts in right["ts"] for _ in range(2)]
        assert wrong["close"].n_unique() == (4 if fault == "conflicts" else 2)


def test_every_fault_of_a_source_is_tested_above_and_an_unknown_one_is_refused(faults):
    told = {"error", "busy", "refused", "unknown_symbol", "torn"}
    told |= {"empty", "duplicates", "conflicts", "out_of_order", "wrong_unit"}
    assert set(SOURCE_FAULTS) == set(faults.source_faults) == told
    with pytest.raises(UnknownName) as caught:
        faults.source(Bars()).fails("tron")
    assert "torn" in caught.value.fix


def test_a_call_waits_at_a_gate(faults):
    source = faults.source(Bars())
    gate = source.waits()
    caller = threading.Thread(target=source.extract, args=({"since": START},))
    caller.start()
    gate.wait_until_reached()
    assert caller.is_alive()
    gate.release()
    caller.join(30)
    assert not caller.is_alive()


def test_faults_are_met_once_each_by_many_threads(faults):
    source = faults.source(Bars()).fails("error", times=20)
    failed = []

    def work():
        for _ in range(10):
            try:
                source.extract({"since": START})
            except SourceError as error:
                failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failed) == source.met["error"] == 20


def publish(run, params):
    run.commit(lambda commit: (run.workspace.root / "there").touch(), batch_id="b")
    return {}


@pytest.fixture
def runner(stage_runner):
    from quant_registry.spec import StageSpec

    stage = StageSpec(id="test.publish", category="test", title="P", body=f"{__name__}:publish")
    return stage_runner((stage,))


@pytest.mark.parametrize(
    ("plan", "code", "there"),
    [
        (lambda storage: storage.commit_fails(), Conflict.code, False),
        (lambda storage: storage.commit_fails(ValueError("x")), "run_failed", False),
        (lambda storage: storage.disk_full(), DiskFull.code, False),
        (lambda storage: storage.breaks(), "run_failed", True),
    ],
)
def test_the_storage_fails_once(faults, runner, plan, code, there):
    plan(faults.storage)
    record = runner.run("test.publish")
    assert (record.state, record.error["code"]) == ("failed", code)
    assert (runner.root / "there").exists() is there
    assert runner.run("test.publish").state == "succeeded"


def test_a_slow_storage_holds_the_commit(faults, runner):
    gate = faults.storage.slow()
    run = runner.start("test.publish")
    gate.wait_until_reached()
    assert not (runner.root / "there").exists()
    gate.release()
    assert run.end().state == "succeeded"
    assert (runner.root / "there").exists()


def test_the_fixture_is_a_facade_that_needs_no_pytest(fault_points):
    assert SeamlessFaults(fault_points).plant().frame.height > 0
