from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_sdk.conformance import ConformancePipeline
from quant_sdk.errors import UnknownSymbol
from quant_sdk.lakehouse.timeframe import Timeframe
from quant_sdk.market.faults import Correction, Delisting, Faults, Halt
from quant_sdk.market.listing import Instrument, Listing, standard_listing
from quant_sdk.market.market import Market

PIPELINE = ConformancePipeline.partial_ok(True)
NOW = datetime(2026, 2, 3, 10, 0, 7, tzinfo=UTC)
BTC = "BINANCE:BTCUSDT"
HOUR = 3_600_000_000
TIMEFRAMES = ("1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "12h", "1d", "3d", "1w", "1M")


def us(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp()) * 1_000_000


def market(seed=7, **settings) -> Market:
    return Market(seed, now=lambda: NOW, **settings)


def raw(bars: pl.DataFrame) -> pl.DataFrame:
    return bars.with_row_index("row")


def check(rows: pl.DataFrame, timeframe: str):
    return PIPELINE.admit(rows, Timeframe.parse(timeframe), across_gaps=True)


def test_the_same_seed_gives_the_same_bars_and_another_seed_others():
    span = (BTC, "1h", us(2026, 1, 1), us(2026, 1, 3))
    assert market().bars(*span).equals(market().bars(*span))
    assert not market().bars(*span).equals(market(8).bars(*span))


@given(
    timeframe=st.sampled_from(TIMEFRAMES),
    ago=st.integers(0, 900),
    first=st.integers(0, 30),
    count=st.integers(1, 30),
)
@settings(max_examples=60, deadline=None)
def test_any_part_of_a_page_is_the_same_as_the_part_alone(timeframe, ago, first, count):
    bar = Timeframe.parse(timeframe)
    slot = bar.slot_of(us(2026, 2, 3, 10)) - ago - 60
    opens = [bar.open_of(slot + number) for number in (0, 60, first, first + count)]
    whole = market().bars(BTC, timeframe, opens[0], opens[1])
    part = market().bars(BTC, timeframe, opens[2], opens[3])
    # By time, not by place: before the symbol was listed there is nothing.
    at = pl.col("ts").dt.timestamp("us")
    assert part.equals(whole.filter((at >= opens[2]) & (at < opens[3])))


@pytest.mark.parametrize("symbol", [BTC, "BINANCE:SHIBUSDT", "BINANCE:USDCUSDT", "BINANCE:ETHBTC"])
@pytest.mark.parametrize("timeframe", ["1s", "1m", "1h", "1d", "1w", "1M"])
def test_no_bar_breaks_a_rule(symbol, timeframe):
    length = Timeframe.parse(timeframe).micros or 31 * 24 * HOUR
    bars = market().bars(symbol, timeframe, us(2026, 2, 3) - 2_000 * length, us(2027, 1, 1))
    checked = check(raw(bars), timeframe)
    assert checked.bars.height == bars.height > 20
    assert checked.quarantined.is_empty()
    assert not checked.notes.get("volume_spike")


def test_a_long_past_is_the_same_as_its_parts():
    start, end = us(2026, 1, 1), us(2026, 1, 29)
    middle = start + (end - start) // 3
    parts = [market().bars(BTC, "1m", *span) for span in ((start, middle), (middle, end))]
    whole = market().bars(BTC, "1m", start, end)
    assert whole.height == 28 * 24 * 60
    assert whole.equals(pl.concat(parts))


def test_prices_stay_within_a_factor_of_six():
    days = market().bars(BTC, "1d", 0, us(2027, 1, 1))
    assert days["high"].max() / days["low"].min() < 6
    assert days["ts"][0] == datetime(2017, 8, 17, tzinfo=UTC)


def test_a_bar_opens_where_the_one_before_it_closed():
    bars = market().bars(BTC, "15m", us(2026, 1, 1), us(2026, 2, 1))
    assert bars["open"][1:].equals(bars["close"][:-1].alias("open"))


@pytest.mark.parametrize(
    ("short", "long", "every"),
    [("1m", "1h", "1h"), ("15m", "4h", "4h"), ("1h", "1d", "1d"), ("1d", "1w", "1w")],
)
def test_bars_of_all_lengths_agree(short, long, every):
    start, end = us(2025, 12, 29), us(2026, 1, 26)
    longer = market().bars(BTC, long, start, end)
    made = (
        market()
        .bars(BTC, short, start, end)
        .group_by_dynamic("ts", every=every)
        .agg(
            pl.col("open").first(),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("close").last(),
            pl.col("volume").sum(),
        )
    )
    assert made.height == longer.height
    assert made["open"].equals(longer["open"])
    assert made["close"].equals(longer["close"])
    assert (made["high"] <= longer["high"]).all()
    assert (made["low"] >= longer["low"]).all()
    assert ((made["volume"] / longer["volume"] - 1).abs() < 1e-6).all()


def test_the_unclosed_bar_grows_with_the_time_and_is_the_last():
    seen = []
    for minute in (5, 20, 40):
        early = Market(7, now=lambda at=minute: NOW.replace(minute=at))
        bars = early.bars(BTC, "1h", us(2026, 2, 3, 8), us(2027, 1, 1))
        assert bars["ts"].to_list() == [NOW.replace(hour=h, minute=0, second=0) for h in (8, 9, 10)]
        seen.append(bars.row(-1, named=True))
    closed = Market(7, now=lambda: NOW.replace(hour=12)).bars(BTC, "1h", us(2026, 2, 3, 10), 2**62)
    seen.append(closed.row(0, named=True))
    assert len({bar["close"] for bar in seen}) == len(seen)
    assert len({bar["open"] for bar in seen}) == 1
    for name in ("high", "volume"):
        assert [bar[name] for bar in seen] == sorted(bar[name] for bar in seen)
    assert [bar["low"] for bar in seen] == sorted((bar["low"] for bar in seen), reverse=True)


def test_no_bar_opens_in_the_future_or_before_the_listing():
    assert market().bars(BTC, "1d", us(2026, 2, 4), us(2027, 1, 1)).is_empty()
    assert market().bars(BTC, "1d", 0, us(2017, 8, 17)).is_empty()
    assert market().bars(BTC, "1M", 0, us(2017, 9, 1)).height == 1


def test_a_bar_that_would_open_now_is_not_there_yet():
    sharp = Market(7, now=lambda: NOW.replace(second=0))
    assert sharp.bars(BTC, "1h", us(2026, 2, 3, 9), us(2027, 1, 1)).height == 1
    assert sharp.bars(BTC, "1h", us(2026, 2, 3, 10), us(2027, 1, 1)).is_empty()


def test_fx_rests_at_the_week_end_and_knows_no_volume():
    bars = market().bars("FXCM:EURUSD", "1h", us(2026, 1, 30), us(2026, 2, 3))
    days = bars["ts"].dt.weekday()
    assert 6 not in days
    assert bars.filter(days == 7)["ts"].dt.hour().to_list() == [22, 23]
    assert bars["volume"].null_count() == bars.height > 40
    assert check(raw(bars), "1h").quarantined.is_empty()


def test_an_unlisted_symbol_is_refused_with_its_neighbours():
    with pytest.raises(UnknownSymbol) as refused:
        market().bars("BINANCE:BTCUSD", "1d", 0, 1)
    assert BTC in refused.value.fix


def test_halted_bars_are_absent_and_their_neighbours_are_as_ever():
    start, end = us(2026, 1, 10), us(2026, 1, 12)
    halt = Halt(start=us(2026, 1, 10, 6), end=us(2026, 1, 10, 9, 30), symbols=frozenset({BTC}))
    halted = market(faults=Faults(halts=(halt,)))
    whole = market().bars(BTC, "1h", start, end)
    kept = halted.bars(BTC, "1h", start, end)
    assert kept.equals(
        whole.filter(~pl.col("ts").dt.hour().is_in([6, 7, 8]) | (whole["ts"].dt.day() > 10))
    )
    other = ("BINANCE:ETHUSDT", "1h", start, end)
    assert halted.bars(*other).equals(market().bars(*other))


def test_a_correction_changes_prices_from_its_request_on():
    start = us(2026, 1, 10)
    change = Correction(start=start + HOUR, end=start + 3 * HOUR, factor=1.1, after_requests=2)
    changing = market(faults=Faults(corrections={BTC: change}))
    span = (BTC, "1h", start, start + 5 * HOUR)
    before = changing.bars(*span)
    assert before.equals(market().bars(*span))
    changing.count(BTC)
    assert changing.bars(*span).equals(before)
    changing.count(BTC)
    after = changing.bars(*span)
    assert (after["close"] != before["close"]).to_list() == [False, True, True, False, False]
    assert after["close"][1] == pytest.approx(before["close"][1] * 1.1)
    assert check(raw(after), "1h").quarantined.is_empty()


def test_a_delisted_symbol_trades_no_more_and_keeps_its_past():
    gone = market(
        faults=Faults(
            delistings={
                BTC: Delisting(at=us(2026, 2, 1)),
                "BINANCE:ETHUSDT": Delisting(after_requests=1),
            }
        )
    )
    assert not gone.is_listed(BTC)
    assert gone.bars(BTC, "1d", us(2026, 1, 30), us(2026, 3, 1)).height == 2
    assert gone.is_listed("BINANCE:ETHUSDT")
    gone.count("BINANCE:ETHUSDT")
    assert not {BTC, "BINANCE:ETHUSDT"} & {each.symbol for each in gone.listed()}


def test_the_listing_is_what_the_scanner_files_need():
    listing = standard_listing(synthetic=3)
    quotes = {each.quote for each in listing if each.base == "BTC"}
    assert {"USDT", "USDC", "FDUSD"} <= quotes
    assert "BINANCE:USDCUSDT" in listing
    assert "BINANCE:S0002USDT" in listing
    assert len(standard_listing(synthetic=2_000, known=False)) == 2_000
    liquid = [each for each in listing if each.turnover > 5e6 and each.quote == "USDT"]
    assert 20 < len(liquid) < 60
    assert {"EURUSD", "GBPUSD", "USDJPY", "AUDUSD", "USDCAD", "USDCHF", "NZDUSD"} <= {
        each.id for each in listing if each.exchange == "FXCM"
    }


def test_ticks_and_lots_fit_the_price():
    coin = Instrument(exchange="BINANCE", base="X", quote="USDT", price=62_000.0)
    assert (coin.tick, coin.lot) == (0.01, 1e-6)
    assert (replace(coin, price=0.5).tick, replace(coin, price=0.5).lot) == (1e-7, 1.0)
    assert Listing([coin]).get("BINANCE:XUSDT") is coin
    bars = market(listing=Listing([coin])).bars(
        "BINANCE:XUSDT", "1m", us(2026, 1, 1), us(2026, 1, 2)
    )
    assert (bars["close"] == bars["close"].round(2)).all()
    assert bars["volume"].min() >= coin.lot
