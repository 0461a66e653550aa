from __future__ import annotations

import json
import math
import socket
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import jsonschema
import polars as pl
import pytest
from _legacy import bars, write_flat, write_manifest
from _stages import stage_of
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_registry.registry import StageRegistry
from quant_registry.schemas import read_schema
from quant_sdk import QuantSDK
from quant_sdk.errors import PrerequisitesNotMet
from quant_sdk.lakehouse.calendars import ALWAYS, FX, calendar_for
from quant_sdk.lakehouse.timeframe import Timeframe, to_micros
from quant_sdk.sources.candidates import Candidate
from quant_sdk.testing import FakeClock
from quant_stages import STAGES as BUILT_IN
from quant_stages.flows.production import STAGES, export
from quant_stages.flows.production.freshness import Held, by_calendar, examine
from quant_stages.flows.production.matrix import returns_matrix
from quant_stages.flows.production.params import FlowProductionParams
from quant_stages.flows.production.subject import Subject

MIGRATION, GATE = "ops.migration.dataops_v2", "ops.flow_production"
DAY = 86_400
FIRST = datetime(2024, 1, 1, tzinfo=UTC)
ROWS = 60
CLOSED = FIRST + timedelta(days=ROWS)  # the last bar of ROWS daily ones has closed
MICROS = pl.Datetime("us", "UTC")


def series(rows: int = ROWS, *, seed: int = 0, first: datetime = FIRST) -> pl.DataFrame:
    return bars(rows, seed=seed, start=int(first.timestamp()), step=DAY)


class Demo:
    """A workspace whose legacy bars are moved in by the real migration, on a clock of its own."""

    def __init__(self, root: Path, *stages) -> None:
        self.root = root
        self.clock = FakeClock(CLOSED + timedelta(hours=6))
        every = {spec.id: spec for spec in (*BUILT_IN, *STAGES, *stages)}
        registry = StageRegistry(tuple(every.values()))
        self.sdk = QuantSDK(root, registry=registry, actor="tester", clock=self.clock)

    def migrate(self, **frames: pl.DataFrame) -> None:
        for symbol, frame in frames.items():
            write_flat(self.root / "data" / "old", symbol, frame, "1d")
        write_manifest(self.root, [{"path": "old", "layout": "flat_v1"}])
        assert self.sdk.run_stage(MIGRATION).state == "succeeded"

    def gate(self, **params):
        return self.sdk.run_stage(GATE, params)

    def refused(self, **params) -> PrerequisitesNotMet:
        with pytest.raises(PrerequisitesNotMet) as caught:
            self.gate(**params)
        assert caught.value.exit_code == 3
        assert not self.sdk.runs(GATE)
        return caught.value

    def check(self, name: str, **params) -> dict:
        checks = self.sdk.validate_stage(GATE, params).to_dict()["checks"]
        return next(check for check in checks if check["name"] == name)

    def events(self, run_id: str, name: str) -> list[dict]:
        return [event for event in self.sdk.tail(run_id) if event["event"] == name]

    def matrix(self, record) -> pl.DataFrame:
        return pl.read_parquet(self.root / record.result["returns_matrix"])

    def exported(self, record) -> dict:
        return json.loads((self.root / record.result["candidates"]).read_bytes())


@pytest.fixture
def demo(tmp_path) -> Demo:
    return Demo(tmp_path)


