"""The matrix of returns, from bars and the calendars that say which bars are neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from quant_sdk.lakehouse.specs import UTC_MICROS
from quant_sdk.lakehouse.timeframe import from_micros
from quant_stages.flows.production.freshness import by_calendar, grid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from quant_sdk.lakehouse.calendars import Calendar
    from quant_sdk.lakehouse.timeframe import Timeframe

# Before the first row its predecessor is looked for; no market rests for longer.
REST_MICROS = 31 * 86_400 * 1_000_000


def first_needed(timeframe: Timeframe, start: int) -> int:
    """Return the earliest opening that a return of a bar at `start` may rest on.

    Both are microseconds since the epoch, UTC.
    """
    return timeframe.open_of(timeframe.slot_of(start - REST_MICROS) - 1)


def returns_matrix(  # noqa: PLR0913 - bars, and what they are to be read by
    bars: pl.DataFrame,
    symbols: Sequence[str],
    timeframe: Timeframe,
    calendar_of: Callable[[str], Calendar],
    *,
    start: int,
    end: int,
) -> pl.DataFrame:
    """Return simple close-to-close returns: ``close(t) / close(the expected bar before t) - 1``.

    A return is null where either bar is missing, where its market was not expected to trade at t,
    and where it is no finite number: it is never zero for want of data, and nothing is filled in.

    Args:
        bars: ``symbol``, ``ts`` (Datetime us UTC), ``close`` (Float64), each bar once, from
            `first_needed` on.
        symbols: the columns that may be.
        timeframe: of the bars.
        calendar_of: gives the calendar of a symbol; it names the expected bars.
        start: the first opening that may be a row, in microseconds since the epoch, UTC.
        end: exclusive.

    Returns:
        ``ts`` (Datetime us UTC): every opening in ``[start, end)`` that any of the calendars
        expects, sorted; and a column (Float64) for each symbol that has a return, sorted by name.
    """
    rows, cells = [], []
    for calendar, group in by_calendar(symbols, calendar_of):
        expected = grid(timeframe, first_needed(timeframe, start), end, calendar)
        rows.append(expected)
        cells.append(_returns(bars.filter(pl.col("symbol").is_in(group)), expected))
    within = pl.col("ts") >= pl.lit(from_micros(start), UTC_MICROS)
    every = pl.concat(rows).filter(within).unique().sort("ts")
    known = pl.concat(cells).filter(within & pl.col("return").is_finite())
    if known.is_empty():
        return every
    wide = known.pivot(on="symbol", index="ts", values="return")
    names = sorted(name for name in wide.columns if name != "ts")
    return every.join(wide, on="ts", how="left", maintain_order="left").select("ts", *names)


def _returns(bars: pl.DataFrame, expected: pl.DataFrame) -> pl.DataFrame:
    """Return ``symbol``, ``ts`` and ``return`` of bars whose neighbour is there."""
    placed = bars.join(expected.with_row_index("place"), on="ts").sort("symbol", "place")
    follows = (pl.col("place") == pl.col("place").shift(1) + 1) & (
        pl.col("symbol") == pl.col("symbol").shift(1)
    )
    found = placed.with_columns((pl.col("close") / pl.col("close").shift(1) - 1).alias("return"))
    return found.filter(follows).select("symbol", "ts", "return")
