"""From a table as a file holds it to raw rows of one shape, losslessly or not at all."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import polars as pl
from polars.exceptions import PanicException

from quant_registry.errors import SourceUnreadable
from quant_sdk.sources.legacy.times import instants

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from quant_sdk.sources.legacy.protocol import Probe, SourceFile

PRICES: Final = ("open", "high", "low", "close")
_EXACT: Final = 2**53
_SHOWN: Final = 300


@contextmanager
def reading(file: SourceFile) -> Iterator[None]:
    """Turn whatever a library raises while it reads ``file`` into `SourceUnreadable`."""
    try:
        yield
    except SourceUnreadable:
        raise
    except (Exception, PanicException) as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise refused(
            file,
            f"cannot be read ({said[:_SHOWN]})",
            fix="the file is torn or of another format: restore it, or take it out of the entry",
        ) from error


def refused(file: SourceFile, what: str, *, fix: str, **facts: Any) -> SourceUnreadable:
    """Return the error that names ``file`` and what is wrong with it."""
    return SourceUnreadable(f"{file.id}: {what}", fix=fix, path=file.id, **facts)


def check_probe(file: SourceFile, probe: Probe) -> Probe:
    """Return ``probe`` if its columns and rows can be those of bars."""
    columns_of(file, probe.columns)
    if probe.rows == 0:
        raise _empty(file)
    return probe


def columns_of(file: SourceFile, columns: Sequence[str]) -> dict[str, str]:
    """Return the file's own name of ``ts``, each price, and ``volume`` where it has one."""
    if file.timestamp_column not in columns:
        raise _missing(file, [file.timestamp_column], columns)
    found = {"ts": file.timestamp_column}
    for name in (*PRICES, "volume"):
        same = [each for each in columns if each.lower() == name and each != file.timestamp_column]
        if len(same) > 1:
            raise refused(
                file, f"columns {same} all mean {name}", fix="keep one of them", columns=same
            )
        if same:
            found[name] = same[0]
    lacking = [name for name in PRICES if name not in found]
    if lacking:
        raise _missing(file, lacking, columns)
    return found


def raw_rows(table: pl.DataFrame, file: SourceFile, *, now: datetime) -> pl.DataFrame:
    """Return ``row, ts, open, high, low, close, volume`` of every row of ``table``, in order."""
    names = columns_of(file, table.columns)
    if table.height == 0:
        raise _empty(file)
    columns = [
        pl.int_range(table.height, dtype=pl.UInt32, eager=True).alias("row"),
        instants(table[names["ts"]], file, now=now).alias("ts"),
        *(_number(table[names[name]], file).alias(name) for name in PRICES),
    ]
    if "volume" in names:
        volume = _number(table[names["volume"]], file).alias("volume")
    else:
        volume = pl.Series("volume", [None], dtype=pl.Float64).new_from_index(0, table.height)
    return pl.DataFrame([*columns, volume])


def _number(column: pl.Series, file: SourceFile) -> pl.Series:
    """Return ``column`` as Float64 without losing a bit, or refuse it."""
    dtype = column.dtype
    if dtype == pl.Float64:
        return column
    if dtype in (pl.Float32, pl.Null):
        return column.cast(pl.Float64)
    if dtype == pl.String:
        number = column.str.strip_chars().cast(pl.Float64, strict=False)
        lost = number.is_null() & column.is_not_null()
    elif dtype.is_integer():
        number = column.cast(pl.Float64)
        lost = (number.abs() >= _EXACT).fill_null(value=False)
    else:
        raise refused(
            file,
            f"column {column.name!r} is {dtype}, which is no number",
            fix="store prices and volume as 64-bit floats",
            column=column.name,
        )
    if lost.any():
        row = int(lost.arg_true()[0])
        raise refused(
            file,
            f"row {row}: {column.name} {str(column[row])[:60]!r} is no 64-bit float",
            fix="correct the value, or store it as a 64-bit float",
            row=row,
            value=column[row],
        )
    return number


def _missing(file: SourceFile, names: Sequence[str], columns: Sequence[str]) -> SourceUnreadable:
    there = ", ".join(columns[:20])[:_SHOWN]
    return refused(
        file,
        f"has no column {', '.join(names)}; it has {there or 'none'}",
        fix="correct timestamp_column in the manifest, or give the file its columns",
        columns=tuple(columns),
    )


def _empty(file: SourceFile) -> SourceUnreadable:
    return refused(file, "holds no rows", fix="export it again, or take it out of the entry")
