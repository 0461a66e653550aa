"""Rows as ccxt gives them, as bars."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import polars as pl
from polars.exceptions import PolarsError

from quant_sdk.lakehouse.specs import UTC_MICROS
from quant_sdk.sources._exchange_errors import malformed

if TYPE_CHECKING:
    from collections.abc import Sequence

_VALUES: Final = ("open", "high", "low", "close", "volume")
_FIELDS: Final = 1 + len(_VALUES)
# The last millisecond of the year 9999.
_LATEST: Final = 253_402_300_799_999


def read_rows(rows: Any, venue: str) -> pl.DataFrame:
    """Return rows of ``[ms, open, high, low, close, volume]`` as bars, in their order.

    Args:
        rows: a list; a volume may lack, more columns are let go, None and NaN become null.
        venue: who gave them, for the error.

    Returns:
        ``ts`` (Datetime us UTC), prices and ``volume`` (Float64, nullable).

    Raises:
        SourceError: the rows are not of that form, or an opening time is no epoch in milliseconds.
    """
    try:
        times, *values = _columns(rows)
        _check_times(times)
        ts = pl.Series("ts", times, dtype=pl.Int64)
        columns = [
            _without_nan(pl.Series(name, column, dtype=pl.Float64))
            for name, column in zip(_VALUES, values, strict=True)
        ]
    except (TypeError, ValueError, OverflowError, PolarsError):
        raise malformed(venue, "its rows are no bars") from None
    return pl.DataFrame([(ts * 1000).cast(UTC_MICROS), *columns])


def _columns(rows: Any) -> list[Sequence[Any]]:
    if not isinstance(rows, list):
        raise TypeError("no list of rows")
    if not rows:
        return [()] * _FIELDS
    if any(len(row) != _FIELDS for row in rows):
        rows = [[*row[:_FIELDS], None] if len(row) < _FIELDS else row[:_FIELDS] for row in rows]
    return list(zip(*rows, strict=True))


def _check_times(milliseconds: Sequence[int]) -> None:
    if milliseconds and not 0 <= min(milliseconds) <= max(milliseconds) <= _LATEST:
        raise ValueError("an opening time is no epoch in milliseconds")


def _without_nan(column: pl.Series) -> pl.Series:
    # A sum shows at once whether any value is NaN; filling costs more than the rest of a page.
    return column.fill_nan(None) if math.isnan(column.sum()) else column
