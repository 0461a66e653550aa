from __future__ import annotations

import json
from datetime import UTC, datetime

import polars as pl
import pytest
from _market import SYMBOLS, market_setting, point_at, write_candidates

from quant_sdk.lakehouse.timeframe import to_micros
from quant_sdk.market.faults import Correction, Delisting, Faults, Halt
from quant_sdk.market.server import MarketServer
from quant_sdk.market.wire import answer_json
from quant_sdk.seamless import Shard

HOUR = 3_600_000_000
VALUES = ("ts", "open", "high", "low", "close", "volume")


def micros(day: int, hour: int = 0) -> int:
    return to_micros(datetime(2026, 1, day, hour, tzinfo=UTC))


def truth(setting, symbol: str, start: int, end: int) -> pl.DataFrame:
    return setting.market.bars(symbol, "1h", start, end).select(VALUES)


def held(setting, symbol: str) -> pl.DataFrame:
    return setting.runner.sdk.bars(symbol, "1h").select(VALUES)


def closed_end(setting) -> int:
    return to_micros(setting.clock.now()) // HOUR * HOUR


@pytest.fixture
def setting(tmp_path):
    with market_setting(tmp_path) as found:
        write_candidates(found.runner.root)
        yield found


def ingest(setting, stage: str = "data.ingest", **params):
    record = setting.runner.run(stage, candidates="data/candidates.json", **params)
    assert record.state == "succeeded", record.error
    return record.result


def test_every_closed_bar_of_the_window_is_there_and_no_other(setting):
    end = closed_end(setting)
    result = ingest(setting)
    assert result["rows"]["bars"] == 3 * 10 * 24
    for symbol in SYMBOLS:
        assert held(setting, symbol).equals(truth(setting, symbol, end - 240 * HOUR, end))
    assert setting.runner.sdk.bars(SYMBOLS[0], "1h")["source"].unique().to_list() == [
        "loopback:binance"
    ]


def test_two_timeframes_of_a_venue_are_told_apart(setting):
    wanted = [{"timeframe": "1h", "depth_days": 5}, {"timeframe": "1d", "depth_days": 50}]
    path = setting.runner.root / "data" / "candidates.json"
    path.write_text(json.dumps({"data": [{"symbol": SYMBOLS[0], "ingest": wanted}]}))
    assert ingest(setting)["rows"]["bars"] == 5 * 24 + 50
    setting.clock.advance(86_400)
    assert ingest(setting)["rows"]["bars"] == 24 + 1
    assert ingest(setting, "data.verify")["health_check"] == "passed"


def test_the_second_run_asks_for_nothing_and_changes_nothing(setting):
    ingest(setting)
    asked = sum(setting.server.requests.values())
    version = setting.runner.sdk.lakehouse.table("bars").version()
    result = ingest(setting)
    assert result["message"].startswith("nothing to do")
    assert sum(setting.server.requests.values()) == asked
    assert setting.runner.sdk.lakehouse.table("bars").version() == version


def test_the_next_hour_brings_the_next_bar_and_asks_once_a_series(setting):
    ingest(setting)
    before = setting.server.requests["/api/v3/klines"]
    setting.clock.advance(3600)
    result = ingest(setting)
    assert result["rows"]["bars"] == 3
    assert result["rows"]["unchanged"] == 3 * 2  # the bars before are looked at again
    assert setting.server.requests["/api/v3/klines"] == before + 3


def test_the_bar_that_is_still_open_is_withheld(setting):
    ingest(setting)
    last = held(setting, SYMBOLS[0])["ts"].max()
    assert last == datetime(2026, 2, 3, 9, tzinfo=UTC)


def test_rows_are_told_by_symbol_with_progress(setting):
    ingest(setting)
    told = setting.runner.events("ingest_progress")
    assert {event["symbol"] for event in told} == set(SYMBOLS)
    assert [event["progress"]["current"] for event in told] == [1, 2, 3]
    assert {event["status"] for event in told} == {"success"}


def test_a_dry_run_says_what_would_be_fetched_and_asks_nobody(setting):
    validation = setting.runner.sdk.validate_stage(
        "data.ingest", {"candidates": "data/candidates.json"}
    )
    assert validation.ok
    assert validation.plan.rows == 3 * 240
    assert not setting.server.requests


