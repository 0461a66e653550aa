"""Completeness and flags by series and day, for a picture; days are joined where there are many.

An entry covers ``days`` days from ``day`` on, in UTC: 1, 7, 28, 364 or 3640, weeks beginning on
Monday. So many are joined that no more than `MOST` entries come of it. What is left over even then
is cut: the entries that miss most are kept.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from quant_sdk.lakehouse.coverage import opens_of, slots_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from quant_sdk.conformance.completeness import Completeness
    from quant_sdk.lakehouse.timeframe import Timeframe

MOST: Final = 10_000
LADDER: Final = (1, 7, 28, 364, 3640)
"""Each divides the next, so that entries of shorter spans can be joined."""

_DAY: Final = 86_400_000_000
_MONDAY: Final = 3
"""Days from Monday, 1969-12-29, to the epoch."""
_EPOCH: Final = date(1970, 1, 1)
_KEY: Final = ("symbol", "timeframe", "bucket")
_ENTRY: Final = pl.Schema(
    {
        "symbol": pl.String,
        "timeframe": pl.String,
        "bucket": pl.Int64,
        "expected": pl.Int64,
        "present": pl.Int64,
        "flags": pl.Int64,
    }
)


def span_of(parts: Iterable[tuple[Timeframe, Completeness]]) -> int:
    """Return how many days must be joined for all series to have `MOST` entries at most."""
    ends = []
    for timeframe, found in parts:
        looked = found.series.filter(pl.col("high") > pl.col("low"))
        ends.append(
            pl.DataFrame(
                {
                    "low": opens_of(looked["low"], timeframe) // _DAY,
                    "high": opens_of(looked["high"] - 1, timeframe) // _DAY,
                }
            )
        )
    if not ends:
        return LADDER[0]
    days = pl.concat(ends)
    for span in LADDER:
        buckets = (pl.col("high") + _MONDAY) // span - (pl.col("low") + _MONDAY) // span + 1
        if int(days.select(buckets.sum()).item()) <= MOST:
            return span
    return LADDER[-1]


def by_day(found: Completeness, timeframe: Timeframe, span: int) -> pl.DataFrame:
    """Return what is expected and present of each series by bucket of `span` days.

    Args:
        found: of the series.
        timeframe: the grid.
        span: of `LADDER`.
    """
    cells = _cells(found.series, timeframe, span)
    for name, gaps in (("lost", found.gaps), ("void", found.empty)):
        cells = _with_slots(cells, gaps, timeframe, span, name)
    parts = [cells.head(0).with_columns(wanted=pl.lit(0, dtype=pl.Int64))]
    for market, symbols in found.markets:
        own = cells.filter(pl.col("symbol").is_in(symbols))
        parts.append(own.with_columns(wanted=market.count(own["from"], own["to"])))
    every = pl.concat(parts).with_columns(
        present=pl.col("wanted") - pl.col("lost") - pl.col("void")
    )
    return every.select(
        "symbol",
        pl.lit(timeframe.text).alias("timeframe"),
        "bucket",
        expected=pl.col("present") + pl.col("lost"),
        present="present",
        flags=pl.lit(0, dtype=pl.Int64),
    ).cast(_ENTRY)


def flags_by_day(rows: pl.DataFrame, span: int) -> pl.DataFrame:
    """Return flags of rows (``symbol``, ``timeframe``, ``ts``) in the form of `by_day`."""
    day = pl.col("ts").dt.timestamp("us") // _DAY
    counted = rows.drop_nulls("ts").group_by("symbol", "timeframe", bucket=(day + _MONDAY) // span)
    return (
        counted.agg(flags=pl.len())
        .select(*_KEY, expected=pl.lit(0), present=pl.lit(0), flags="flags")
        .cast(_ENTRY)
    )


def entries(parts: Sequence[pl.DataFrame], span: int) -> tuple[dict[str, Any], ...]:
    """Return what `by_day` and `flags_by_day` gave as JSON, bounded and sorted."""
    every = pl.concat([pl.DataFrame(schema=_ENTRY), *parts])
    summed = every.group_by(_KEY).agg(pl.col("expected", "present", "flags").sum())
    told = summed.filter(pl.sum_horizontal("expected", "present", "flags") > 0)
    if told.height > MOST:
        lost = (pl.col("present") - pl.col("expected")).alias("_lost")
        told = told.sort(lost, *_KEY).head(MOST)
    day = (pl.col("bucket") * span - _MONDAY).cast(pl.Int32).cast(pl.Date).dt.to_string("iso")
    found = told.sort(_KEY).select(
        "symbol",
        "timeframe",
        day.alias("day"),
        pl.lit(span).alias("days"),
        "expected",
        "present",
        "flags",
    )
    return tuple(found.to_dicts())


def joined(parts: Iterable[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Return the entries of several reports as those of one; their series are different ones."""
    every = list(parts)
    if not every:
        return ()
    least = max(entry["days"] for entry in every)
    for span in (span for span in LADDER if span >= least):
        frame = pl.DataFrame(
            [
                (
                    entry["symbol"],
                    entry["timeframe"],
                    ((date.fromisoformat(entry["day"]) - _EPOCH).days + _MONDAY) // span,
                    entry["expected"],
                    entry["present"],
                    entry["flags"],
                )
                for entry in every
            ],
            schema=_ENTRY,
            orient="row",
        )
        if frame.select(pl.struct(_KEY).n_unique()).item() <= MOST or span == LADDER[-1]:
            return entries([frame], span)
    raise AssertionError(least)


