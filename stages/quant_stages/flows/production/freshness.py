"""How far the bars of the candidates are behind what their markets have traded."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import polars as pl

from quant_sdk.lakehouse.buckets import bucket_at
from quant_sdk.lakehouse.causes import EMPTY, known_causes
from quant_sdk.lakehouse.coverage import opens_of
from quant_sdk.lakehouse.specs import UTC_MICROS
from quant_sdk.lakehouse.timeframe import Timeframe, from_micros, to_micros

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from quant_sdk.lakehouse.calendars import Calendar
    from quant_sdk.lakehouse.lakehouse import Lakehouse
    from quant_stages.flows.production.params import FlowProductionParams
    from quant_stages.flows.production.subject import Subject

# How far back bars are counted; what is older is behind by at least as many.
_SPAN: Final = timedelta(days=60)
_BARS: Final = 200
# Two bars may be on their way: the newest one, and one that the last cycle just missed.
_ON_THEIR_WAY: Final = 2
_MICROSECOND: Final = timedelta(microseconds=1)
_NAMED: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Age:
    """Where a candidate's series ends.

    Attributes:
        symbol: the candidate.
        last: the opening of its newest closed bar; None where it has none.
        behind: bars that its calendar expects, that have closed since and are missing.
        at_least: the last bar is longer ago than they were counted, so there are more.
        stale: whether that is too old.
    """

    symbol: str
    last: datetime | None
    behind: int
    at_least: bool = False
    stale: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """The ages of all candidates."""

    ages: tuple[Age, ...]

    @property
    def stale(self) -> list[Age]:
        """The stale ones, among them those that have no bar and should."""
        return [age for age in self.ages if age.stale]

    @property
    def share(self) -> float:
        """The share of the candidates that is stale."""
        return len(self.stale) / len(self.ages)

    @property
    def newest(self) -> datetime | None:
        """The newest opening of all."""
        return max((age.last for age in self.ages if age.last is not None), default=None)

    @property
    def held(self) -> list[Age]:
        """Those that have a bar."""
        return [age for age in self.ages if age.last is not None]

    def describe_held(self, timeframe: Timeframe) -> str:
        """Return one sentence on how many there are, and which candidates have none."""
        held = self.held
        without = [age.symbol for age in self.ages if age.last is None]
        told = f"{len(held)} series of {timeframe} are up to date"
        if not without:
            return told
        more = ", …" if len(without) > _NAMED else ""
        return f"{told}; {len(without)} candidates have none: {', '.join(without[:_NAMED])}{more}"

    def describe(self, timeframe: Timeframe) -> str:
        """Return one sentence on the stale ones."""
        named = ", ".join(_told(age) for age in self.stale[:_NAMED])
        more = ", …" if len(self.stale) > _NAMED else ""
        return (
            f"{len(self.stale)} of {len(self.ages)} series of {timeframe} are stale: {named}{more}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What is known of the series.

    Attributes:
        bars: the columns ``symbol``, ``timeframe``, ``bucket``, ``ts`` (Datetime us UTC).
        calendar_of: gives the calendar of a symbol.
        empty: by symbol, disjoint intervals ``[start, end)`` in which a source says that there is
            nothing: bars in there are not missing.
    """

    bars: pl.LazyFrame
    calendar_of: Callable[[str], Calendar]
    empty: Mapping[str, Sequence[tuple[datetime, datetime]]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, lakehouse: Lakehouse, bars: pl.LazyFrame, timeframe: Timeframe, now: datetime
    ) -> Held:
        """Return some bars with what a lakehouse knows of their series."""
        empty = lakehouse.table("verified_empty")
        notes = known_causes([empty], timeframe=timeframe.text, now=now)
        return cls(
            bars=bars,
            calendar_of=lakehouse.calendars(),
            empty={
                symbol: [(start, end) for start, end, cause in told if cause in EMPTY]
                for (symbol, _), told in notes.items()
            },
        )