def test_fresh_and_healthy_data_pass_the_gate(demo):
    demo.migrate(AAUSDT=series(), BBUSDT=series(seed=1))
    record = demo.gate()
    assert record.state == "succeeded", record.error
    result = record.result
    assert (result["mode"], result["timeframe"], result["symbols"]) == ("lakehouse_only", "1d", 2)
    assert (result["stale"], result["dropped"], result["warnings"]) == ([], [], [])
    assert result["end"] == f"{CLOSED:%Y-%m-%dT%H:%M:%SZ}"
    matrix = demo.matrix(record)
    assert matrix.columns == ["ts", "BINANCE:AAUSDT", "BINANCE:BBUSDT"]
    close = series()["close"].to_list()
    expected = [
        None,
        *(after / before - 1 for before, after in pairwise(close)),
    ]
    own = matrix.filter(pl.col("ts") >= FIRST)
    assert own["BINANCE:AAUSDT"].to_list() == expected
    assert matrix["ts"].to_list() == [CLOSED - timedelta(days=n) for n in range(365, 0, -1)]
    assert matrix.filter(pl.col("ts") < FIRST)["BINANCE:AAUSDT"].null_count() == 365 - ROWS


def test_the_audit_shows_the_guard_and_that_nothing_tried_the_network(demo):
    demo.migrate(AAUSDT=series())
    record = demo.gate()
    begun, ended = demo.events(record.run_id, "network_guard")
    assert (begun["status"], begun["attempts"]) == ("active", 0)
    assert (ended["status"], ended["attempts"], ended["addresses"]) == ("success", 0, [])
    names = [event["event"] for event in demo.sdk.tail(record.run_id)]
    between = names[names.index("network_guard") + 1 : -1]
    assert {"snapshot_verified", "production_exported"} < set(between)
    assert record.result["network_attempts"] == 0


def test_a_connection_in_the_gate_fails_the_run_and_is_told(demo, monkeypatch):
    demo.migrate(AAUSDT=series())

    def leaking(*_, **__):
        socket.create_connection(("127.0.0.1", 9))

    monkeypatch.setattr(export, "returns_matrix", leaking)
    record = demo.gate()
    assert record.error["code"] == "network_forbidden"
    assert "127.0.0.1:9" in record.error["message"]
    ended = demo.events(record.run_id, "network_guard")[-1]
    assert (ended["status"], ended["attempts"]) == ("failed", 1)
    assert not (demo.root / "data" / "export" / record.run_id).exists()


def test_an_attempt_that_a_library_swallows_is_a_warning(demo, monkeypatch):
    demo.migrate(AAUSDT=series())
    real = export.returns_matrix

    def leaking(*args, **kwargs):
        try:
            socket.getaddrinfo("example.invalid", 443)
        except Exception:
            return real(*args, **kwargs)

    monkeypatch.setattr(export, "returns_matrix", leaking)
    record = demo.gate()
    assert record.state == "succeeded"
    assert record.result["network_attempts"] == 1
    assert "example.invalid:443" in record.result["warnings"][-1]


def test_without_a_lakehouse_it_is_refused_and_the_command_is_named(demo):
    (demo.root / "data" / "export").mkdir(parents=True)
    error = demo.refused()
    assert "make flow-data" in error.fix
    assert demo.check("lakehouse")["status"] == "failed"
    assert demo.check("candidates")["status"] == "failed"
    for name in ("cycle", "fresh", "snapshot", "health"):
        assert demo.check(name)["status"] == "not_applicable"


def test_a_wiped_lakehouse_is_refused_though_a_cycle_once_finished(tmp_path):
    demo = Demo(tmp_path, stage_of(lambda run, params: None, "ops.flow_data"))
    demo.migrate(AAUSDT=series())
    demo.sdk.run_stage("ops.flow_data")
    assert demo.sdk.lakehouse.wipe()["removed"]
    demo.refused()


def unfinish(demo: Demo) -> None:
    """Make the migration's status that of one which has only begun."""
    path = demo.root / "data" / "lakehouse" / "migration_status.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "phase": "ingestion"}))


def test_an_unfinished_migration_without_a_cycle_is_refused(demo):
    demo.migrate(AAUSDT=series())
    unfinish(demo)
    assert "make flow-data" in demo.refused().fix
    assert "ingestion" in demo.check("cycle")["detail"]