def test_hours_without_trade_are_holes_that_the_venue_vouches_for(tmp_path):
    halt = Halt(start=micros(30, 3), end=micros(30, 7))
    with market_setting(tmp_path, faults=Faults(halts=(halt,))) as setting:
        write_candidates(setting.runner.root, days=60)
        assert ingest(setting)["holes"] == {"verified_empty": 12}
        (series, *_) = setting.runner.sdk.lakehouse.coverage()
        assert [(to_micros(g.start), to_micros(g.end), g.cause) for g in series.gaps] == [
            (micros(30, 3), micros(30, 7), "verified_empty")
        ]
        asked = setting.server.requests["/api/v3/klines"]
        assert ingest(setting, "data.repair")["shards"] == 0
        assert setting.server.requests["/api/v3/klines"] == asked
        setting.clock.advance(31 * 86_400)  # what was vouched for expires
        assert ingest(setting, "data.repair")["holes"]["verified_empty"] == 12


def test_a_delisted_symbol_is_a_hole_with_its_cause_and_the_others_go_on(tmp_path):
    gone = {SYMBOLS[1]: Delisting(at=micros(28))}
    with market_setting(tmp_path, faults=Faults(delistings=gone)) as setting:
        write_candidates(setting.runner.root)
        result = ingest(setting)
        assert result["rows"]["bars"] == 2 * 240
        assert result["holes"] == {"unknown_symbol": 240}
        found = {item.symbol: item for item in setting.runner.sdk.lakehouse.coverage()}
        assert found[SYMBOLS[1]].present == 0
        assert [gap.cause for gap in found[SYMBOLS[1]].gaps] == ["unknown_symbol"]


def test_an_outage_fails_the_run_when_nothing_came_and_the_next_run_heals_it(tmp_path):
    with market_setting(tmp_path, faults=Faults(down=(2, 60))) as setting:
        write_candidates(setting.runner.root)
        record = setting.runner.run("data.ingest", candidates="data/candidates.json")
        assert record.state == "failed"
        assert record.error["code"] == "source_error"
        causes = {g.cause for item in setting.runner.sdk.lakehouse.coverage() for g in item.gaps}
        assert causes == {"fetch_failed"}
        while sum(setting.server.requests.values()) < 60:
            setting.runner.run("data.ingest", candidates="data/candidates.json")
        ingest(setting)
        end = closed_end(setting)
        for symbol in SYMBOLS:
            assert held(setting, symbol).equals(truth(setting, symbol, end - 240 * HOUR, end))
        assert not [g for item in setting.runner.sdk.lakehouse.coverage() for g in item.gaps]


def test_a_bar_that_the_venue_corrects_is_corrected_and_the_old_one_is_kept(tmp_path):
    late = Correction(start=micros(1), factor=1.01, after_requests=1)
    with market_setting(tmp_path, faults=Faults(corrections={SYMBOLS[0]: late})) as setting:
        write_candidates(setting.runner.root, SYMBOLS[:1])
        ingest(setting)
        before = held(setting, SYMBOLS[0])
        setting.clock.advance(3600)
        result = ingest(setting)
        assert result["rows"]["corrected"] == 2
        kept = setting.runner.sdk.lakehouse.table("corrections").scan().collect().sort("ts")
        assert kept["old_close"].to_list() == before["close"][-2:].to_list()
        assert kept["new_close"].to_list() == held(setting, SYMBOLS[0])["close"][-3:-1].to_list()


def test_a_leap_of_the_price_is_refused_with_the_bar_before_it_in_sight(tmp_path):
    # The standing bar is asked for again, so the return to the first new one is seen.
    leap = Correction(start=to_micros(datetime(2026, 2, 3, 10, tzinfo=UTC)), factor=9.0)
    with market_setting(tmp_path, faults=Faults(corrections={SYMBOLS[0]: leap})) as setting:
        write_candidates(setting.runner.root, SYMBOLS[:1])
        ingest(setting)
        setting.clock.advance(3600)
        result = ingest(setting)
        assert (result["rows"]["quarantined"], result["holes"]) == (1, {"quarantined": 1})
        summary = setting.runner.sdk.lakehouse.quarantine_summary()
        assert [(row["rule"], row["rows"]) for row in summary] == [("return_spike", 1)]
        again = ingest(setting, "data.repair")
        assert again["shards"] == 0  # it was asked for, and refused, a moment ago


