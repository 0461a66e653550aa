from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest

from quant_registry.errors import UnknownName
from quant_sdk.lakehouse.calendars import ALWAYS, FX, calendar_for
from quant_sdk.lakehouse.timeframe import Timeframe


def expected(calendar, timeframe, *dates):
    ts = pl.Series("ts", [datetime(*date, tzinfo=UTC) for date in dates], pl.Datetime("us", "UTC"))
    marks = calendar.expected(pl.col("ts"), Timeframe.parse(timeframe))
    return ts.to_frame().select(marks).to_series().to_list()


def test_crypto_is_always_open():
    assert expected(ALWAYS, "1m", (2024, 1, 6), (2024, 1, 8)) == [True, True]


def test_fx_closes_on_friday_at_five_in_new_york_winter_and_summer():
    winter = [(2024, 1, 5, 21, 59), (2024, 1, 5, 22), (2024, 1, 7, 21, 59), (2024, 1, 7, 22)]
    summer = [(2024, 7, 5, 20, 59), (2024, 7, 5, 21), (2024, 7, 7, 20, 59), (2024, 7, 7, 21)]
    assert expected(FX, "1m", *winter) == [True, False, False, True]
    assert expected(FX, "1m", *summer) == [True, False, False, True]


def test_week_end_with_a_clock_change_ends_an_hour_earlier_in_utc():
    assert expected(FX, "1m", (2024, 3, 8, 22), (2024, 3, 10, 20, 59), (2024, 3, 10, 21)) == [
        False,
        False,
        True,
    ]


def test_bar_that_is_open_in_part_is_expected():
    assert expected(
        FX, "4h", (2024, 1, 5, 20), (2024, 1, 6), (2024, 1, 7, 16), (2024, 1, 7, 20)
    ) == [
        True,
        False,
        False,
        True,
    ]
    assert expected(FX, "1d", (2024, 1, 5), (2024, 1, 6), (2024, 1, 7)) == [True, False, True]


@pytest.mark.parametrize("timeframe", ["4d", "1w", "1M"])
def test_bar_longer_than_a_week_end_is_always_expected(timeframe):
    assert expected(FX, timeframe, (2024, 1, 6)) == [True]


@pytest.mark.parametrize("venue", ["FXCM", "OANDA", "FX_IDC", "FOREXCOM", "DUKASCOPY", "FX"])
def test_fx_venue_trades_five_days(venue):
    assert calendar_for(f"{venue}:GBPUSD") is FX


def test_named_calendar_wins_over_the_venue():
    assert calendar_for("FXCM:BTCUSD", "24x7") is ALWAYS
    assert calendar_for("BINANCE:EURUSDT", "24x5") is FX
    assert calendar_for("BINANCE:ADABTC") is ALWAYS


def test_unknown_calendar_is_answered_with_the_known_ones():
    with pytest.raises(UnknownName) as caught:
        calendar_for("BINANCE:ADABTC", "24/7")
    assert caught.value.fix.startswith("the calendars are 24x7, 24x5 and those of exchange-cal")


def test_an_exchanges_calendar_is_known_by_its_name():
    calendar = calendar_for("NYSE:IBM", "XNYS")
    assert (calendar.name, calendar.always_open) == ("XNYS", False)
    assert expected(calendar, "1d", (2024, 7, 4), (2024, 7, 5), (2024, 7, 6)) == [
        False,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("symbol", "name"),
    [("BINANCE:ADABTC", "24x7"), ("FXCM:EURUSD", "24x5"), ("NASDAQ:AAPL", "XNYS")],
)
def test_a_venue_has_its_calendar(symbol, name):
    assert calendar_for(symbol).name == name
