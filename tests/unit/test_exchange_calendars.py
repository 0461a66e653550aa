from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import exchange_calendars
import polars as pl
import pytest

from quant_registry.errors import MissingExtra, PrerequisitesNotMet, UnknownName
from quant_sdk.lakehouse import sessions
from quant_sdk.lakehouse.calendars import calendar_for
from quant_sdk.lakehouse.coverage import coverage
from quant_sdk.lakehouse.sessions import ExchangeSessions, is_exchange
from quant_sdk.lakehouse.timeframe import Timeframe
from quant_stages.manifest.settings import CALENDAR

MICROS = pl.Datetime("us", "UTC")
EXCHANGES = ["XNYS", "XLON", "XHKG", "XTKS", "XASX", "CMES"]


def grid(first: date, last: date, timeframe: str) -> pl.Series:
    """Every opening of the grid from the midnight of `first` to that of `last`."""
    step = timedelta(microseconds=Timeframe.parse(timeframe).micros)
    return pl.datetime_range(
        datetime.combine(first, datetime.min.time()),
        datetime.combine(last, datetime.min.time()),
        step,
        time_zone="UTC",
        time_unit="us",
        closed="left",
        eager=True,
    ).alias("ts")


def wanted(name: str, ts: pl.Series, timeframe: str) -> list[datetime]:
    """The bars that the calendar expects."""
    calendar = ExchangeSessions(name)
    marked = ts.to_frame().filter(calendar.expected(pl.col("ts"), Timeframe.parse(timeframe)))
    return marked["ts"].to_list()


def times(name: str, day: date, timeframe: str) -> list[str]:
    """The hours and minutes, UTC, of the bars expected on a day."""
    bars = wanted(name, grid(day, day + timedelta(days=1), timeframe), timeframe)
    return [f"{bar:%H:%M}" for bar in bars]


@pytest.mark.parametrize("name", EXCHANGES)
@pytest.mark.parametrize(
    ("first", "last"),
    [
        (date(2024, 3, 1), date(2024, 4, 8)),  # both sides change their clocks, Easter
        (date(2024, 10, 20), date(2024, 12, 2)),  # and back, Thanksgiving
        (date(2024, 12, 20), date(2025, 1, 6)),  # Christmas and the New Year
    ],
)
def test_minutes_are_those_of_the_librarys_schedule(name, first, last):
    library = exchange_calendars.get_calendar(
        name, start=first - timedelta(days=7), end=last + timedelta(days=7), side="left"
    )
    minutes = library.minutes
    begin, end = (
        datetime.combine(first, datetime.min.time(), UTC),
        datetime.combine(last, datetime.min.time(), UTC),
    )
    theirs = [minute.to_pydatetime() for minute in minutes if begin <= minute < end]
    assert len(theirs) > 2000
    assert wanted(name, grid(first, last, "1m"), "1m") == theirs


@pytest.mark.parametrize("name", EXCHANGES)
def test_daily_bars_are_the_sessions_dates(name):
    first, last = date(2019, 1, 1), date(2025, 12, 31)
    library = exchange_calendars.get_calendar(name, start=first, end=last)
    found = wanted(name, grid(first, last, "1d"), "1d")
    assert [bar.date() for bar in found] == [
        day.date() for day in library.sessions if day.date() < last
    ]