def test_a_gap_is_repaired_and_nothing_else_is_published(setting):
    ingest(setting)
    lakehouse = setting.runner.sdk.lakehouse
    table = lakehouse.table("bars")
    hole = (pl.col("symbol") == SYMBOLS[0]) & pl.col("ts").is_between(
        pl.lit(datetime(2026, 1, 28, 3, tzinfo=UTC)), pl.lit(datetime(2026, 1, 28, 8, tzinfo=UTC))
    )
    table.delta().delete(
        "symbol = 'BINANCE:BTCUSDT' AND ts >= '2026-01-28 03:00:00' AND ts <= '2026-01-28 08:00:00'"
    )
    assert table.scan().filter(hole).collect().is_empty()
    result = ingest(setting, "data.repair")
    assert (result["shards"], result["rows"]["bars"]) == (1, 6)
    end = closed_end(setting)
    assert held(setting, SYMBOLS[0]).equals(truth(setting, SYMBOLS[0], end - 240 * HOUR, end))


def test_a_backfill_fills_a_window_shard_by_shard_on_a_grid(setting):
    window = {"start": "2026-01-10", "end": "2026-01-20", "shard_bars": 48}
    record = setting.runner.run("seamless.backfill", symbols=SYMBOLS[:2], timeframe="1h", **window)
    assert record.state == "succeeded", record.error
    assert record.result["rows"]["bars"] == 2 * 240
    planned = setting.runner.events("backfill_planned")[0]
    assert planned["shards"] == record.result["shards"] == 2 * 6  # both ends lie in a cell
    assert setting.runner.events("backfill_completed")[0]["completion_ratio"] == 1.0
    for symbol in SYMBOLS[:2]:
        assert held(setting, symbol).equals(truth(setting, symbol, micros(10), micros(20)))
    again = setting.runner.run("seamless.backfill", symbols=SYMBOLS[:2], timeframe="1h", **window)
    assert again.result["shards"] == 0


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"symbols": ["btc"], "start": "2026-01-10"}, "symbol"),
        ({"symbols": [SYMBOLS[0]], "start": "2026-01-10", "timeframe": "7x"}, "timeframe"),
        ({"symbols": [SYMBOLS[0]], "start": "soon"}, "start"),
        ({"symbols": [SYMBOLS[0]], "start": "2027-01-10"}, "empty"),
        ({"symbols": [SYMBOLS[0]], "start": "2026-01-10", "end": "2026-01-10"}, "empty"),
    ],
)
def test_an_impossible_backfill_is_refused_before_it_begins(setting, params, said):
    from quant_sdk.errors import QuantError

    with pytest.raises(QuantError, match=said):
        setting.runner.run("seamless.backfill", **params)


def test_symbols_of_a_venue_without_source_are_skipped_and_told(setting):
    write_candidates(setting.runner.root, [*SYMBOLS, "FXCM:EURUSD"])
    result = ingest(setting)
    assert result["skipped_venues"] == ["FXCM"]
    assert "FXCM" in result["message"]
    assert result["series"] == 3


def test_verification_names_every_hole_with_its_cause_and_proves_parity(tmp_path):
    halt = Halt(start=micros(30, 3), end=micros(30, 7), symbols=frozenset({SYMBOLS[0]}))
    with market_setting(tmp_path, faults=Faults(halts=(halt,))) as setting:
        write_candidates(setting.runner.root)
        ingest(setting)
        result = ingest(setting, "data.verify")
        assert result["health_check"] == "passed"
        assert result["missing"] == {"verified_empty": 4}
        setting.clock.advance(3 * 3600)
        later = ingest(setting, "data.verify")
        assert later["health_check"] == "degraded"
        assert later["missing"] == {"unasked": 9, "verified_empty": 4}
        assert later["fresh"] == 0


def test_verification_fails_when_rows_vanish(setting):
    ingest(setting)
    table = setting.runner.sdk.lakehouse.table("bars")
    table.delta().delete("symbol = 'BINANCE:BTCUSDT'")
    record = setting.runner.run("data.verify", candidates="data/candidates.json")
    assert (record.state, record.error["code"]) == ("failed", "parity_failed")


