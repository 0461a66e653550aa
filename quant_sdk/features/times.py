"""What of a row depends on its timeframe: its close, how many bars a year has."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import polars as pl

from quant_registry.errors import InvalidInput
from quant_sdk.lakehouse.specs import UTC_MICROS
from quant_sdk.lakehouse.timeframe import Timeframe, to_micros

if TYPE_CHECKING:
    from collections.abc import Callable

    from quant_sdk.lakehouse.calendars import Calendar

_YEAR: Final = (datetime(2023, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC))
"""The year in which a calendar's bars are counted, of 365 days."""
_MONTHS: Final = 12


def per_timeframe(frame: pl.DataFrame, make: Callable[[Timeframe], pl.Expr]) -> pl.Expr:
    """Return the expression that `make` gives for the timeframe of each row of `frame`.

    Raises:
        InvalidInput: a timeframe is malformed.
    """
    made = pl.lit(None)
    for text in frame["timeframe"].unique().to_list():
        mine = pl.col("timeframe") == text
        made = pl.when(mine).then(make(Timeframe.parse(text))).otherwise(made)
    return made


def close_of(timeframe: Timeframe) -> pl.Expr:
    """Return when the bar that opens at ``ts`` closes: the opening of the next on the grid."""
    if timeframe.micros is None:
        return pl.col("ts").dt.offset_by(f"{timeframe.count}mo")
    return pl.col("ts") + pl.duration(microseconds=timeframe.micros)


def bars_per_year(timeframe: Timeframe, calendar: Calendar) -> float:
    """Return how many bars `calendar` expects in a year of 365 days."""
    if timeframe.micros is None:
        return _MONTHS / timeframe.count
    bars = (_YEAR[1] - _YEAR[0]) / timedelta(microseconds=timeframe.micros)
    if calendar.always_open:
        return bars
    minute = Timeframe.parse("1m")
    # Bars of seconds would be millions; the share of minutes is theirs.
    return bars * _open_share(minute if timeframe.unit == "s" else timeframe, calendar)


def _open_share(timeframe: Timeframe, calendar: Calendar) -> float:
    start, end = map(micros_of, _YEAR)
    slots = pl.int_range(
        timeframe.slot_of(start), timeframe.slot_of(end - 1) + 1, eager=True, dtype=pl.Int64
    )
    openings = slots * (timeframe.micros or 0) + timeframe.origin
    frame = pl.DataFrame({"ts": openings.cast(UTC_MICROS)})
    return float(frame.select(calendar.expected(pl.col("ts"), timeframe).mean()).item())


def micros_of(at: datetime) -> int:
    """Return an aware datetime as microseconds since the epoch.

    Raises:
        InvalidInput: it is naive.
    """
    if at.tzinfo is None:
        raise InvalidInput(
            f"{at} is naive", fix="give it a zone: datetime(..., tzinfo=timezone.utc)"
        )
    return to_micros(at)