def examine(held: Held, subject: Subject, params: FlowProductionParams, now: datetime) -> Freshness:
    """Compare the newest bar of each series with the bars that have closed until `now`.

    Args:
        held: the bars, and what is known of them.
        subject: the candidates and their timeframe.
        params: what counts as stale.
        now: aware.
    """
    symbols, timeframe = subject.symbols, subject.timeframe
    today = to_micros(now)
    since = min(today - _SPAN // _MICROSECOND, timeframe.open_of(timeframe.slot_of(today) - _BARS))
    last = newest_bars(held.bars, symbols, timeframe, since=since, until=timeframe.floor(today))
    asking, ages = subject.asking, list[Age]()
    for calendar, group in by_calendar(symbols, held.calendar_of):
        closed = grid(timeframe, since, timeframe.floor(today), calendar)["ts"]
        found = pl.Series([last.get(symbol) for symbol in group], dtype=UTC_MICROS)
        after = closed.search_sorted(found, side="right")
        for symbol, at, count in zip(group, found, after, strict=True):
            late = closed[0 if at is None else count :]
            behind = len(late) - _covered(late, held.empty.get(symbol, ()))
            if at is None:
                stale = symbol in asking
            else:
                stale = _is_stale(at, behind, timeframe, params.max_age, today)
            older = at is not None and to_micros(at) < since
            ages.append(Age(symbol=symbol, last=at, behind=behind, at_least=older, stale=stale))
    return Freshness(ages=tuple(sorted(ages, key=lambda age: age.symbol)))


def newest_bars(
    bars: pl.LazyFrame, symbols: Sequence[str], timeframe: Timeframe, *, since: int, until: int
) -> dict[str, datetime]:
    """Return the newest opening of each series before `until` (microseconds since the epoch).

    Files of buckets before `since` are only opened for series without a bar since then.
    """
    own = bars.filter(
        pl.col("timeframe") == timeframe.text, pl.col("ts") < pl.lit(from_micros(until), UTC_MICROS)
    )
    recent = _newest(
        own.filter(pl.col("bucket") >= bucket_at(from_micros(max(since, 0)), timeframe)), symbols
    )
    missing = [symbol for symbol in symbols if symbol not in recent]
    return recent | (_newest(own, missing) if missing else {})


def _newest(bars: pl.LazyFrame, symbols: Sequence[str]) -> dict[str, datetime]:
    found = bars.filter(pl.col("symbol").is_in(symbols)).group_by("symbol").agg(pl.col("ts").max())
    return dict(found.select("symbol", "ts").collect().iter_rows())


def grid(timeframe: Timeframe, start: int, end: int, calendar: Calendar) -> pl.DataFrame:
    """Return the openings within ``[start, end)`` that a calendar expects.

    Returns:
        ``ts`` (Datetime us UTC), sorted.
    """
    slots = pl.int_range(
        timeframe.slot_of(start - 1) + 1, timeframe.slot_of(end - 1) + 1, eager=True
    )
    bars = opens_of(slots, timeframe).cast(UTC_MICROS).alias("ts").to_frame()
    return bars.filter(calendar.expected(pl.col("ts"), timeframe))


def by_calendar(
    symbols: Iterable[str], calendar_of: Callable[[str], Calendar]
) -> list[tuple[Calendar, list[str]]]:
    """Return every calendar once, with the symbols that trade by it."""
    calendars: dict[str, Calendar] = {}
    groups: dict[str, list[str]] = {}
    for symbol in symbols:
        calendar = calendar_of(symbol)
        calendars.setdefault(calendar.name, calendar)
        groups.setdefault(calendar.name, []).append(symbol)
    return [(calendars[name], groups[name]) for name in calendars]


def _covered(opens: pl.Series, intervals: Iterable[tuple[datetime, datetime]]) -> int:
    ends = pl.Series([end for interval in intervals for end in interval], dtype=UTC_MICROS)
    places = opens.search_sorted(ends, side="left")
    return int((places.gather_every(2, 1) - places.gather_every(2)).sum())


def _is_stale(
    last: datetime, behind: int, timeframe: Timeframe, max_age: str | None, now: int
) -> bool:
    if max_age is None:
        return behind > _ON_THEIR_WAY
    closed = timeframe.open_of(timeframe.slot_of(to_micros(last)) + 1)
    allowed = Timeframe.parse(max_age).micros or 0
    return behind > 0 and now - closed > allowed


def _told(age: Age) -> str:
    if age.last is None:
        return f"{age.symbol} (no bars)"
    behind = f"at least {age.behind}" if age.at_least else f"{age.behind}"
    return f"{age.symbol} (last {age.last:%Y-%m-%dT%H:%MZ}, {behind} bars behind)"
