"""Exchanges' own calendars, by the extra ``calendars``: sessions, half days, holidays, breaks.

A bar shorter than a day is expected when any part of its half-open ``[ts, ts + timeframe)`` lies in
a session and outside its break: a bar that opens at the close is not. A bar of a day or longer is
expected when it holds the date of a session, taken as UTC midnight: Monday's daily bar of Sydney is
Monday's, though its session may open on Sunday in UTC.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from quant_registry.errors import MissingExtra, PrerequisitesNotMet, UnknownName

if TYPE_CHECKING:
    from quant_sdk.lakehouse.timeframe import Timeframe

# A session may open on the UTC day before its date, and a bar may end days after it opens.
_MARGIN: Final = timedelta(days=10)
# No exchange's rules reach further back, and pandas counts no further than 2262.
_FIRST, _LAST = date(1800, 2, 1), date(2200, 11, 30)
_BY_DATE: Final = frozenset({"d", "w", "M"})
_DAY: Final = 86_400_000_000
_EPOCH: Final = date(1970, 1, 1).toordinal()
_FRIDAY: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """Sessions, in microseconds since the epoch; each column is sorted (Int64).

    Attributes:
        dates: midnights of the sessions' dates.
        opens: beginnings of the times of trade; a break parts a session in two.
        closes: their ends, exclusive.
        first: the first day that is known.
        last: the last day that is known.
        asked: the first and the last day that were asked for; the library may know less.
    """

    dates: pl.Series
    opens: pl.Series
    closes: pl.Series
    first: date
    last: date
    asked: tuple[date, date]


class ExchangeSessions:
    """The calendar that ``exchange-calendars`` keeps under `name`, such as ``XNYS``.

    Outside the years that the library knows every weekday is taken for open, so that a hole there
    is told and not hidden.

    Raises:
        MissingExtra: the extra is not installed.
        UnknownName: the library has no such calendar.
        PrerequisitesNotMet: the library cannot make it with the packages installed here.
    """

    always_open = False

    def __init__(self, name: str) -> None:
        _check_name(name)
        self.name = name
        self._lock = threading.Lock()
        self._known = _make(name)

    def __repr__(self) -> str:
        return f"ExchangeSessions({self.name!r})"

    def expected(self, ts: pl.Expr, timeframe: Timeframe) -> pl.Expr:
        """Mark the bars opening at ``ts`` (Datetime us UTC) that are expected (Boolean)."""
        marks = partial(self._marks, timeframe=timeframe)
        return ts.map_batches(marks, return_dtype=pl.Boolean, is_elementwise=True)

    def _marks(self, ts: pl.Series, *, timeframe: Timeframe) -> pl.Series:
        if ts.null_count() == len(ts):
            return ts.is_null().replace_strict({True: None}, return_dtype=pl.Boolean)
        begins, ends = _micros(ts), _micros(_ends(ts, timeframe))
        known = self._cover(_day(begins.min()), _day(begins.max()))
        if timeframe.unit in _BY_DATE:
            marks = _below(known.dates, ends) > _below(known.dates, begins)
        else:
            marks = _below(known.opens, ends) > known.closes.search_sorted(begins, side="right")
        weekday = (ts.dt.weekday() <= _FRIDAY) | (ends - begins > 2 * _DAY)
        days = ts.dt.date()
        inside = (days >= known.first) & (days <= known.last)
        wanted = pl.when(inside).then(marks).otherwise(weekday)
        return pl.select(pl.when(ts.is_not_null()).then(wanted).alias(ts.name)).to_series()

    def _cover(self, first: date, last: date) -> _Known:
        """Return sessions that reach from `first` to `last`, as far as the library knows them."""
        with self._lock:
            low, high = self._known.asked
            if first - _MARGIN < low or last + _MARGIN > high:
                low = min((first - _MARGIN).replace(month=1, day=1), low)
                high = max((last + _MARGIN).replace(month=12, day=31), high)
                self._known = _make(self.name, low, high)
            return self._known


def is_exchange(name: str) -> bool:
    """Tell whether the library has a calendar called `name`; False where it is not installed."""
    try:
        _check_name(name)
    except (MissingExtra, UnknownName):
        return False
    return True


def _check_name(name: str) -> None:
    # "24/7" and the like are ours, under other names.
    known = _library().get_calendar_names() if name.isidentifier() else []
    if name not in known:
        near = UnknownName(name, known).near
        others = ", ".join(near or ("XNYS", "XLON"))
        raise UnknownName(
            name,
            known,
            fix=f"the calendars are 24x7, 24x5 and those of exchange-calendars, such as {others}",
        )


def _library() -> Any:
    try:
        import exchange_calendars  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtra(
            f"exchanges' calendars need the package exchange-calendars: {error}",
            fix="run: pip install 'quant-stage-sdk[calendars]'",
        ) from error
    return exchange_calendars


def _make(name: str, first: date | None = None, last: date | None = None) -> _Known:
    """Return the sessions of ``[first, last]``, cut to the years that the library knows."""
    schedule, start, end = _schedule(name, first, last)
    return _known(schedule, start, end, (first or start, last or end))


def _schedule(name: str, first: date | None, last: date | None) -> tuple[Any, date, date]:
    """Return the library's schedule (pandas), and the first and the last day of it."""
    library = _library()
    try:
        made = library.get_calendar(name)
        if first is None or last is None:
            return made.schedule, made.first_session.date(), made.last_session.date()
        low, high = made.bound_min(), made.bound_max()
        start = first if low is None else max(first, low.date())
        end = last if high is None else min(last, high.date())
        made = library.get_calendar(name, start=start.isoformat(), end=end.isoformat())
        schedule = made.schedule
    except Exception as error:
        raise PrerequisitesNotMet(
            f"exchange-calendars cannot make {name}: {type(error).__name__}: {error}",
            fix="update exchange-calendars and pandas, or name another calendar",
        ) from error
    return schedule, start, end


def _known(schedule: Any, first: date, last: date, asked: tuple[date, date]) -> _Known:
    """Return a schedule of the library's (pandas, a row a session) in our form."""
    times = {name: _of_pandas(schedule[name].dt.tz_convert(None)) for name in schedule.columns}
    return _Known(
        dates=_of_pandas(schedule.index),
        opens=pl.concat([times["open"], times["break_end"]]).drop_nulls().sort(),
        closes=pl.concat([times["close"], times["break_start"]]).drop_nulls().sort(),
        first=first,
        last=last,
        asked=asked,
    )


def _of_pandas(times: Any) -> pl.Series:
    return _micros(pl.Series(times.to_numpy("datetime64[us]")))


def _micros(ts: pl.Series) -> pl.Series:
    return ts.cast(pl.Datetime("us")).to_physical()


def _ends(ts: pl.Series, timeframe: Timeframe) -> pl.Series:
    if timeframe.micros is not None:
        return ts + timedelta(microseconds=timeframe.micros)
    return ts.dt.offset_by(f"{timeframe.count}mo")


def _below(sorted_times: pl.Series, bounds: pl.Series) -> pl.Series:
    """Count the times before each bound."""
    return sorted_times.search_sorted(bounds, side="left")


def _day(micros: Any) -> date:
    """Return the UTC date of an instant, moved into the years that exchanges have traded in."""
    days = max(_FIRST.toordinal(), min(micros // _DAY + _EPOCH, _LAST.toordinal()))
    return date.fromordinal(days)
