"""Why bars are missing: what sources said of the gaps, and which rows were refused there."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace
from itertools import groupby, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Final

import polars as pl

from quant_sdk.lakehouse.coverage import Gap, SeriesCoverage
from quant_sdk.lakehouse.specs import UTC_MICROS
from quant_sdk.lakehouse.timeframe import Timeframe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import datetime

    from quant_sdk.lakehouse.calendars import Calendar
    from quant_sdk.lakehouse.table import Table

NOTED: Final = ("verified_empty", "unfilled", "quarantine")
"""The tables that tell of causes; where they overlap, the earlier one is believed."""

EMPTY: Final = frozenset({"verified_empty", "not_listed_yet"})
"""Causes by which a source vouches that there is no bar."""
_UNPLACED: Final = ("timestamp_missing", "off_grid", "overlap_conflict", "withdrawn")
"""Rules whose rows explain no hole; a bar that was taken back may be asked for again."""
_Series = tuple[str, str]
_Note = tuple["datetime", "datetime", str]
_Told = tuple[_Series, "datetime", "datetime", str]


def known_causes(
    tables: Iterable[Table],
    symbol: str | None = None,
    timeframe: str | None = None,
    *,
    now: datetime | None = None,
) -> dict[_Series, list[_Note]]:
    """Return per series the intervals of which something is known, sorted and disjoint.

    Args:
        tables: those named in `NOTED`, in that order.
        symbol: only this one.
        timeframe: only this one.
        now: what is vouched empty counts until it expires; None: whatever was said last.
    """
    wanted = [
        pl.col(name) == value
        for name, value in (("symbol", symbol), ("timeframe", timeframe))
        if value is not None
    ]
    found: dict[_Series, list[_Note]] = {}
    for table in tables:
        for series, notes in groupby(_told(table, wanted, now), key=itemgetter(0)):
            known = found.get(series, [])
            found[series] = sorted([*known, *_beside(_runs(map(_note, notes)), known)])
    return found


def explained(
    series: Iterable[SeriesCoverage],
    notes: Mapping[_Series, list[_Note]],
    calendar_of: Callable[[str], Calendar],
) -> list[SeriesCoverage]:
    """Return `series` with a cause beside each gap, and the gaps that only `notes` know of."""
    told = {(item.symbol, item.timeframe): item for item in series}
    for symbol, timeframe in notes.keys() - told.keys():
        told[symbol, timeframe] = _nothing(symbol, timeframe, calendar_of(symbol).name)
    return [
        _with_causes(item, notes[key]) if key in notes else item
        for key, item in sorted(told.items())
    ]


def _with_causes(item: SeriesCoverage, notes: list[_Note]) -> SeriesCoverage:
    step = Timeframe.parse(item.timeframe)
    gaps = [piece for gap in item.gaps for piece in with_causes(gap, notes, step)]
    beyond = [_gap(*note, step) for note in _beyond(item, notes, step)]
    gaps = sorted([*gaps, *beyond])
    more = sum(gap.missing for gap in beyond)
    return replace(
        item,
        gaps=tuple(gaps),
        expected=item.expected + more,
        missing=item.missing + more,
        verified_empty=sum(gap.missing for gap in gaps if gap.cause in EMPTY),
    )


def with_causes(gap: Gap, notes: list[_Note], step: Timeframe) -> Iterator[Gap]:
    """Cut a gap where the cause changes."""
    at = gap.start
    for start, end, cause in islice(notes, bisect_right(notes, at, key=itemgetter(1)), None):
        if start >= gap.end:
            break
        if start > at:
            yield _gap(at, start, "", step)
        first, at = max(at, start), min(end, gap.end)
        yield _gap(first, at, cause, step)
    if at < gap.end:
        yield gap if at == gap.start else _gap(at, gap.end, "", step)


def _beyond(item: SeriesCoverage, notes: list[_Note], step: Timeframe) -> Iterator[_Note]:
    """Yield the parts of the notes before the first bar and after the last one."""
    if item.first is None or item.last is None:
        yield from notes
        return
    until = step.end_of(item.last)
    for start, end, cause in notes:
        if start < item.first:
            yield start, min(end, item.first), cause
        if end > until:
            yield max(start, until), end, cause


def _gap(start: datetime, end: datetime, cause: str, step: Timeframe) -> Gap:
    return Gap(start, end, step.bars_between(start, end), cause)


def _runs(notes: Iterable[_Note]) -> Iterator[_Note]:
    """Join sorted notes of one cause that touch; of two that overlap the earlier one is kept."""
    last: _Note | None = None
    for start, end, cause in notes:
        if last is None:
            last = (start, end, cause)
        elif start <= last[1] and cause == last[2]:
            last = (last[0], max(last[1], end), cause)
        elif end > last[1]:
            yield last
            last = (max(start, last[1]), end, cause)
    if last is not None:
        yield last


def _beside(notes: Iterable[_Note], known: list[_Note]) -> Iterator[_Note]:
    """Yield the parts of sorted, disjoint `notes` that no interval of `known`, the same, covers."""
    begin = 0
    for start, end, cause in notes:
        at = start
        while begin < len(known) and known[begin][1] <= start:
            begin += 1
        for first, last, _ in islice(known, begin, None):
            if first >= end:
                break
            if first > at:
                yield at, first, cause
            at = max(at, last)
        if at < end:
            yield at, end, cause


def _told(table: Table, wanted: Iterable[pl.Expr], now: datetime | None) -> list[_Told]:
    """Return what the rows of a table tell, sorted by series and time."""
    if now is not None and table.spec.name == "verified_empty":
        wanted = [*wanted, pl.col("expires_at") > pl.lit(now, dtype=UTC_MICROS)]
    tell = _refused if table.spec.name == "quarantine" else _noted
    return table.read(lambda rows: sorted(tell(rows.filter(*wanted))))


def _note(told: _Told) -> _Note:
    return told[1:]


def _noted(rows: pl.LazyFrame) -> Iterator[_Told]:
    columns = ("symbol", "timeframe", "start", "end", "cause")
    for symbol, timeframe, start, end, cause in rows.select(columns).collect().iter_rows():
        yield (symbol, timeframe), start, end, cause


def _refused(rows: pl.LazyFrame) -> Iterator[_Told]:
    """Yield the bars of which a row was refused."""
    places = (
        rows.filter(
            ~pl.col("rule").is_in(_UNPLACED),
            pl.col("ts").is_not_null(),
            pl.col("replayed_by").is_null(),
        )
        .select("symbol", "timeframe", "ts")
        .unique()
        .collect()
    )
    steps = {text: Timeframe.parse(text) for text in places["timeframe"].unique()}
    for symbol, timeframe, ts in places.iter_rows():
        yield (symbol, timeframe), ts, steps[timeframe].end_of(ts), "quarantined"


def _nothing(symbol: str, timeframe: str, calendar: str) -> SeriesCoverage:
    return SeriesCoverage(
        symbol=symbol,
        timeframe=timeframe,
        calendar=calendar,
        first=None,
        last=None,
        expected=0,
        present=0,
        missing=0,
        outside=0,
        gaps=(),
    )
