from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from quant_registry.run import Commit
from quant_sdk.errors import PrerequisitesNotMet
from quant_sdk.features import features_of, read
from quant_sdk.lakehouse.calendars import calendar_for
from quant_sdk.lakehouse.specs import BARS, FEATURES
from quant_sdk.lakehouse.table import Table
from quant_sdk.market.faults import Faults
from quant_sdk.market.market import Market
from quant_sdk.market.server import MarketServer
from quant_sdk.testing import FakeClock, StageRunner
from quant_stages.data.features import STAGES
from quant_stages.data.metadata import STAGES as METADATA

STAGE = "data.features"
RUN = "20260203T090000.000000Z-data.discover-00000000"
NOON = datetime(2026, 2, 3, 12, 0, 10, tzinfo=UTC)
DAY = timedelta(days=1)
CANDIDATES = {"BINANCE:BTCUSDT": "crypto", "BINANCE:ADABTC": "crypto", "FXCM:EURUSD": "forex"}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOON)


@pytest.fixture
def runner(tmp_path, clock):
    with StageRunner(tmp_path / "ws", [*STAGES, *METADATA], clock=clock) as made:
        settings(made, {"market": "embedded", "seed": 7})
        data = [
            {
                "symbol": symbol,
                "exchange": symbol.partition(":")[0],
                "asset_type": kind,
                "ingest": [{"timeframe": "1h", "depth_days": 30}],
            }
            for symbol, kind in CANDIDATES.items()
        ]
        path = made.workspace.export_dir(RUN) / "candidates.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"schema": "candidates/1", "meta": {}, "data": data}))
        assert made.run("data.metadata").state == "succeeded"
        yield made


def settings(runner, sources: dict) -> None:
    (runner.root / "quant.yml").write_text(json.dumps({"sources": sources}))


def live(runner, url: str) -> None:
    scanner = {"base_url": f"{url}/scanner", "max_requests_per_second": 1e6}
    settings(runner, {"scanner": scanner})


def bars_of(*symbols: str, days: int = 30, timeframe: str = "1h") -> pl.DataFrame:
    """Return the embedded market's closed bars of the last days."""
    market = Market(seed=7, now=lambda: NOON)
    start, end = (int(at.timestamp()) * 1_000_000 for at in (NOON - days * DAY, NOON))
    frames = [
        market.bars(symbol, timeframe, start, end).with_columns(symbol=pl.lit(symbol))
        for symbol in symbols
    ]
    length = timedelta(hours=1) if timeframe == "1h" else DAY
    return (
        pl.concat(frames)
        .filter(pl.col("ts") + length <= NOON)
        .with_columns(timeframe=pl.lit(timeframe), source=pl.lit("embedded:binance"))
        .with_columns(bucket=pl.col("ts").dt.strftime("%Y-%m" if timeframe == "1h" else "%Y"))
        .select(list(BARS.columns))
    )


def publish(runner, bars: pl.DataFrame) -> None:
    commit = Commit(batch_id="b", run_id="r", stage_id="t.stage", epoch=1, lock_id="l")
    Table(runner.workspace.lakehouse, BARS).append(bars, commit, {})


def version(runner) -> int:
    return Table(runner.workspace.lakehouse, FEATURES).version()


def history(runner) -> pl.DataFrame:
    held = Table(runner.workspace.lakehouse, FEATURES).scan().collect()
    mine = held.filter(pl.col("source") == "talib")
    return mine.sort("timeframe", "symbol", "ts")


def test_technicals_come_from_the_scanner_and_history_from_the_bars(runner):
    bars = bars_of("BINANCE:BTCUSDT", "BINANCE:ADABTC")
    publish(runner, bars)
    record = runner.run(STAGE)
    assert record.state == "succeeded", record.error
    told = record.result
    assert (told["health_check"], told["source"]) == ("passed", "embedded:scanner")
    assert told["technicals"]["added"] == 6
    assert (told["series"], told["bars"], told["history"]["added"]) == (
        2,
        bars.height,
        bars.height,
    )
    assert history(runner).equals(features_of(bars, calendar_for))
    today = read(runner.workspace.lakehouse, timeframe="1d", source="embedded:scanner")
    assert today["symbol"].to_list() == sorted(CANDIDATES)
    assert today["ts"].unique().to_list() == [datetime(2026, 2, 3, tzinfo=UTC)]
    assert (today["known_at"] >= NOON).all()
    assert today["rsi_14"].null_count() == today["perf_week"].null_count() == 0
    assert list((runner.workspace.lakehouse / "features" / "timeframe=1h").rglob("*.parquet"))


