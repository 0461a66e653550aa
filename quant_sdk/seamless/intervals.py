"""Which bars of which series are missing, as half-open intervals, for all series at once.

Every function takes and gives frames of `WINDOWS`: ``symbol``, ``start``, ``end`` (Int64,
microseconds since the epoch, UTC, ``[start, end)``), of one timeframe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from quant_sdk.lakehouse.coverage import expected_only, opens_of, slots_of
from quant_sdk.lakehouse.specs import UTC_MICROS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from quant_sdk.lakehouse.calendars import Calendar
    from quant_sdk.lakehouse.timeframe import Timeframe

WINDOWS: Final = {"symbol": pl.String, "start": pl.Int64, "end": pl.Int64}

_Spans = list[tuple[int, int]]


def missing(
    present: pl.LazyFrame,
    windows: pl.DataFrame,
    timeframe: Timeframe,
    calendar_of: Callable[[str], Calendar],
) -> pl.DataFrame:
    """Return the runs of expected bars within `windows` that are not there, sorted.

    Args:
        present: ``symbol``, ``ts`` (Datetime us UTC) of the bars of `timeframe`, in any order.
        windows: what to look at; those of one symbol do not overlap.
        timeframe: the grid.
        calendar_of: the calendar of a symbol.
    """
    if not windows.height:
        return pl.DataFrame(schema=WINDOWS)
    asked = _on_grid(windows, timeframe)
    gaps = _gaps(_slots_in(present, asked, timeframe), asked)
    gaps = _expected(gaps, timeframe, calendar_of)
    return gaps.select(
        "symbol",
        start=opens_of(gaps["start"], timeframe),
        end=opens_of(gaps["end"], timeframe),
    ).sort("symbol", "start")


def outside(windows: pl.DataFrame, held: pl.DataFrame) -> pl.DataFrame:
    """Return the parts of `windows` before and after what a series holds; all of it where nothing.

    Args:
        windows: one a symbol.
        held: ``symbol``, ``first`` and ``until`` (Int64 us): the span of its bars, ``until``
            exclusive.
    """
    both = windows.join(held, on="symbol", how="left")
    first, until = pl.col("first"), pl.col("until")
    before = both.with_columns(end=pl.min_horizontal("end", pl.coalesce(first, "end")))
    after = both.filter(until.is_not_null()).with_columns(start=pl.max_horizontal("start", until))
    return (
        pl.concat([before, after])
        .filter(pl.col("start") < pl.col("end"))
        .select(list(WINDOWS))
        .sort("symbol", "start")
    )


def expected_spans(
    start: int, end: int, timeframe: Timeframe, calendar: Calendar
) -> list[tuple[int, int]]:
    """Return the runs of expected bars within ``[start, end)``, microseconds on the grid."""
    if start >= end:
        return []
    if calendar.always_open:
        return [(start, end)]
    slots = {"start": [timeframe.slot_of(start)], "end": [timeframe.slot_of(end)]}
    runs = expected_only(pl.DataFrame(slots), timeframe, calendar)
    return [(timeframe.open_of(first), timeframe.open_of(last)) for first, last in runs.iter_rows()]


def without(windows: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """Return `windows` less what `known` covers.

    Args:
        windows: those of one symbol do not overlap.
        known: intervals, in any order, which may overlap.
    """
    touched = pl.col("symbol").is_in(known["symbol"].unique().implode())
    cut = {symbol: sorted(spans) for symbol, spans in _spans(known)}
    rest = [
        (symbol, start, end)
        for symbol, spans in _spans(windows.filter(touched))
        for start, end in difference(sorted(spans), cut[symbol])
    ]
    parts = [windows.filter(~touched).select(list(WINDOWS))]
    parts.append(pl.DataFrame(rest, schema=WINDOWS, orient="row"))
    return pl.concat(parts).sort("symbol", "start")


def _spans(intervals: pl.DataFrame) -> Iterator[tuple[str, _Spans]]:
    grouped = intervals.group_by("symbol").agg("start", "end")
    for symbol, starts, ends in grouped.iter_rows():
        yield symbol, list(zip(starts, ends, strict=True))


def difference(spans: _Spans, cut: _Spans) -> Iterator[tuple[int, int]]:
    """Yield what is left of sorted, disjoint `spans` without sorted `cut`, which may overlap.

    It takes one pass over both.
    """
    joined = _joined(cut)
    place = 0
    for start, end in spans:
        while place < len(joined) and joined[place][1] <= start:
            place += 1
        at, here = start, place
        while here < len(joined) and joined[here][0] < end:
            first, last = joined[here]
            if first > at:
                yield at, first
            at = last
            here += 1
        if at < end:
            yield at, end


def _joined(spans: _Spans) -> _Spans:
    """Return sorted spans that do not touch; empty ones are left out."""
    found: _Spans = []
    for start, end in spans:
        if found and start <= found[-1][1]:
            if end > found[-1][1]:
                found[-1] = (found[-1][0], end)
        elif end > start:
            found.append((start, end))
    return found


def _on_grid(windows: pl.DataFrame, timeframe: Timeframe) -> pl.DataFrame:
    """Return the windows in slots: the bars that open within them."""
    return windows.select(
        "symbol",
        start=slots_of(windows["start"] - 1, timeframe) + 1,
        end=slots_of(windows["end"] - 1, timeframe) + 1,
    ).with_row_index("window")


def _slots_in(present: pl.LazyFrame, asked: pl.DataFrame, timeframe: Timeframe) -> pl.DataFrame:
    """Return ``window`` and ``slot`` of every bar that lies in a window."""
    ends = opens_of(pl.Series([asked["start"].min(), asked["end"].max()]), timeframe)
    first, last = (pl.lit(end).cast(UTC_MICROS) for end in ends)
    bars = (
        present.filter(
            pl.col("symbol").is_in(asked["symbol"].unique().to_list()),
            pl.col("ts") >= first,
            pl.col("ts") < last,
        )
        .select("symbol", "ts")
        .collect()
    )
    slots = slots_of(bars["ts"].to_physical(), timeframe)
    return (
        bars.select("symbol", slot=slots)
        .join(asked, on="symbol")
        .filter(pl.col("slot") >= pl.col("start"), pl.col("slot") < pl.col("end"))
        .select("window", "slot")
    )


def _gaps(slots: pl.DataFrame, asked: pl.DataFrame) -> pl.DataFrame:
    """Return ``symbol``, ``start``, ``end`` of the slots between neighbours, the edges included."""
    edges = [
        asked.select("window", slot=pl.col("start") - 1),
        asked.select("window", slot=pl.col("end")),
    ]
    every = pl.concat([slots, *edges]).sort("window", "slot")
    return (
        every.with_columns(
            end=pl.when(pl.col("window") == pl.col("window").shift(-1)).then(
                pl.col("slot").shift(-1)
            )
        )
        .filter(pl.col("end") > pl.col("slot") + 1)
        .join(asked.select("window", "symbol"), on="window")
        .select("symbol", start=pl.col("slot") + 1, end="end")
    )


def _expected(
    gaps: pl.DataFrame, timeframe: Timeframe, calendar_of: Callable[[str], Calendar]
) -> pl.DataFrame:
    """Cut the gaps of markets that close down to the bars their calendar expects."""
    calendars = {symbol: calendar_of(symbol) for symbol in gaps["symbol"].unique().to_list()}
    closing = [symbol for symbol, calendar in calendars.items() if not calendar.always_open]
    if not closing:
        return gaps
    parts = [gaps.filter(~pl.col("symbol").is_in(closing))]
    for symbol in closing:
        own = gaps.filter(pl.col("symbol") == symbol).sort("start").select("start", "end")
        wanted = expected_only(own, timeframe, calendars[symbol])
        parts.append(wanted.select(pl.lit(symbol).alias("symbol"), "start", "end"))
    return pl.concat(parts)