def test_a_finished_cycle_stands_in_for_the_migration(tmp_path):
    outcomes = iter([RuntimeError("boom"), None])

    def cycle(run, params):
        error = next(outcomes)
        if error:
            raise error

    demo = Demo(tmp_path, stage_of(cycle, "ops.flow_data"))
    demo.migrate(AAUSDT=series())
    unfinish(demo)
    table = demo.sdk.lakehouse.table("bars").delta()
    made = datetime.fromtimestamp(table.metadata().created_time / 1000, UTC)
    demo.clock.advance((made - demo.clock.now()).total_seconds() - DAY)
    assert demo.sdk.run_stage("ops.flow_data").state == "failed"
    assert demo.check("cycle")["status"] == "failed"
    before = demo.sdk.run_stage("ops.flow_data")
    assert before.state == "succeeded"
    assert demo.check("cycle")["status"] == "failed"  # it was of tables that are gone
    demo.clock.advance(2 * DAY)
    outcomes = iter([None])
    after = demo.sdk.run_stage("ops.flow_data")
    check = demo.check("cycle")
    assert (check["status"], after.run_id in check["detail"]) == ("passed", True)


@pytest.mark.parametrize(("health", "status"), [("failed", "failed"), ("degraded", "warning")])
def test_health_that_failed_is_refused_and_a_degraded_one_warns(tmp_path, health, status):
    verify = stage_of(lambda run, params: run.report(health_check=health), "data.verify")
    demo = Demo(tmp_path, verify)
    demo.migrate(AAUSDT=series())
    assert demo.check("health")["status"] == "passed"
    demo.sdk.run_stage("data.verify")
    check = demo.check("health")
    assert check["status"] == status
    assert "quant run show" in check["fix"]
    if health == "failed":
        assert "data.verify" in demo.refused().message
    else:
        assert demo.gate().state == "succeeded"


def test_stale_data_is_refused_and_the_commands_are_named(demo):
    demo.migrate(AAUSDT=series(), BBUSDT=series(seed=1))
    demo.clock.advance(2 * DAY)
    assert demo.gate().state == "succeeded"  # two bars may be on their way
    demo.clock.advance(DAY)
    assert demo.check("fresh")["status"] == "failed"
    with pytest.raises(PrerequisitesNotMet) as caught:
        demo.gate()
    assert "make flow-data" in caught.value.fix
    assert "--allow-stale" in caught.value.fix
    assert "BINANCE:AAUSDT" in caught.value.message


def test_allowed_stale_data_is_used_with_a_loud_warning(demo):
    demo.migrate(AAUSDT=series(), BBUSDT=series(seed=1))
    demo.clock.advance(30 * DAY)
    assert demo.check("fresh", allow_stale=True)["status"] == "warning"
    record = demo.gate(allow_stale=True)
    assert record.state == "succeeded"
    (event,) = demo.events(record.run_id, "stale_data_used")
    assert (event["status"], event["stale"], event["series"]) == ("warning", 2, 2)
    assert event["symbols"] == ["BINANCE:AAUSDT", "BINANCE:BBUSDT"]
    assert record.result["warnings"][0].startswith("STALE DATA IS USED: 2 of 2 series")
    assert record.result["stale"][0] == {
        "symbol": "BINANCE:AAUSDT",
        "last": "2024-02-29T00:00:00Z",
        "behind": 30,
    }
    assert record.result["end"] == "2024-03-01T00:00:00Z"
    assert demo.exported(record)["meta"]["stale"] == ["BINANCE:AAUSDT", "BINANCE:BBUSDT"]
    assert demo.sdk.status(record.run_id)[0]["health_check"] == "degraded"


def test_a_small_share_of_stale_series_warns_and_a_larger_one_shuts_the_gate(demo):
    old = {f"D{n}USDT": series(rows=30, seed=n) for n in range(2)}
    demo.migrate(AAUSDT=series(), BBUSDT=series(seed=9), **old)
    assert demo.check("fresh", max_stale_share=0.5)["status"] == "warning"
    assert demo.check("fresh", max_stale_share=0.49)["status"] == "failed"
    record = demo.gate(max_stale_share=0.5)
    assert record.result["stale_count"] == 2
    assert record.result["warnings"][0].startswith("2 of 4 series of 1d are stale")
    assert not demo.events(record.run_id, "stale_data_used")


