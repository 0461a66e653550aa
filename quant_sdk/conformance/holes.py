"""Whether a bar that should be there never came between two neighbouring bars."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import polars as pl

from quant_sdk.lakehouse.coverage import expected_only, slots_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from quant_sdk.lakehouse.calendars import Calendar
    from quant_sdk.lakehouse.timeframe import Timeframe


def never_came(
    pairs: pl.DataFrame,
    came: pl.DataFrame,
    *,
    timeframe: Timeframe,
    calendar_of: Callable[[str], Calendar],
) -> pl.Series:
    """Tell of each pair of bars whether an expected bar between them never came (Boolean).

    Args:
        pairs: ``symbol``, ``before``, ``after`` (Datetime us UTC).
        came: ``symbol``, ``ts`` of rows that came, and were refused.
        timeframe: the grid.
        calendar_of: the calendar of a symbol.
    """
    starts = slots_of(pairs["before"].to_physical(), timeframe) + 1
    ends = slots_of(pairs["after"].to_physical(), timeframe)
    apart = (ends > starts).to_list()
    found = [False] * pairs.height
    refused = _slots(came, timeframe) if any(apart) else {}
    for place, (symbol, start, end) in enumerate(zip(pairs["symbol"], starts, ends, strict=True)):
        if apart[place]:
            held = {slot for slot in refused.get(symbol, ()) if start <= slot < end}
            found[place] = _lacks(start, end, held, timeframe, calendar_of(symbol))
    return pl.Series(found, dtype=pl.Boolean)


def _slots(came: pl.DataFrame, timeframe: Timeframe) -> dict[str, set[int]]:
    known = came.drop_nulls("ts")
    slots = slots_of(known["ts"].to_physical(), timeframe)
    found: dict[str, set[int]] = defaultdict(set)
    for symbol, slot in zip(known["symbol"], slots, strict=True):
        found[symbol].add(slot)
    return found


def _lacks(start: int, end: int, held: set[int], timeframe: Timeframe, calendar: Calendar) -> bool:
    """Tell whether one of the slots ``[start, end)`` is expected and not held."""
    if calendar.always_open:
        return end - start > len(held)
    ends = {"start": pl.Series([start], dtype=pl.Int64), "end": pl.Series([end], dtype=pl.Int64)}
    wanted = expected_only(pl.DataFrame(ends), timeframe, calendar)
    for first, last in wanted.iter_rows():
        if last - first > sum(first <= slot < last for slot in held):
            return True
    return False