def test_invented_and_real_bars_never_stand_in_one_series(setting):
    ingest(setting)
    settings = setting.runner.root / "quant.yml"
    live = settings.read_text()
    settings.write_text("sources: {market: embedded}")
    setting.clock.advance(3600)
    version = setting.runner.sdk.lakehouse.table("bars").version()
    record = setting.runner.run("data.ingest", candidates="data/candidates.json")
    assert (record.state, record.error["code"]) == ("failed", "prerequisites_not_met")
    assert "synthetic market" in record.error["message"]
    assert setting.runner.sdk.lakehouse.table("bars").version() == version

    write_candidates(setting.runner.root, ["BINANCE:SOLUSDT"])
    assert ingest(setting)["rows"]["bars"] == 240
    settings.write_text(live)
    setting.clock.advance(3600)
    record = setting.runner.run("data.ingest", candidates="data/candidates.json")
    assert "invented bars" in record.error["message"]
    assert "wipe" in record.error["fix"]


def test_bars_of_two_seeds_never_stand_in_one_series(setting):
    settings = setting.runner.root / "quant.yml"
    settings.write_text("sources: {market: embedded}")
    ingest(setting)
    setting.clock.advance(3600)
    settings.write_text("sources: {market: embedded, seed: 9}")
    record = setting.runner.run("data.ingest", candidates="data/candidates.json")
    assert record.state == "failed"
    assert "embedded:binance:9" in record.error["message"]
    write_candidates(setting.runner.root, ["BINANCE:SOLUSDT"])
    ingest(setting)
    assert setting.runner.sdk.bars("BINANCE:SOLUSDT", "1h")["source"].unique().to_list() == [
        "embedded:binance:9"
    ]


def test_real_bars_are_not_added_to_those_of_a_market_on_this_machine(setting):
    from quant_stages.intake.purity import invented, refused

    ingest(setting)
    lakehouse = setting.runner.sdk.lakehouse
    assert invented(lakehouse.table("bars").scan()) == ["loopback:binance"]
    shards = [Shard(symbol=SYMBOLS[0], timeframe="1h", cell=0, wanted=((0, HOUR),))]
    found = refused(lakehouse, shards, lambda venue: f"ccxt:{venue.lower()}")
    assert "no real ones" in found[SYMBOLS[0], "1h"].message
    assert not refused(lakehouse, shards, lambda venue: f"loopback:{venue.lower()}")


def two_series(setting) -> None:
    """Want a series of days, and one of a timeframe that the venue does not have."""
    wants = {SYMBOLS[0]: "1d", SYMBOLS[1]: "45m"}
    write_entries(
        setting,
        *(entry(symbol, ingest=[{"timeframe": text}]) for symbol, text in wants.items()),
    )


def entry(symbol: str, **keys) -> dict:
    exchange = symbol.partition(":")[0]
    return {"symbol": symbol, "exchange": exchange, "asset_type": "crypto", **keys}


def write_entries(setting, *entries: dict) -> None:
    path = setting.runner.root / "data" / "candidates.json"
    path.write_text(json.dumps({"schema": "candidates/1", "meta": {}, "data": entries}))


@pytest.mark.parametrize("stage", ["data.ingest", "data.repair"])
def test_a_rerun_degrades_by_a_wrong_wish_where_another_series_is_whole(setting, stage):
    two_series(setting)
    assert ingest(setting)["health_check"] == "degraded"
    again = ingest(setting, stage)
    assert (again["health_check"], again["failed"], again["rows"]["bars"]) == ("degraded", 1, 0)
    assert again["failures"][0]["symbol"] == SYMBOLS[1]


def test_a_wrong_wish_alone_fails_as_one_and_is_not_to_be_tried_again(setting):
    write_candidates(setting.runner.root, SYMBOLS[:1], timeframe="45m")
    record = setting.runner.run("data.ingest", candidates="data/candidates.json")
    assert (record.error["code"], record.error["retryable"]) == ("invalid_input", False)
    assert record.exit_code == 2


class DenyingServer(MarketServer):
    """It lists its markets, and gives bars to nobody."""

    def answer(self, method, target, body):
        answer, strike = super().answer(method, target, body)
        denied = target.startswith("/api/v3/klines")
        return (answer_json({"msg": "Unauthorized"}, 401) if denied else answer), strike