def test_a_maximal_age_of_ones_own_is_kept_to(demo):
    demo.migrate(AAUSDT=series())
    demo.clock.advance(DAY)  # the newest bar closed 30 hours ago, and one is missing
    assert demo.check("fresh", max_age="31h")["status"] == "passed"
    assert demo.check("fresh", max_age="29h")["status"] == "failed"


def test_a_damaged_snapshot_is_refused(demo):
    demo.migrate(AAUSDT=series())
    (file,) = (demo.root / "data" / "snapshots").glob("*/bars/*/*/*.parquet")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    error = demo.refused()
    assert "damaged" in error.message
    assert "quant snapshot verify" in error.fix


def test_the_snapshot_of_this_state_is_used_again_and_of_another_state_is_made(demo):
    demo.migrate(AAUSDT=series())
    first, second = demo.gate(), demo.gate()
    assert first.result["snapshot"] == second.result["snapshot"]
    assert not demo.events(second.run_id, "snapshot_created")
    demo.migrate(AAUSDT=series(), BBUSDT=series(seed=1))
    (demo.root / "data" / "snapshots" / demo.sdk.runs(MIGRATION)[0].run_id).rename(
        demo.root / "aside"
    )
    third = demo.gate()
    assert third.result["snapshot"] == third.run_id
    assert len(demo.events(third.run_id, "snapshot_created")) == 1


def test_a_state_that_no_snapshot_vouches_for_is_held_against_the_ledger(demo):
    demo.migrate(AAUSDT=series())
    bars = demo.sdk.lakehouse.table("bars").delta()
    bars.update(predicate="ts = '2024-01-05 00:00:00'", updates={"volume": "volume + 1"})
    for _ in range(2):
        record = demo.gate()
        assert (record.state, record.error["code"]) == ("failed", "parity_failed")
        assert not demo.events(record.run_id, "snapshot_created")


def test_a_candidate_without_data_is_dropped_and_the_reason_is_told(demo):
    lone = pl.concat([series(seed=3)[:1], series(seed=3)[50:51]])
    demo.migrate(AAUSDT=series(), OLDUSDT=series(rows=5), LONEUSDT=lone)
    path = demo.root / "mine.json"
    entries = [
        {"symbol": f"BINANCE:{name}", "exchange": "BINANCE", "asset_type": "crypto"}
        for name in ("AAUSDT", "GONEUSDT", "LONEUSDT", "OLDUSDT")
    ]
    path.write_text(json.dumps({"meta": {}, "data": entries}))
    record = demo.gate(candidates="mine.json", max_stale_share=1, lookback_days=30)
    assert record.state == "succeeded", record.error
    reasons = {item["symbol"]: item["reason"] for item in record.result["dropped"]}
    assert reasons == {
        "BINANCE:GONEUSDT": "no bars of 1d",
        "BINANCE:LONEUSDT": "no two neighbouring bars of 1d in the window",
        "BINANCE:OLDUSDT": "no bars of 1d since 2024-01-05T00:00:00Z",
    }
    document = demo.exported(record)
    jsonschema.Draft202012Validator(read_schema("candidates")).validate(document)
    assert document["schema"] == "candidates/1"
    assert [item["symbol"] for item in document["data"]] == ["BINANCE:AAUSDT"]
    assert document["meta"]["dropped"] == record.result["dropped"]
    assert demo.matrix(record).columns == ["ts", "BINANCE:AAUSDT"]
    assert demo.matrix(record).height == 30