@pytest.mark.parametrize("timeframe", ["5m", "1h", "4h"])
def test_a_longer_bar_is_expected_where_any_of_its_minutes_is(timeframe):
    first, last = date(2024, 11, 25), date(2024, 12, 2)
    minutes = wanted("XHKG", grid(first, last, "1m"), "1m")
    micros = Timeframe.parse(timeframe).micros
    floors = sorted({int(minute.timestamp() * 1e6) // micros * micros for minute in minutes})
    found = wanted("XHKG", grid(first, last, timeframe), timeframe)
    assert [int(bar.timestamp() * 1e6) for bar in found] == floors


def test_new_york_closes_early_after_thanksgiving():
    assert times("XNYS", date(2024, 11, 28), "30m") == []
    half = times("XNYS", date(2024, 11, 29), "30m")
    assert (half[0], half[-1], len(half)) == ("14:30", "17:30", 7)
    whole = times("XNYS", date(2024, 11, 27), "30m")
    assert (whole[0], whole[-1], len(whole)) == ("14:30", "20:30", 13)


def test_new_york_rests_on_the_fourth_of_july_and_closes_early_on_its_eve():
    assert times("XNYS", date(2024, 7, 3), "30m")[-1] == "16:30"
    assert times("XNYS", date(2024, 7, 4), "30m") == []
    assert times("XNYS", date(2024, 7, 4), "1d") == []
    assert times("XNYS", date(2024, 7, 5), "1d") == ["00:00"]


def test_a_session_moves_in_utc_when_the_clocks_change():
    assert times("XNYS", date(2024, 3, 8), "30m")[0] == "14:30"
    assert times("XNYS", date(2024, 3, 11), "30m")[0] == "13:30"
    assert times("XNYS", date(2024, 11, 1), "30m")[-1] == "19:30"
    assert times("XNYS", date(2024, 11, 4), "30m")[-1] == "20:30"


def test_hong_kong_has_its_lunch():
    found = times("XHKG", date(2024, 5, 6), "30m")
    morning = ["01:30", "02:00", "02:30", "03:00", "03:30"]
    assert found == [*morning, "05:00", "05:30", "06:00", "06:30", "07:00", "07:30"]
    # A bar that is open in part is expected: 04:00 lies in the break whole, 05:00 does not.
    assert "04:00" not in times("XHKG", date(2024, 5, 6), "1h")
    assert times("XHKG", date(2024, 5, 6), "1d") == ["00:00"]


def test_weeks_and_months_are_expected_when_they_hold_a_session():
    calendar = ExchangeSessions("XSHG")
    weeks = pl.Series("ts", [datetime(2024, 9, 30, tzinfo=UTC), datetime(2024, 2, 12, tzinfo=UTC)])
    for timeframe, marks in (("1w", [True, False]), ("1M", [True, True]), ("1d", [True, False])):
        expected = calendar.expected(pl.col("ts"), Timeframe.parse(timeframe))
        assert weeks.cast(MICROS).to_frame().select(expected)["ts"].to_list() == marks


def test_years_beyond_the_default_range_are_known_when_they_are_asked_for():
    calendar = ExchangeSessions("XNYS")
    days = [date(1975, 7, 4), date(1975, 7, 3), date(2024, 7, 4), None]
    ts = pl.Series("ts", days).cast(MICROS)
    expected = calendar.expected(pl.col("ts"), Timeframe.parse("1d"))
    for _ in range(2):
        assert ts.to_frame().select(expected)["ts"].to_list() == [False, True, False, None]


def test_outside_what_the_library_knows_every_weekday_counts_as_open():
    calendar = ExchangeSessions("XTKS")  # known since 1997
    days = [date(1990, 1, 1), date(1990, 1, 6), date(2997, 1, 2), date(2024, 1, 1)]
    ts = pl.Series("ts", days).cast(MICROS)
    daily = calendar.expected(pl.col("ts"), Timeframe.parse("1d"))
    assert ts.to_frame().select(daily)["ts"].to_list() == [True, False, True, False]
    weekly = calendar.expected(pl.col("ts"), Timeframe.parse("3d"))
    assert ts.to_frame().select(weekly)["ts"].to_list()[1] is True


def test_an_empty_and_an_all_null_column_stay_so():
    calendar = ExchangeSessions("XNYS")
    for values in ([], [None, None]):
        ts = pl.Series("ts", values, dtype=MICROS)
        marks = ts.to_frame().select(calendar.expected(pl.col("ts"), Timeframe.parse("1h")))["ts"]
        assert (marks.dtype, marks.to_list()) == (pl.Boolean, values)


def test_it_marks_within_lazy_frames_and_from_many_threads():
    calendar = ExchangeSessions("XNYS")
    begin = threading.Barrier(8)

    def ask(year: int) -> int:
        begin.wait(30)
        ts = grid(date(year, 1, 1), date(year + 1, 1, 1), "1d")
        frame = ts.to_frame().lazy()
        return frame.filter(calendar.expected(pl.col("ts"), Timeframe.parse("1d"))).collect().height

    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(ask, range(1998, 2006)))
    library = exchange_calendars.get_calendar("XNYS", start="1998-01-01", end="2005-12-31")
    assert sum(counts) == len(library.sessions)


def test_coverage_counts_only_what_the_exchange_trades():
    calendar = calendar_for("NYSE:IBM", "XNYS")
    ts = [datetime(2024, 7, day, tzinfo=UTC) for day in (1, 2, 3, 5, 9)]
    frame = pl.DataFrame(
        {"symbol": "NYSE:IBM", "timeframe": "1d", "ts": pl.Series(ts, dtype=MICROS)}
    )
    (found,) = coverage(frame, lambda _: calendar)
    assert (found.calendar, found.expected, found.missing) == ("XNYS", 6, 1)
    assert [gap.start.day for gap in found.gaps] == [8]


def test_an_unknown_exchange_is_answered_with_the_nearest():
    with pytest.raises(UnknownName) as caught:
        calendar_for("NYSE:IBM", "XNY")
    assert "XNYS" in caught.value.fix


def test_what_the_library_cannot_make_is_said_when_the_calendar_is_asked_for(monkeypatch):
    def broken(*_, **__):
        raise NotImplementedError("implemented by subclasses")

    monkeypatch.setattr(exchange_calendars, "get_calendar", broken)
    with pytest.raises(PrerequisitesNotMet, match="cannot make XNYS"):
        calendar_for("NYSE:IBM", "XNYS")


def test_an_error_of_our_own_is_not_blamed_on_the_library(monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("our own")

    monkeypatch.setattr(sessions, "_known", broken)
    with pytest.raises(ZeroDivisionError):
        ExchangeSessions("XNYS")


def test_a_missing_extra_answers_with_the_install_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "exchange_calendars", None)
    with pytest.raises(MissingExtra) as caught:
        calendar_for("NYSE:IBM", "XNYS")
    assert "pip install 'quant-stage-sdk[calendars]'" in caught.value.fix
    assert not is_exchange("XNYS")


@pytest.mark.parametrize(
    ("name", "possible"),
    [("24x7", True), ("24x5", True), ("XNYS", True), ("XNY", False), ("24/7", False), (5, False)],
)
def test_a_manifest_may_name_an_exchanges_calendar(name, possible):
    assert CALENDAR.test(name) is possible
    assert "XNYS" in CALENDAR.fix


def test_our_own_calendars_load_no_library_of_exchanges():
    code = (
        "import sys\n"
        "from quant_sdk.lakehouse.calendars import calendar_for\n"
        "calendar_for('BINANCE:ADABTC')\n"
        "sys.exit(bool({'pandas', 'exchange_calendars'} & set(sys.modules)))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