def test_a_denied_credential_is_not_to_be_tried_again_and_its_advice_is_kept(setting):
    write_candidates(setting.runner.root)
    with DenyingServer(setting.market) as server:
        point_at(setting.runner.root, server.url)
        record = setting.runner.run("data.ingest", candidates="data/candidates.json")
    error = record.error
    assert (record.state, error["code"], error["retryable"]) == ("failed", "source_refused", False)
    assert "QUANT_BINANCE_API_KEY" in error["fix"]


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("symbol", ["BINANCE:BTCUSTD", "BINANSE:BTCUSDT"])
def test_a_series_that_holds_nothing_and_gets_nothing_degrades(setting, symbol, strict):
    write_candidates(setting.runner.root, [SYMBOLS[0], symbol])
    if strict:
        record = setting.runner.run("data.ingest", candidates="data/candidates.json", strict=strict)
        assert (record.error["code"], record.exit_code) == ("no_data", 3)
        assert symbol in record.error["message"]
        return
    for _ in range(2):  # the second time its holes are believed
        result = ingest(setting)
        assert result["health_check"] == "degraded"
        assert symbol in " ".join(result["warnings"])


def test_holes_that_are_believed_are_not_said_to_be_held(setting):
    write_candidates(setting.runner.root, [SYMBOLS[0], "BINANCE:BTCUSTD"])
    ingest(setting)
    message = ingest(setting)["message"]
    assert message.startswith("nothing to do: 1 of 2 series hold what is wanted")
    assert "240 unknown_symbol" in message


def test_candidates_without_a_timeframe_are_named_and_take_that_of_the_parameters(setting):
    write_entries(setting, entry(SYMBOLS[0]))
    result = ingest(setting)
    assert result["health_check"] == "degraded"
    assert SYMBOLS[0] in " ".join(result["warnings"])
    assert "--timeframes" in " ".join(result["warnings"])
    validation = setting.runner.sdk.validate_stage(
        "data.ingest", {"candidates": "data/candidates.json"}
    )
    series = next(check for check in validation.checks if check.name == "series")
    assert (series.status, SYMBOLS[0] in series.detail) == ("warning", True)
    timed = ingest(setting, timeframes=["1h"], depth_days=10)
    assert (timed["health_check"], timed["rows"]["bars"]) == ("passed", 240)


def test_a_file_without_candidates_degrades(setting):
    write_entries(setting)
    result = ingest(setting)
    assert result["health_check"] == "degraded"
    assert result["warnings"] == ["the candidates ask for no series"]


def test_a_key_that_means_nothing_is_told_with_the_near_one(setting):
    write_entries(setting, entry(SYMBOLS[0], ingest=[{"timeframe": "1d", "depth": 10}]))
    result = ingest(setting)
    assert result["health_check"] == "passed"
    [told] = result["warnings"]
    assert "'depth'" in told
    assert "depth_days" in told


def test_one_repair_works_at_a_time(setting):
    from quant_sdk.errors import StageLocked

    assert setting.runner.sdk.registry["data.repair"].lock == "stage"
    ingest(setting)
    setting.runner.write_control({"action": "pause"})
    first = setting.runner.start("data.repair", candidates="data/candidates.json")
    assert first.run_id
    with pytest.raises(StageLocked):
        setting.runner.run("data.repair", candidates="data/candidates.json")
    assert first.cancel().state == "cancelled"


def test_verification_speaks_of_what_is_wanted_only(setting):
    ingest(setting)
    message = ingest(setting, "data.verify")["message"]
    assert message.endswith("none has a hole in what is wanted")


def test_what_fails_alike_is_said_once(setting):
    from quant_sdk.errors import PrerequisitesNotMet

    with pytest.raises(PrerequisitesNotMet) as caught:
        setting.runner.run("data.ingest", candidates="nope.json")
    assert caught.value.message.startswith("series, sources, disk: ")
    assert caught.value.message.count("nope.json") == 1
    assert caught.value.fix.count("data.discover") == 1


def test_without_candidates_the_command_to_run_is_named(setting):
    from quant_sdk.errors import PrerequisitesNotMet

    with pytest.raises(PrerequisitesNotMet) as caught:
        setting.runner.run("data.ingest")
    assert "data.discover" in caught.value.fix or "data.discover" in str(caught.value.facts)


def test_a_throttle_holds_for_the_whole_run(setting):
    setting.runner.write_control({"action": "throttle", "max_requests_per_second": 2})
    began = setting.clock.monotonic()
    ingest(setting)
    # Three pages and the lists of markets, half a second apart, on the clock that is passed in.
    assert setting.clock.monotonic() - began >= 1.0