def test_where_no_candidate_has_returns_nothing_is_exported(demo):
    demo.migrate(AAUSDT=series())
    path = demo.root / "mine.json"
    entry = {"symbol": "BINANCE:NOUSDT", "exchange": "BINANCE", "asset_type": "crypto"}
    path.write_text(json.dumps({"meta": {}, "data": [entry]}))
    record = demo.gate(candidates=str(path), allow_stale=True)
    assert record.error["code"] == "no_data"
    assert record.exit_code == 3
    assert not (demo.root / "data" / "export" / record.run_id).exists()


def test_a_hole_is_null_in_its_row_and_the_next_and_never_a_zero(demo):
    holed = series().filter(pl.col("timestamp") != int(FIRST.timestamp()) + 40 * DAY)
    demo.migrate(AAUSDT=holed, BBUSDT=series(seed=1))
    matrix = demo.matrix(demo.gate()).filter(pl.col("ts") >= FIRST)
    missing = [row for row, value in enumerate(matrix["BINANCE:AAUSDT"]) if value is None]
    assert missing == [0, 40, 41]
    assert matrix["BINANCE:BBUSDT"].null_count() == 1


def test_the_timeframe_is_what_most_candidates_name(demo):
    write_flat(demo.root / "data" / "old", "AAUSDT", series(), "1d")
    hourly = bars(24 * 3, start=int((CLOSED - timedelta(days=3)).timestamp()))
    for name in ("BBUSDT", "CCUSDT"):
        write_flat(demo.root / "data" / "old", name, hourly, "1h")
    demo.migrate()
    demo.clock.advance(-6 * 3600)
    record = demo.gate(max_stale_share=0.4)
    assert (record.result["timeframe"], record.result["symbols"]) == ("1h", 2)
    assert demo.gate(timeframe="1d", max_stale_share=0.7).result["symbols"] == 1


def test_a_timeframe_that_no_candidate_names_is_asked_of_all(demo):
    hourly = bars(24 * 3, start=int((CLOSED - timedelta(days=3)).timestamp()))
    write_flat(demo.root / "data" / "old", "AAUSDT", hourly, "1h")
    demo.migrate()
    demo.clock.advance(-6 * 3600)
    entry = {"symbol": "BINANCE:AAUSDT", "exchange": "BINANCE", "asset_type": "crypto"}
    document = {"meta": {}, "data": [{**entry, "ingest": [{"timeframe": "1h"}]}]}
    (demo.root / "mine.json").write_text(json.dumps(document))
    assert demo.check("fresh", candidates="mine.json")["status"] == "passed"
    check = demo.check("fresh", candidates="mine.json", timeframe="1d", max_stale_share=1)
    assert (check["status"], check["detail"]) == ("failed", "no candidate has bars of 1d")
    assert "1h" in check["fix"]  # what the cycle fetches, and so would help


def test_only_series_that_have_bars_count_as_up_to_date(demo):
    demo.migrate(AAUSDT=series())
    named = [("AAUSDT", "1d"), ("CCUSDT", "4h")]
    entries = [
        {
            "symbol": f"BINANCE:{name}",
            "exchange": "BINANCE",
            "asset_type": "crypto",
            "ingest": [{"timeframe": timeframe}],
        }
        for name, timeframe in named
    ]
    (demo.root / "mine.json").write_text(json.dumps({"meta": {}, "data": entries}))
    check = demo.check("fresh", candidates="mine.json")
    assert check["status"] == "passed"
    assert check["detail"] == (
        "1 series of 1d are up to date; 1 candidates have none: BINANCE:CCUSDT"
    )


def test_the_message_counts_returns_and_not_rows(demo):
    demo.migrate(AAUSDT=series(), BBUSDT=series(seed=1))
    record = demo.gate()
    assert record.result["rows"] == 365
    assert record.result["message"].startswith(f"{2 * (ROWS - 1)} returns of 2 symbols")


def test_bars_behind_beyond_the_count_are_said_to_be_at_least_so_many(demo):
    demo.migrate(AAUSDT=series())
    demo.clock.advance(30 * DAY)
    assert "30 bars behind" in demo.check("fresh")["detail"]
    assert "at least" not in demo.check("fresh")["detail"]
    demo.clock.advance(300 * DAY)
    assert "at least 200 bars behind" in demo.check("fresh")["detail"]


