from __future__ import annotations

import json
from datetime import datetime, timedelta

import polars as pl
import pytest

from quant_sdk.errors import PrerequisitesNotMet
from quant_sdk.lakehouse.catalog import (
    EXCHANGE_VERSIONS,
    EXECUTION_VERSIONS,
    SYMBOL_VERSIONS,
    Catalog,
    symbols_at,
)
from quant_sdk.market.faults import Delisting, Faults
from quant_sdk.market.listing import standard_listing
from quant_sdk.market.market import Market
from quant_sdk.market.server import MarketServer
from quant_sdk.testing import FakeClock, StageRunner
from quant_stages.data.metadata import STAGES
from quant_stages.data.metadata.facts import of_scanner, scanned

STAGE = "data.metadata"
RUN = "20260203T090000.000000Z-data.discover-00000000"
LISTED = {each.symbol for each in standard_listing() if each.exchange == "BINANCE"}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def runner(tmp_path, clock):
    with StageRunner(tmp_path / "ws", STAGES, clock=clock) as made:
        made.catalog = Catalog(made.workspace.lakehouse, made.workspace.locks)
        yield made


def embedded(runner) -> None:
    (runner.root / "quant.yml").write_text("sources: {market: embedded, seed: 7}\n")


def live(runner, binance: str, scanner: str) -> None:
    runner.root.joinpath("quant.yml").write_text(
        json.dumps(
            {
                "sources": {
                    "venues": {"BINANCE": {"base_url": binance, "max_requests_per_second": 1e6}},
                    "scanner": {
                        "base_url": f"{scanner}/scanner",
                        "max_requests_per_second": 1e6,
                    },
                }
            }
        )
    )


def candidates(runner, **kinds: str) -> None:
    data = [
        {
            "symbol": symbol.replace("_", ":"),
            "exchange": symbol.partition("_")[0],
            "asset_type": kind,
            "timeframes": ["1h"],
        }
        for symbol, kind in kinds.items()
    ]
    path = runner.workspace.export_dir(RUN) / "candidates.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"schema": "candidates/1", "meta": {}, "data": data}))


def current(runner) -> dict[str, dict]:
    rows = symbols_at(runner.catalog.table(SYMBOL_VERSIONS)).to_dicts()
    return {row["symbol"]: row for row in rows}


def versions(runner) -> list[int]:
    tables = (SYMBOL_VERSIONS, EXECUTION_VERSIONS, EXCHANGE_VERSIONS)
    return [runner.catalog.table(of).version() for of in tables]


def at(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000)


def test_all_that_a_venue_lists_is_recorded_and_a_venue_without_bars_by_the_scanner(runner):
    embedded(runner)
    candidates(runner, BINANCE_BTCUSDT="crypto", FXCM_EURUSD="forex", FXCM_USDJPY="forex")
    record = runner.run(STAGE)
    assert record.state == "succeeded", record.error
    assert record.result["health_check"] == "passed"
    known = current(runner)
    assert set(known) == LISTED | {"FXCM:EURUSD", "FXCM:USDJPY"}
    bitcoin = known["BINANCE:BTCUSDT"]
    assert (bitcoin["base"], bitcoin["quote"], bitcoin["active"]) == ("BTC", "USDT", True)
    assert bitcoin["source"] == "embedded:binance"
    euro = known["FXCM:EURUSD"]
    assert (euro["base"], euro["quote"], euro["asset_type"]) == ("EUR", "USD", "forex")
    assert (euro["description"], euro["source"]) == ("Euro / U.S. Dollar", "embedded:scanner")
    execution = runner.catalog.current(EXECUTION_VERSIONS)
    assert set(execution["symbol"]) == set(known)
    listed = standard_listing()
    for symbol, tick in execution.select("symbol", "tick_size").iter_rows():
        assert tick == pytest.approx(listed[symbol].tick)
    steps = {row["symbol"]: row for row in execution.to_dicts()}["BINANCE:BTCUSDT"]
    assert steps["min_notional"] > 0
    assert 0 < steps["taker_fee"] < 0.01
    venues = {row["venue"]: row for row in runner.catalog.current(EXCHANGE_VERSIONS).to_dicts()}
    assert venues["BINANCE"]["calendar"] == "24x7"
    assert "1h" in venues["BINANCE"]["timeframes"].split(",")
    assert (venues["FXCM"]["calendar"], venues["FXCM"]["timeframes"]) == ("24x5", None)


def test_a_second_run_makes_no_version_of_any_table(runner):
    embedded(runner)
    candidates(runner, BINANCE_BTCUSDT="crypto", FXCM_EURUSD="forex")
    runner.run(STAGE)
    before = versions(runner)
    record = runner.run(STAGE)
    assert record.result["committed"] is False
    assert versions(runner) == before
    assert all(version >= 1 for version in before)