def _cells(series: pl.DataFrame, timeframe: Timeframe, span: int) -> pl.DataFrame:
    """Return ``symbol``, ``bucket`` and its slots ``[from, to)`` within what was looked at."""
    looked = series.filter(pl.col("high") > pl.col("low"))
    first = (opens_of(looked["low"], timeframe) // _DAY + _MONDAY) // span
    last = (opens_of(looked["high"] - 1, timeframe) // _DAY + _MONDAY) // span
    cells = (
        looked.select("symbol", "low", "high")
        .with_columns(first=first, last=last)
        .with_columns(bucket=pl.int_ranges("first", pl.col("last") + 1))
        .explode("bucket")
    )
    return cells.with_columns(
        pl.max_horizontal("low", _slot_at(cells["bucket"], timeframe, span)).alias("from"),
        pl.min_horizontal("high", _slot_at(cells["bucket"] + 1, timeframe, span)).alias("to"),
    ).drop("low", "high", "first", "last")


def _slot_at(buckets: pl.Series, timeframe: Timeframe, span: int) -> pl.Series:
    """Return the first slot that opens in each bucket."""
    starts = (buckets * span - _MONDAY) * _DAY
    return slots_of(starts - 1, timeframe) + 1


def _with_slots(
    cells: pl.DataFrame, gaps: pl.DataFrame, timeframe: Timeframe, span: int, name: str
) -> pl.DataFrame:
    """Add to each cell, as `name`, how many slots of the gaps lie there."""
    if gaps.is_empty():
        return cells.with_columns(pl.lit(0, dtype=pl.Int64).alias(name))
    first = (opens_of(gaps["start"], timeframe) // _DAY + _MONDAY) // span
    last = (opens_of(gaps["end"] - 1, timeframe) // _DAY + _MONDAY) // span
    key = ("symbol", "bucket")
    pieces = (
        gaps.with_columns(first=first, last=last)
        .with_columns(bucket=pl.int_ranges("first", pl.col("last") + 1))
        .explode("bucket")
        .join(cells.select(*key, "from", "to"), on=key)
    )
    slots = pl.min_horizontal("end", "to") - pl.max_horizontal("start", "from")
    told = pieces.group_by(key).agg(slots.sum().alias(name))
    return cells.join(told, on=key, how="left").with_columns(pl.col(name).fill_null(0))