def test_a_file_of_the_lakehouse_that_is_gone_is_told_with_what_helps(demo):
    demo.migrate(AAUSDT=series())
    [file] = (demo.root / "data" / "lakehouse" / "bars").glob("*/*/*.parquet")
    file.unlink()
    check = demo.check("fresh")
    assert check["status"] == "failed"
    assert "crashed" not in check["detail"]
    assert "quant " in check["fix"]


def test_bars_of_a_market_on_this_machine_are_warned_of(demo):
    from quant_stages.intake.purity import invented

    held = pl.LazyFrame({"source": ["loopback:binance", "ccxt:binance", "demo/a.csv"]})
    assert invented(held) == ["demo/a.csv", "loopback:binance"]


def test_a_profile_chooses_its_newest_candidates(demo):
    demo.migrate(AAUSDT=series(), BBUSDT=series(seed=1))
    folder = demo.root / "data" / "export" / "20250101T000000.000000Z-data.discover-abc123"
    folder.mkdir(parents=True)
    entry = {"symbol": "BINANCE:BBUSDT", "exchange": "BINANCE", "asset_type": "crypto"}
    document = {"meta": {"profiles": ["crypto"]}, "data": [entry]}
    (folder / "candidates.json").write_text(json.dumps(document))
    assert demo.gate().result["symbols"] == 1
    assert demo.gate(profile="crypto").result["symbols"] == 1
    record = demo.gate(profile="legacy")
    assert record.result["symbols"] == 2
    assert MIGRATION in record.result["candidates_from"]
    assert "for the profile fx" in demo.check("candidates", profile="fx")["detail"]


@pytest.mark.parametrize(
    "params", [{"max_age": "1M"}, {"timeframe": "daily"}, {"lookback_days": 0}]
)
def test_parameters_that_mean_nothing_are_refused(demo, params):
    from quant_registry.errors import InvalidParams

    with pytest.raises(InvalidParams):
        demo.gate(**params)


def test_the_gate_declares_that_it_needs_no_network(demo):
    spec = demo.sdk.registry[GATE]
    assert not spec.effects.network
    assert "lakehouse_only" in spec.tags
    demo.migrate(AAUSDT=series())
    plan = demo.sdk.validate_stage(GATE).plan
    assert (plan.candidates, plan.steps) == (1, ("choose", "snapshot", "examine", "export"))


def brute(frame: pl.DataFrame, calendar, timeframe: Timeframe, start: int, end: int) -> dict:
    """Returns by time and symbol, one at a time, as the definition says."""
    prices = {(symbol, to_micros(ts)): close for symbol, ts, close in frame.iter_rows()}
    opens = timeframe.grid(start - 40 * DAY * 1_000_000, end)
    frame = pl.DataFrame({"ts": pl.Series(opens, dtype=pl.Int64).cast(MICROS)})
    expected = [
        to_micros(ts) for ts in frame.filter(calendar.expected(pl.col("ts"), timeframe))["ts"]
    ]
    found = {}
    for before, at in pairwise(expected):
        for symbol in {name for name, _ in prices}:
            old, new = prices.get((symbol, before)), prices.get((symbol, at))
            if at >= start and old is not None and new is not None:
                found[symbol, at] = new / old - 1
    return found


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_returns_are_those_of_the_definition(data):
    text = data.draw(st.sampled_from(["1d", "4h", "1w", "1M"]))
    timeframe = Timeframe.parse(text)
    calendar = data.draw(st.sampled_from([ALWAYS, FX, calendar_for("A:B", "XNYS")]))
    end = timeframe.floor(to_micros(datetime(2024, 7, 10, tzinfo=UTC)))
    start = timeframe.open_of(timeframe.slot_of(end) - 12)
    opens = timeframe.grid(timeframe.open_of(timeframe.slot_of(end) - 16), end)
    rows = [
        (symbol, at, data.draw(st.sampled_from([1.0, 2.0, 3.5])))
        for symbol in ("A:X", "A:Y", "B:Z")
        for at in opens
        if data.draw(st.integers(0, 3))
    ]
    frame = pl.DataFrame(
        rows, schema={"symbol": pl.String, "ts": pl.Int64, "close": pl.Float64}, orient="row"
    ).with_columns(pl.col("ts").cast(MICROS))
    matrix = returns_matrix(
        frame, ["A:X", "A:Y", "B:Z"], timeframe, lambda _: calendar, start=start, end=end
    )
    wanted = brute(frame, calendar, timeframe, start, end)
    found = {
        (name, to_micros(row["ts"])): row[name]
        for row in matrix.to_dicts()
        for name in matrix.columns[1:]
        if row[name] is not None
    }
    assert found == wanted
    assert matrix["ts"].is_sorted()
    assert matrix["ts"].n_unique() == matrix.height


