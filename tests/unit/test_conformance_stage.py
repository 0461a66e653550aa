"""The stage `seamless.conformance`: what it checks, keeps, tells and stops."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from _lake import FIRST, HOUR, Lake, answer
from deltalake import write_deltalake

from quant_sdk.errors import InvalidParams, PrerequisitesNotMet
from quant_sdk.lakehouse.snapshot import create_snapshot
from quant_sdk.lakehouse.specs import VERIFIED_EMPTY
from quant_sdk.lakehouse.table import Table
from quant_sdk.observability import ReportStore
from quant_sdk.schemas import FileSchemaRegistry
from quant_sdk.schemas.state import State, write_states
from quant_sdk.testing import FakeClock, StageRunner
from quant_stages.conformance import STAGES

STAGE = "seamless.conformance"
A, B, C = "X:AAA", "X:BBB", "X:CCC"
HOURS = 60


class Workplace(StageRunner):
    """A workspace with the stage, a lakehouse, and a folder for files."""

    def __init__(self, root, **options):
        super().__init__(root, STAGES, **options)
        self.lake = Lake(self.root)
        self.files = self.root / "in"
        self.files.mkdir()

    @property
    def store(self):
        return ReportStore(self.workspace)

    def fill(self, **series):
        """Publish bars of symbols, by hour."""
        self.lake.publish(
            "up", answer("s", {f"X:{name}": closes for name, closes in series.items()})
        )

    def passed(self, **params):
        record = self.run(STAGE, **params)
        assert record.state == "succeeded", record.error
        return record.result

    def blocked(self, **params):
        record = self.run(STAGE, **params)
        assert (record.state, record.exit_code) == ("failed", 8), record.error
        return record.error

    def refused(self, **params):
        with pytest.raises(PrerequisitesNotMet) as caught:
            self.run(STAGE, **params)
        return caught.value.message

    def report(self, node="table:bars"):
        return self.store.latest(node).report


@pytest.fixture
def place(tmp_path):
    with Workplace(tmp_path / "ws") as runner:
        yield runner


def hours(count=HOURS, *, without=()):
    return {hour: 1.0 + hour / 100 for hour in range(count) if hour not in without}


def bars(symbol=A, count=HOURS, **columns) -> pl.DataFrame:
    """Return good bars at each hour, in the columns of the schema."""
    frame = pl.DataFrame(
        {
            "ts": [FIRST + hour * HOUR for hour in range(count)],
            **{name: [1.0 + hour / 100 for hour in range(count)] for name in ("open", "close")},
        },
        schema_overrides={"ts": pl.Datetime("us", "UTC")},
    )
    return frame.select(
        pl.lit(symbol).alias("symbol"),
        pl.lit("1h").alias("timeframe"),
        "ts",
        "open",
        pl.col("open").alias("high"),
        pl.col("open").alias("low"),
        "close",
        pl.lit(2.0).alias("volume"),
    ).with_columns(**columns)


def flawed() -> pl.DataFrame:
    """Three symbols, interleaved: two negative prices, a lost time, a twin and a conflict."""
    good = pl.concat([bars(A), bars(B), bars(C)]).sort("ts", "symbol")
    row = pl.int_range(pl.len())
    changed = good.with_columns(
        low=pl.when(row.is_in([5, 9])).then(-1.0).otherwise("low"),
        ts=pl.when(row == 50).then(None).otherwise("ts"),
    )
    conflict = good[100].with_columns(close=pl.col("high") * 0.999, low=pl.col("low") * 0.5)
    return pl.concat([changed, good[70], conflict])


FLAGGED = {"timestamp_missing": 1, "non_positive_price": 2, "duplicate_conflict": 2}


def test_good_bars_pass_and_the_result_names_the_report(place):
    place.fill(AAA=hours(), BBB=hours(without={7, 8}))
    result = place.passed()
    assert (result["verdict"], result["flags"], result["flagged"]) == ("pass", 0, {})
    assert (result["series"], result["missing"], result["expected"]) == (2, 2, 2 * HOURS)
    assert result["latest"] == "qmtl://observability/seamless/table:bars"
    saved = place.store.read(result["uri"])
    assert saved == place.store.latest("table:bars")
    assert result["report"] == saved.path
    assert saved.run_id == place.sdk.runs()[0].run_id
    assert saved.report.rows_in == saved.report.rows_out == 2 * HOURS - 2


def test_the_same_state_gives_the_same_digest_and_is_kept_once(place):
    place.fill(AAA=hours())
    first, second = place.passed(), place.passed(workers=7)
    assert first["uri"] == second["uri"]
    assert (first["kept"], second["kept"]) == (True, False)
    assert second["regression"]["outcome"] == "same"
    assert len(place.store.entries("table:bars")) == 1


def test_each_series_is_told_of_and_no_row_is_left_out(place):
    flawed().write_parquet(place.files / "a.parquet")
    place.blocked(path="in", piece_rows=1)
    told = {event["symbol"]: event for event in place.events("conformance_progress")}
    assert set(told) == {A, B, C}
    assert sum(event["rows"] for event in told.values()) == flawed().height
    assert sum(event["quarantined"] for event in told.values()) == sum(FLAGGED.values())
    assert sum(event["flags"] for event in told.values()) == sum(FLAGGED.values())
    assert [event["progress"]["total"] for event in told.values()] == [3, 3, 3]
    assert {event["status"] for event in told.values()} <= {"success", "flagged"}


def test_what_blocks_is_kept_before_it_is_refused(place):
    flawed().write_parquet(place.files / "a.parquet")
    error = place.blocked(path="in")
    assert error["code"] == "conformance_blocked"
    assert "2 x non_positive_price" in error["message"]
    [node] = place.store.nodes()
    saved = place.store.latest(node)
    assert saved.uri in error["fix"]
    assert saved.report.verdict == "block"
    assert saved.report.flagged == FLAGGED
    assert saved.report.identical_duplicates == 1
    [event] = place.events("conformance_reported")
    assert (event["uri"], event["flags"], event["verdict"]) == (saved.uri, 5, "block")


@pytest.mark.parametrize("mode", ["partial_ok", "shadow"])
def test_modes_that_do_not_block_answer_with_the_verdict(place, mode):
    flawed().write_parquet(place.files / "a.parquet")
    result = place.passed(path="in", mode=mode)
    assert (result["verdict"], result["mode"], result["flagged"]) == ("block", mode, FLAGGED)
    assert result["rows_in"] == result["rows_out"] + result["quarantined"] + 1


def test_the_workspaces_settings_give_mode_and_preset(place):
    flawed().write_parquet(place.files / "a.parquet")
    place.workspace.settings.write_text(
        "seamless: {conformance: {mode: shadow, preset: permissive-dev}}\n"
    )
    assert place.passed(path="in")["mode"] == "shadow"
    assert place.passed(path="in", preset="strict-blocking")["mode"] == "shadow"
    place.blocked(path="in", mode="blocking")


@pytest.mark.parametrize("piece_rows", [1, 61, 10_000])
@pytest.mark.parametrize("workers", [1, 3])
def test_pieces_and_threads_change_nothing_that_is_found(place, piece_rows, workers):
    flawed().write_parquet(place.files / "a.parquet")
    place.blocked(path="in", node="whole")
    place.blocked(path="in", node="parts", piece_rows=piece_rows, workers=workers)
    whole, parts = place.report("whole"), place.report("parts")
    assert parts.flagged == whole.flagged == FLAGGED
    for name in ("series", "daily", "rows_in", "rows_out", "quarantined", "verdict"):
        assert getattr(parts, name) == getattr(whole, name)


def write(frame, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    {
        ".parquet": frame.write_parquet,
        ".feather": frame.write_ipc,
        ".arrow": frame.write_ipc,
        ".csv": frame.write_csv,
    }[path.suffix](path)


@pytest.mark.parametrize("suffix", [".parquet", ".feather", ".arrow", ".csv"])
@pytest.mark.parametrize("given", ["in", "in/a{}", "{root}/in"])
def test_files_of_each_format_are_read(place, suffix, given):
    write(pl.concat([bars(A), bars(B)]), place.files / f"a{suffix}")
    result = place.passed(path=given.format(suffix, root=place.root))
    assert (result["rows_in"], result["series"], result["missing"]) == (2 * HOURS, 2, 0)


def test_a_series_that_lies_in_several_files_is_one_series(place):
    whole = bars(A)
    write(whole[:20], place.files / "1.parquet")
    write(whole[15:40], place.files / "2.parquet")
    write(whole[45:], place.files / "deep" / "3.parquet")
    result = place.passed(path="in", piece_rows=1)
    assert (result["series"], result["missing"], result["identical_duplicates"]) == (1, 5, 5)


def test_one_name_stands_for_files_that_do_not_name_theirs(place):
    bare = bars(A).drop("symbol", "timeframe")
    write(bare[:30], place.files / "1.parquet")
    write(bare[30:], place.files / "2.parquet")
    result = place.passed(path="in", symbols=[A], timeframes=["1h"], piece_rows=1)
    assert (result["series"], result["missing"], result["rows_in"]) == (1, 0, HOURS)
    error = place.blocked(path="in")
    assert "symbol" in error["message"]
    record = place.run(STAGE, path="in", symbols=[A, B], timeframes=["1h"])
    assert record.error["code"] == "invalid_input"


def test_folders_that_name_a_column_give_it(place):
    for name in (A, B):
        write(bars(name).drop("timeframe"), place.files / "timeframe=1h" / f"{name[2:]}.parquet")
    assert place.passed(path="in")["series"] == 2


def test_only_the_symbols_timeframes_and_times_that_are_asked_for(place):
    place.fill(AAA=hours(), BBB=hours(without={20}), CCC=hours())
    start = FIRST + 10 * HOUR
    since, until = start.isoformat(), (start + 20 * HOUR).isoformat()
    result = place.passed(symbols=[A, B], timeframes=["1h"], since=since, until=until)
    assert (result["rows_in"], result["series"], result["missing"]) == (39, 2, 1)
    assert (result["expected"], result["node"][:11]) == (40, "table:bars:")
    report = place.report(result["node"])
    assert report.start == start.isoformat().replace("+00:00", "Z")


def test_what_narrows_the_subject_down_has_reports_of_its_own(place):
    place.fill(AAA=hours(), BBB=hours())
    nodes = [
        place.passed(**params)["node"]
        for params in (
            {},
            {"symbols": [A]},
            {"symbols": [B]},
            {"since": "2024-02-01"},
            {"table": "bars"},
        )
    ]
    assert len(set(nodes)) == 4
    assert nodes[0] == nodes[-1]
    assert place.passed(symbols=[A], node="mine")["node"] == "mine"


@pytest.mark.parametrize(
    "params",
    [
        {"symbols": ["X:NOBODY"]},
        {"timeframes": ["5m"]},
        {"symbols": [A], "since": "2030-01-01"},
        {"since": "2030-01-01"},
        {"until": "1990-01-01"},
    ],
)
def test_what_names_no_row_is_no_pass(place, params):
    place.fill(AAA=hours())
    record = place.run(STAGE, **params)
    assert (record.state, record.exit_code) == ("failed", 3)
    assert "no row" in record.error["message"]
    assert place.store.nodes() == ()


def test_a_snapshot_is_checked_as_it_was(place):
    place.fill(AAA=hours())
    tables = [place.lake.bars]
    made = create_snapshot(place.workspace, "snap-1", tables, now=datetime.now(UTC))
    place.lake.publish("more", answer("t", {B: hours(without={3})}))
    result = place.passed(snapshot=made["id"])
    assert (result["series"], result["missing"], result["node"]) == (1, 0, "snapshot:bars")
    assert place.passed()["series"] == 2
    assert "nobody" in place.refused(snapshot="nobody")


def test_staleness_is_counted_against_an_instant(place):
    place.fill(AAA=hours(10))
    at = FIRST + 13 * HOUR + timedelta(minutes=30)
    place.passed(as_of=at.isoformat())
    assert [each.behind for each in place.report().series] == [3]
    place.passed(as_of="now")
    assert place.report().series[0].behind > 3


@pytest.mark.parametrize("by_snapshot", [False, True])
def test_what_a_source_said_explains_a_gap_until_it_expires(tmp_path, by_snapshot):
    clock = FakeClock()
    with Workplace(tmp_path / "ws", clock=clock) as place:
        place.fill(AAA=hours(without={5}))
        told = {
            "symbol": A, "timeframe": "1h", "start": FIRST + 5 * HOUR, "end": FIRST + 6 * HOUR,
            "cause": "verified_empty", "detail": "", "source": "s", "run_id": "r",
            "noted_at": clock.now(), "expires_at": clock.now() + 24 * HOUR,
        }  # fmt: skip
        known = Table(place.lake.path, VERIFIED_EMPTY)
        rows = pl.DataFrame([told], schema=VERIFIED_EMPTY.columns)
        known.append(rows, place.lake.commit("empty"), {})
        tables = [place.lake.bars, known]
        made = create_snapshot(place.workspace, "snap-1", tables, now=clock.now())
        params = {"snapshot": made["id"]} if by_snapshot else {}
        result = place.passed(**params)
        assert (result["missing"], result["verified_empty"]) == (1, 1)
        clock.advance(25 * 3600)
        result = place.passed(**params)
        assert (result["missing"], result["verified_empty"]) == (1, 0)


def test_a_gate_refuses_what_is_worse_until_it_is_better(place):
    place.fill(AAA=hours(without={5}))
    assert place.passed(gate_worse=True)["regression"]["outcome"] == "first"
    place.lake.publish("more", answer("t", {B: hours(without={3, 4})}))
    place.passed(gate_worse=True)
    flawed().write_parquet(place.files / "a.parquet")
    bars(A).write_parquet(place.files / "a.parquet")
    place.passed(path="in", node="files")
    bars(A).filter(pl.int_range(pl.len()) != 7).write_parquet(place.files / "a.parquet")
    for _ in range(2):
        error = place.blocked(path="in", node="files", gate_worse=True)
        assert "worse than before: missing bars X:AAA 1h: 0 to 1" in error["message"]
    assert place.store.latest("files").refused
    bars(A).write_parquet(place.files / "a.parquet")
    assert place.passed(path="in", node="files", gate_worse=True)["regression"]["outcome"] == "same"


def test_a_check_of_a_table_is_evidence_for_its_schema_and_one_of_files_is_not(place):
    place.fill(AAA=hours())
    flawed().drop("close").write_parquet(place.files / "a.parquet")
    place.blocked(path="in")
    checks = place.workspace.artifacts / "schemas" / "bars" / "checks-1.jsonl"
    assert not checks.exists()
    place.passed()
    [line] = checks.read_text().splitlines()
    assert json.loads(line)["node"] == "table:bars"


def strict(place):
    """Make bars strict as it is."""
    fingerprint = FileSchemaRegistry(place.workspace).get("bars").fingerprint
    state = State(
        name="bars",
        version=1,
        fingerprint=fingerprint,
        bundle="0" * 64,
        approvers=("ann", "ben"),
        promoted_by="ann",
        promoted_at="2024-01-01T00:00:00Z",
        run_id="r",
    )
    write_states(place.workspace, "bars", [state])


def live(place, frame):
    """Put rows in the place of the table bars, as a stranger would."""
    folder = place.workspace.lakehouse / "bars"
    folder.parent.mkdir(parents=True, exist_ok=True)
    rows = frame.with_columns(bucket=pl.lit("2024-01"), source=pl.lit("s"))
    write_deltalake(str(folder), rows, partition_by=["timeframe", "bucket"])


@pytest.mark.parametrize("preset", ["strict-blocking", "permissive-dev"])
def test_nulls_in_required_prices_fail_a_canary_and_stop_in_strict(place, preset):
    row = pl.int_range(pl.len())
    live(place, bars(open=pl.when(row < 5).then(None).otherwise("open")))
    result = place.passed(mode="partial_ok", preset=preset)
    checks = place.workspace.artifacts / "schemas" / "bars" / "checks-1.jsonl"
    [line] = map(json.loads, checks.read_text().splitlines())
    assert (line["passed"], line["count"]) == (False, 1)
    [told] = line["findings"]
    assert (told["code"], told["column"], told["severity"]) == ("null_value", "open", "block")
    assert "5 rows" in told["detail"]
    assert result["flagged"].get("non_finite") == result["flags"]  # each row is counted once
    strict(place)
    assert "open: null" in place.blocked(mode="partial_ok", preset=preset)["message"]


def sides(count, *wrong):
    """Return ticks of which the last have a side that is none."""
    good = ["buy"] * (count - len(wrong))
    return pl.DataFrame(
        {
            "symbol": [A if at % 2 else B for at in range(count)],
            "ts": [FIRST + at * HOUR for at in range(count)],
            "price": [1.0] * count,
            "size": [1.0] * count,
            "side": [*good, *wrong],
            "trade_id": [str(at) for at in range(count)],
        },
        schema_overrides={"ts": pl.Datetime("us", "UTC")},
    )


def test_more_rows_of_one_schema_finding_are_worse(place):
    params = {
        "path": "in/ticks.parquet",
        "data_schema": "ticks",
        "mode": "partial_ok",
        "node": "ticks",
        "gate_worse": True,
    }
    sides(300, "B").write_parquet(place.files / "ticks.parquet")
    assert place.passed(**params)["flagged"] == {"unknown_value": 1}
    sides(300, *["B"] * 250).write_parquet(place.files / "ticks.parquet")
    error = place.blocked(**params)
    assert "schema finding unknown_value side: 1 to 250" in error["message"]
    assert place.report("ticks").flags == 250


def test_schema_findings_and_the_digest_do_not_depend_on_pieces(place):
    wrong = [f"{sign}{at}" for at in range(20) for sign in "'!B"]
    sides(200, *wrong).with_columns(odd=1).write_parquet(place.files / "ticks.parquet")
    reports = []
    for piece_rows in (1, 10_000):
        place.passed(
            path="in",
            data_schema="ticks",
            mode="partial_ok",
            node=f"by{piece_rows}",
            piece_rows=piece_rows,
        )
        reports.append(place.report(f"by{piece_rows}"))
    one, other = reports
    assert [(each.code, each.count) for each in one.schema_findings] == [
        ("unexpected_column", 200),
        ("unknown_value", 60),
    ]
    assert "is none of" in one.schema_findings[1].detail
    assert replace(one, node="n", digest="").digest == replace(other, node="n", digest="").digest


@pytest.mark.parametrize("piece_rows", [1, 61])
def test_the_digest_of_broken_rules_does_not_depend_on_pieces(place, piece_rows):
    flawed().write_parquet(place.files / "a.parquet")
    place.blocked(path="in", node="files")
    whole = place.report("files")
    place.blocked(path="in", node="files", piece_rows=piece_rows)
    assert place.report("files").digest == whole.digest


def test_a_column_that_nobody_knows_is_no_worse_with_more_rows(place):
    params = {"path": "in", "node": "files", "gate_worse": True}
    bars().with_columns(odd=1).write_parquet(place.files / "a.parquet")
    assert place.passed(**params)["flagged"] == {"unexpected_column": HOURS}
    bars(count=HOURS + 9).with_columns(odd=1).write_parquet(place.files / "a.parquet")
    assert place.passed(**params)["regression"]["outcome"] == "same"
    assert place.report("files").flags == HOURS + 9


def test_a_strict_schema_that_is_not_what_was_approved_stops_all_but_shadow(place):
    place.fill(AAA=hours())
    state = State(
        name="bars",
        version=1,
        fingerprint="0" * 64,
        bundle="0" * 64,
        approvers=("ann", "ben"),
        promoted_by="ann",
        promoted_at="2024-01-01T00:00:00Z",
        run_id="r",
    )
    write_states(place.workspace, "bars", [state])
    error = place.blocked(mode="partial_ok")
    assert place.store.latest("table:bars").uri in error["fix"]
    assert place.passed(mode="shadow")["verdict"] == "pass"


def test_a_rule_of_a_plugin_is_asked_and_one_that_crashes_blocks_by_name(
    place, tmp_path, monkeypatch
):
    home = tmp_path / "plugin"
    (home / "own_rules-1.0.dist-info").mkdir(parents=True)
    (home / "own_rules-1.0.dist-info" / "METADATA").write_text("Name: own_rules\nVersion: 1.0\n")
    (home / "own_rules-1.0.dist-info" / "entry_points.txt").write_text(
        "[quant_sdk.conformance_rules]\nown = own_rules:RULES\n"
    )
    (home / "own_rules.py").write_text(
        "import polars as pl\n"
        "from quant_sdk.conformance import Rule\n"
        "RULES = (\n"
        "    Rule(id='own_dear', kind='bars', severity='warn', measures='m', source='s',\n"
        "         bad=lambda _: pl.col('close') > 1.5),\n"
        "    Rule(id='own_crash', kind='bars', severity='note', measures='m', source='s',\n"
        "         bad=lambda _: 1 / 0),\n"
        ")\n"
    )
    monkeypatch.syspath_prepend(str(home))
    place.fill(AAA=hours())
    for mode in ("blocking", "partial_ok"):
        assert "own_crash" in place.blocked(mode=mode)["message"]
    result = place.passed(mode="shadow")
    assert result["flagged"] == {"own_dear": 9, "own_crash": 1}


def test_a_rehearsal_tells_the_same_and_writes_nothing(place):
    flawed().write_parquet(place.files / "a.parquet")
    before = sorted(place.root.rglob("*"))
    told = place.sdk.validate_stage(STAGE, {"path": "in"}, rehearse=True)
    assert sorted(place.root.rglob("*")) == before
    assert told.ok
    assert (told.plan.files, told.plan.bytes) == (1, (place.files / "a.parquet").stat().st_size)
    place.blocked(path="in")
    report = place.report(told.rehearsal["node"])
    assert told.rehearsal["blocked"] is True
    assert told.rehearsal["digest"] == report.digest
    assert told.rehearsal["flagged"] == report.flagged


@pytest.mark.parametrize(("point", "kept"), [("before_commit", 0), ("after_commit", 1)])
def test_a_check_that_was_killed_is_made_again_and_kept_once(place, point, kept):
    place.fill(AAA=hours())
    assert place.run_killed_at(point, STAGE) == -9
    assert len(place.store.nodes()) == kept
    assert place.passed()["kept"] is (kept == 0)
    assert len(place.store.entries("table:bars")) == 1


def test_a_plan_tells_what_would_be_read(place):
    place.fill(AAA=hours())
    plan = place.sdk.validate_stage(STAGE).plan
    assert (plan.rows, plan.steps) == (HOURS, ("check", "report"))
    create_snapshot(place.workspace, "snap-1", [place.lake.bars], now=datetime.now(UTC))
    assert place.sdk.validate_stage(STAGE, {"snapshot": "snap-1"}).plan.rows == HOURS


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({}, "empty"),
        ({"table": "bar"}, "unknown"),
        ({"path": "nowhere"}, "there is no nowhere"),
        ({"path": "in"}, "no data files"),
        ({"path": "notes.txt"}, "no data file"),
        ({"path": "data/lakehouse/bars"}, "Delta table"),
        ({"path": "good.parquet", "data_schema": "bars/9"}, "bars/9"),
    ],
    ids=lambda item: str(item) if isinstance(item, dict) else "",
)
def test_what_cannot_be_checked_is_a_missing_prerequisite(place, params, said):
    bars().write_parquet(place.root / "good.parquet")
    (place.root / "notes.txt").write_text("x")
    if params.get("path", "").startswith("data"):
        place.fill(AAA=hours(2))
    assert said in place.refused(**params)
    assert place.store.nodes() == ()


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"preset": "lax"}, "lax"),
        ({"node": "../up"}, "node"),
        ({"node": "a b"}, "node"),
        ({"since": "soon"}, "since"),
        ({"until": "now"}, "until"),
        ({"as_of": "yesterday"}, "as_of"),
        ({"timeframes": ("7x",)}, "7x"),
    ],
    ids=lambda item: str(item) if isinstance(item, dict) else "",
)
def test_what_is_wrong_by_itself_is_invalid_whatever_stands(place, params, said):
    with pytest.raises(InvalidParams, match=said) as caught:
        place.run(STAGE, **params)
    assert caught.value.exit_code == 2


def test_a_path_beside_a_table_is_refused(place):
    with pytest.raises(InvalidParams, match="either"):
        place.run(STAGE, path="in", table="bars")


def test_a_window_needs_instants(place):
    bars().with_columns(pl.col("ts").dt.timestamp("us")).write_parquet(place.files / "a.parquet")
    record = place.run(STAGE, path="in", since="2024-01-01")
    assert (record.state, record.error["code"]) == ("failed", "invalid_input")


def test_a_window_keeps_the_rows_without_a_time(place):
    flawed().write_parquet(place.files / "a.parquet")
    result = place.passed(path="in", since="2024-02-01", mode="shadow")
    assert result["flagged"]["timestamp_missing"] == 1


def test_a_torn_file_is_named(place):
    bars().write_parquet(place.files / "good.parquet")
    (place.files / "torn.parquet").write_bytes((place.files / "good.parquet").read_bytes()[:99])
    record = place.run(STAGE, path="in")
    assert (record.exit_code, record.error["code"]) == (6, "source_unreadable")
    assert "torn.parquet" in record.error["message"]


def test_a_file_with_hostile_names_is_checked_and_kept(place):
    name = "a'; DROP--<b>\u202e.parquet"
    bars().with_columns(symbol=pl.lit("<script>")).write_parquet(place.files / name)
    error = place.blocked(path=f"in/{name}")
    [node] = place.store.nodes()
    assert node.startswith("path:a-DROP-b")
    assert "malformed_symbol" in place.report(node).flagged
    assert error["code"] == "conformance_blocked"


def test_ticks_are_held_against_their_own_schema(place):
    ticks = pl.DataFrame(
        {
            "symbol": [A, A, A],
            "ts": [FIRST, FIRST + HOUR, FIRST + HOUR],
            "price": [1.0, -2.0, 3.0],
            "size": [1.0, 1.0, 1.0],
            "trade_id": ["1", "2", "3"],
        },
        schema_overrides={"ts": pl.Datetime("us", "UTC")},
    )
    ticks.write_parquet(place.files / "ticks.parquet")
    result = place.passed(path="in", data_schema="ticks/1", mode="shadow")
    assert result["flagged"]["trade_non_positive"] == 1
    assert place.report(result["node"]).schema_id == "ticks/1"


def test_every_part_of_the_stage_can_be_imported():
    parts = ("params", "result", "body", "checks", "plan", "rehearse")
    assert all(STAGES[0].load(part) is not None for part in parts)