def test_a_second_run_writes_nothing(runner):
    publish(runner, bars_of("BINANCE:BTCUSDT"))
    runner.run(STAGE)
    before = version(runner)
    told = runner.run(STAGE).result
    assert told["committed"] is False
    assert told["history"]["unchanged"] == told["bars"] > 0
    assert version(runner) == before


def test_the_next_bars_alone_are_added(runner, clock):
    bars = bars_of("BINANCE:BTCUSDT")
    publish(runner, bars.head(bars.height - 24))
    runner.run(STAGE, technicals=False)
    publish(runner, bars.tail(24))
    told = runner.run(STAGE, technicals=False).result
    assert (told["history"]["added"], told["history"]["replaced"]) == (24, 0)
    assert history(runner).equals(features_of(bars, calendar_for))


def test_small_commits_come_to_the_same(runner):
    bars = pl.concat(
        [
            bars_of("BINANCE:BTCUSDT", "BINANCE:ADABTC", days=10),
            bars_of("BINANCE:BTCUSDT", days=100, timeframe="1d"),
        ]
    )
    publish(runner, bars)
    record = runner.run(STAGE, technicals=False, batch_rows=50)
    assert record.state == "succeeded", record.error
    assert len(runner.events("features_committed")) == 3
    assert history(runner).equals(features_of(bars, calendar_for))


def test_history_is_of_the_candidates_unless_every_series_is_wanted(runner):
    publish(runner, bars_of("BINANCE:BTCUSDT", "BINANCE:ETHUSDT", days=2))
    runner.run(STAGE)
    assert history(runner)["symbol"].unique().to_list() == ["BINANCE:BTCUSDT"]
    runner.run(STAGE, every_series=True)
    assert history(runner)["symbol"].n_unique() == 2
    told = runner.run(STAGE, every_series=True, timeframes=["1d"]).result
    assert told["series"] == 0


def test_symbols_nobody_knows_are_refused_and_named(runner):
    strange = bars_of("BINANCE:BTCUSDT", days=2).with_columns(symbol=pl.lit("BINANCE:STRANGE"))
    publish(runner, strange)
    told = runner.run(STAGE, every_series=True).result
    assert told["refused"] == ["BINANCE:STRANGE"]
    assert "data.metadata" in told["message"]
    assert history(runner).height == 0


def test_before_any_metadata_nothing_starts_and_the_command_is_named(tmp_path):
    fresh = StageRunner(tmp_path / "new", STAGES)
    with fresh, pytest.raises(PrerequisitesNotMet) as told:
        fresh.run(STAGE)
    assert "data.metadata" in told.value.fix


def test_a_scanner_that_fails_degrades_the_run_and_history_goes_on(runner, clock):
    bars = bars_of("BINANCE:BTCUSDT", days=2)
    publish(runner, bars)
    with MarketServer(Market(now=clock.now, faults=Faults(down=(1, 1_000_000)))) as server:
        live(runner, server.url)
        told = runner.run(STAGE).result
        assert told["health_check"] == "degraded"
        assert {failure["part"] for failure in told["failures"]} == {"crypto", "forex"}
        assert told["history"]["added"] == bars.height
        assert runner.run(STAGE, strict=True).state == "failed"
        alone = runner.run(STAGE, history=False)
    assert (alone.state, alone.error["code"]) == ("failed", "source_error")


def test_without_ta_lib_history_is_refused_with_the_command_and_technicals_work(
    runner, monkeypatch
):
    monkeypatch.setitem(sys.modules, "talib", None)
    with pytest.raises(PrerequisitesNotMet) as told:
        runner.run(STAGE)
    assert "pip install 'quant-stage-sdk[features]'" in told.value.fix
    record = runner.run(STAGE, history=False)
    assert record.state == "succeeded", record.error
    assert record.result["technicals"]["added"] == 6


def test_what_would_be_done_is_told_before_and_rehearsed_without_writing(runner):
    bars = bars_of("BINANCE:BTCUSDT", days=2)
    publish(runner, bars)
    validation = runner.sdk.validate_stage(STAGE, rehearse=True)
    assert (validation.plan.candidates, validation.plan.rows) == (3, bars.height)
    assert validation.rehearsal["rows"] == bars.height
    assert version(runner) == -1


def test_a_run_killed_between_two_commits_is_continued_by_the_next(runner):
    bars = bars_of("BINANCE:BTCUSDT", "BINANCE:ADABTC", days=4)
    publish(runner, bars)
    wanted = {"technicals": False, "batch_rows": 50}
    assert runner.run_killed_at("after_commit", STAGE, **wanted) == -9
    assert 0 < history(runner).height < bars.height
    assert runner.run(STAGE, **wanted).state == "succeeded"
    assert history(runner).equals(features_of(bars, calendar_for))