def test_markets_of_different_calendars_share_the_rows_but_not_their_neighbours():
    timeframe = Timeframe.parse("1d")
    start, end = datetime(2024, 7, 1, tzinfo=UTC), datetime(2024, 7, 9, tzinfo=UTC)
    days = pl.datetime_range(
        start - timedelta(days=1), end, "1d", closed="left", time_zone="UTC", eager=True
    ).cast(MICROS)
    crypto = pl.DataFrame({"symbol": "X:COIN", "ts": days, "close": 10.0})
    stock = pl.DataFrame({"symbol": "N:STOCK", "ts": days}).with_columns(
        close=pl.int_range(1, len(days) + 1).cast(pl.Float64)
    )
    calendars = {"X:COIN": ALWAYS, "N:STOCK": calendar_for("N:STOCK", "XNYS")}
    matrix = returns_matrix(
        pl.concat([crypto, stock]),
        list(calendars),
        timeframe,
        calendars.__getitem__,
        start=to_micros(start),
        end=to_micros(end),
    )
    assert matrix["X:COIN"].to_list() == [0.0] * 8
    # July 4 is a holiday, 6 and 7 a week-end: their bars count for nothing, and 5 follows 3.
    wanted = [None, 3 / 2 - 1, 4 / 3 - 1, None, 6 / 4 - 1, None, None, 9 / 6 - 1]
    assert matrix["N:STOCK"].to_list() == pytest.approx(wanted)


def test_a_price_of_zero_makes_a_null_and_no_infinity():
    timeframe = Timeframe.parse("1d")
    days = [datetime(2024, 1, day, tzinfo=UTC) for day in range(1, 5)]
    frame = pl.DataFrame(
        {"symbol": "A:X", "ts": pl.Series(days, dtype=MICROS), "close": [1.0, 0.0, 1.0, 2.0]}
    )
    matrix = returns_matrix(
        frame,
        ["A:X"],
        timeframe,
        lambda _: ALWAYS,
        start=to_micros(days[0]),
        end=to_micros(days[-1]) + DAY * 1_000_000,
    )
    assert matrix["A:X"].to_list() == [None, -1.0, None, 1.0]
    assert all(value is None or math.isfinite(value) for value in matrix["A:X"])


def test_a_market_that_rests_is_not_stale_for_it():
    timeframe = Timeframe.parse("1d")
    last = datetime(2024, 11, 29, tzinfo=UTC)  # the half day after Thanksgiving
    frame = pl.DataFrame(
        {
            "symbol": ["N:A", "X:B"],
            "timeframe": "1d",
            "bucket": "2024",
            "ts": pl.Series([last, last], dtype=MICROS),
        }
    )
    calendars = {"N:A": calendar_for("N:A", "XNYS"), "X:B": ALWAYS}
    candidates = tuple(
        Candidate(symbol=name, exchange=name[0], asset_type="x") for name in calendars
    )
    subject = Subject(path=Path("c.json"), candidates=candidates, timeframe=timeframe)
    now = datetime(2024, 12, 3, 12, tzinfo=UTC)
    held = Held(bars=frame.lazy(), calendar_of=calendars.__getitem__)
    found = examine(held, subject, FlowProductionParams(), now)
    behind = {age.symbol: (age.behind, age.stale) for age in found.ages}
    assert behind == {"N:A": (1, False), "X:B": (3, True)}


