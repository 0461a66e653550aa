"""Casts that lose nothing, and the rows where one would."""

from __future__ import annotations

from typing import Any, Final

import polars as pl

EXACT: Final = {pl.Float64: 2**53, pl.Float32: 2**24}
"""Up to these, every whole number has a float of its own."""


def castable(given: Any, wanted: Any) -> bool:
    """Tell whether values of one type can be of the other at all: numbers numbers, and such."""
    if given == pl.Null:
        return True
    if wanted == pl.String:
        return given in (pl.Categorical, pl.Enum)
    if wanted == pl.Date:
        return isinstance(given, pl.Datetime)
    return bool(given.is_numeric() and wanted.is_numeric())


def cast(values: pl.Series, wanted: Any) -> tuple[pl.Series, pl.Series]:
    """Return the values as another type, and the positions of those that are not the same there.

    Args:
        values: of a type that is `castable`.
        wanted: the type.
    """
    given = values.dtype
    found = values.cast(wanted, strict=False)
    if given == pl.Null or wanted == pl.String or _keeps(values, wanted):
        return found, pl.Series([], dtype=pl.UInt32)
    if isinstance(given, pl.Datetime):
        back = found.cast(pl.Datetime(given.time_unit)).to_physical()
        same = back.eq_missing(values.dt.replace_time_zone(None).to_physical())
    else:
        same = found.cast(given, strict=False).eq_missing(values)
    return found, (~same).arg_true()


def _keeps(values: pl.Series, wanted: Any) -> bool:
    """Tell from the types, or from the ends of the values, that nothing can get lost."""
    given = values.dtype
    if given == pl.Float32 and wanted == pl.Float64:
        return True
    if not given.is_integer():
        return False
    least: Any = values.min()
    most: Any = values.max()
    if least is None:
        return True
    bound = EXACT.get(wanted.base_type())
    return bound is not None and -bound <= least and most <= bound