def test_a_delisted_symbol_becomes_inactive_and_keeps_its_past(runner, clock):
    gone_at = clock.now() + timedelta(days=1)
    faults = Faults(delistings={"BINANCE:ADABTC": Delisting(at=at(gone_at))})
    market = Market(now=clock.now, faults=faults)
    with MarketServer(market) as server:
        live(runner, server.url, server.url)
        candidates(runner, BINANCE_BTCUSDT="crypto")
        runner.run(STAGE)
        before = clock.now()
        clock.advance(2 * 86_400)
        record = runner.run(STAGE)
    assert record.state == "succeeded", record.error
    assert (record.result["vanished"], record.result["symbols"]["closed"]) == (1, 1)
    assert current(runner)["BINANCE:ADABTC"]["active"] is False
    table = runner.catalog.table(SYMBOL_VERSIONS)
    then = {row["symbol"]: row for row in symbols_at(table, before).to_dicts()}
    assert then["BINANCE:ADABTC"]["active"] is True
    assert "BINANCE:ADABTC" in set(runner.catalog.current(EXECUTION_VERSIONS)["symbol"])


def test_a_venue_that_fails_degrades_the_run_and_its_candidates_are_known_by_their_file(
    runner, clock
):
    down = Market(now=clock.now, faults=Faults(down=(1, 1_000_000)))
    with MarketServer(down) as binance, MarketServer(Market(now=clock.now)) as server:
        live(runner, binance.url, server.url)
        candidates(runner, BINANCE_BTCUSDT="crypto", FXCM_EURUSD="forex")
        record = runner.run(STAGE)
        assert record.state == "succeeded", record.error
        assert record.result["health_check"] == "degraded"
        assert [failure["venue"] for failure in record.result["failures"]] == ["BINANCE"]
        known = current(runner)
        assert set(known) == {"BINANCE:BTCUSDT", "FXCM:EURUSD"}
        assert known["BINANCE:BTCUSDT"]["source"] == "candidates"
        assert known["BINANCE:BTCUSDT"]["active"] is None
        assert set(runner.catalog.current(EXECUTION_VERSIONS)["symbol"]) == {"FXCM:EURUSD"}
        assert runner.run(STAGE, strict=True).state == "failed"
        live(runner, server.url, server.url)
        assert runner.run(STAGE).result["health_check"] == "passed"
    assert current(runner)["BINANCE:BTCUSDT"]["active"] is True


def test_where_no_venue_answers_the_run_fails_and_may_be_tried_again(runner, clock):
    down = Market(now=clock.now, faults=Faults(down=(1, 1_000_000)))
    with MarketServer(down) as server:
        live(runner, server.url, server.url)
        candidates(runner, BINANCE_BTCUSDT="crypto", FXCM_EURUSD="forex")
        record = runner.run(STAGE)
    assert record.state == "failed"
    assert record.error["code"] == "source_error"
    assert record.error["retryable"] is True
    assert set(current(runner)) == {"BINANCE:BTCUSDT", "FXCM:EURUSD"}


def test_a_candidate_that_its_venue_does_not_list_is_known_and_inactive(runner):
    embedded(runner)
    candidates(runner, BINANCE_NEVERWAS="crypto", FXCM_XYZABC="forex")
    runner.run(STAGE)
    known = current(runner)
    assert known["BINANCE:NEVERWAS"]["active"] is False
    assert known["FXCM:XYZABC"]["active"] is False
    assert known["FXCM:XYZABC"]["source"] == "candidates"


def test_a_symbol_of_unknown_kind_is_found_and_its_pair_is_told_apart(runner):
    embedded(runner)
    candidates(runner, FXCM_EURUSD="unknown")
    runner.run(STAGE)
    euro = current(runner)["FXCM:EURUSD"]
    assert (euro["asset_type"], euro["base"], euro["quote"]) == ("forex", "EUR", "USD")
    rows = pl.DataFrame(
        {
            "symbol": ["OKX:SOLBTC", "NASDAQ:AAPL"],
            "name": ["SOLBTC", "AAPL"],
            "exchange": ["OKX", "NASDAQ"],
            "type": ["spot", "stock"],
            "description": ["Solana", "Apple"],
            "currency": ["BTC", "USD"],
            "minmov": [1.0, 1.0],
            "pricescale": [1e8, 100.0],
        }
    )
    told = of_scanner("OKX", scanned(rows, "global"), "s").symbols
    assert told.select("asset_type", "base", "quote").rows() == [
        ("crypto", "SOL", "BTC"),
        ("equity", "AAPL", "USD"),
    ]


def test_only_the_venues_named_are_asked(runner):
    embedded(runner)
    candidates(runner, BINANCE_BTCUSDT="crypto", FXCM_EURUSD="forex")
    runner.run(STAGE, venues=["FXCM"])
    assert set(current(runner)) == {"FXCM:EURUSD"}
    record = runner.run(STAGE, venues=["BINANCE"])
    assert record.result["venues"] == 1
    assert set(current(runner)) == LISTED | {"FXCM:EURUSD"}


def test_without_candidates_nothing_starts_and_discovery_is_named(runner):
    embedded(runner)
    with pytest.raises(PrerequisitesNotMet, match="candidates") as told:
        runner.run(STAGE)
    assert "data.discover" in told.value.fix


def test_what_would_be_asked_is_told_before(runner):
    embedded(runner)
    candidates(runner, BINANCE_BTCUSDT="crypto", FXCM_EURUSD="forex")
    plan = runner.sdk.validate_stage(STAGE).plan
    assert plan.candidates == 2
    assert "BINANCE, FXCM" in plan.notes[0]