def test_bars_that_a_source_says_are_not_there_are_not_missing():
    day = lambda number: datetime(2024, 11, number, tzinfo=UTC)  # noqa: E731
    last = pl.Series([day(10)] * 3, dtype=MICROS)
    names = ["X:A", "X:B", "X:C"]
    frame = pl.DataFrame({"symbol": names, "timeframe": "1d", "bucket": "2024", "ts": last})
    candidates = tuple(Candidate(symbol=name, exchange="X", asset_type="x") for name in names)
    subject = Subject(path=Path("c.json"), candidates=candidates, timeframe=Timeframe.parse("1d"))
    empty = {"X:B": [(day(5), day(13)), (day(14), day(20))], "X:C": [(day(1), day(11))]}
    held = Held(bars=frame.lazy(), calendar_of=lambda _: ALWAYS, empty=empty)
    found = examine(held, subject, FlowProductionParams(), day(21))
    # The bars of the 11th to the 20th have closed.
    behind = {age.symbol: (age.behind, age.stale) for age in found.ages}
    assert behind == {"X:A": (10, True), "X:B": (2, False), "X:C": (10, True)}


def test_a_bar_that_has_not_closed_makes_nothing_fresh():
    frame = pl.DataFrame(
        {
            "symbol": ["X:B", "X:B"],
            "timeframe": "1d",
            "bucket": ["2023", "2024"],
            "ts": pl.Series(
                [datetime(2023, 1, 1, tzinfo=UTC), datetime(2024, 12, 3, tzinfo=UTC)], dtype=MICROS
            ),
        }
    )
    candidates = (Candidate(symbol="X:B", exchange="X", asset_type="x"),)
    subject = Subject(path=Path("c.json"), candidates=candidates, timeframe=Timeframe.parse("1d"))
    held = Held(bars=frame.lazy(), calendar_of=lambda _: ALWAYS)
    now = datetime(2024, 12, 3, 12, tzinfo=UTC)
    found = examine(held, subject, FlowProductionParams(), now)
    (age,) = found.ages
    assert (age.last, age.stale) == (datetime(2023, 1, 1, tzinfo=UTC), True)
    assert age.behind >= 200


def test_a_candidate_that_wants_other_bars_is_not_stale_without_these():
    candidates = (
        Candidate(symbol="X:A", exchange="X", asset_type="x", ingest=(("1m", 30),)),
        Candidate(symbol="X:B", exchange="X", asset_type="x", ingest=(("1m", 30), ("1d", None))),
        Candidate(symbol="X:C", exchange="X", asset_type="x"),
    )
    subject = Subject(path=Path("c.json"), candidates=candidates, timeframe=Timeframe.parse("1d"))
    nothing = pl.DataFrame(
        schema={"symbol": pl.String, "timeframe": pl.String, "bucket": pl.String, "ts": MICROS}
    )
    now = datetime(2024, 12, 3, 12, tzinfo=UTC)
    held = Held(bars=nothing.lazy(), calendar_of=lambda _: ALWAYS)
    found = examine(held, subject, FlowProductionParams(), now)
    assert {age.symbol: age.stale for age in found.ages} == {"X:A": False, "X:B": True, "X:C": True}


def test_symbols_are_grouped_by_the_calendar_they_name():
    groups = by_calendar(["A:X", "B:Y", "A:Z"], lambda name: FX if name[0] == "B" else ALWAYS)
    assert [(calendar.name, names) for calendar, names in groups] == [
        ("24x7", ["A:X", "A:Z"]),
        ("24x5", ["B:Y"]),
    ]
