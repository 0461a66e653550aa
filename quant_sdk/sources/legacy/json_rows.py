"""Tables in JSON: a list of ``[epoch, open, high, low, close, volume]``, or of objects."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import orjson
import polars as pl

from quant_sdk.sources.legacy.packed import read_all, read_head
from quant_sdk.sources.legacy.protocol import Probe
from quant_sdk.sources.legacy.table import PRICES, columns_of, refused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from quant_registry.errors import SourceUnreadable
    from quant_sdk.sources.legacy.protocol import SourceFile

_EXACT: Final = 2**53
_FIX: Final = "write a list of [epoch, open, high, low, close, volume], or of objects with date"


def read_json(file: SourceFile) -> pl.DataFrame:
    """Return the rows as a table; a list's columns get their names by position."""
    rows = orjson.loads(read_all(file))
    if not isinstance(rows, list):
        raise _unknown(file, "is no JSON list")
    if not rows:
        return pl.DataFrame(schema=dict.fromkeys(_positions(file), pl.Int64))
    names = _names(rows[0], file)
    if isinstance(rows[0], dict):
        every = dict.fromkeys(name for row in rows if isinstance(row, dict) for name in row)
        names = tuple(columns_of(file, tuple(every)).values())
    kind = type(rows[0])
    for row, each in enumerate(rows):
        if type(each) is not kind or (kind is list and len(each) != len(names)):
            raise _unknown(file, f"row {row} is not of the first row's form", row=row)
    columns = zip(*rows, strict=True) if kind is list else _of_objects(rows, names)
    return pl.DataFrame(
        [_column(name, list(values), file) for name, values in zip(names, columns, strict=True)]
    )


def probe_json(file: SourceFile) -> Probe:
    """Return the columns of the first row; the number of rows is not known from the head."""
    head = read_head(file).decode("utf-8", "replace").lstrip()
    if not head.startswith("["):
        raise _unknown(file, "is no JSON list")
    first = head[1:].lstrip()
    if first.startswith("]"):
        return Probe(rows=0, columns=_positions(file))
    row, _ = json.JSONDecoder().raw_decode(first)
    return Probe(rows=None, columns=_names(row, file))


def _positions(file: SourceFile) -> tuple[str, ...]:
    return (file.timestamp_column, *PRICES, "volume")


def _names(row: Any, file: SourceFile) -> tuple[str, ...]:
    if isinstance(row, dict):
        return tuple(row)
    if isinstance(row, list) and len(row) == len(_positions(file)):
        return _positions(file)
    raise _unknown(file, "row 0 is neither six values nor an object", row=0)


def _of_objects(rows: list[dict[str, Any]], names: Iterable[str]) -> list[list[Any]]:
    return [[row.get(name) for row in rows] for name in names]


def _column(name: str, values: list[Any], file: SourceFile) -> pl.Series:
    """Return one typed column; whole numbers among floats are floats if that is exact."""
    kinds = set(map(type, values)) - {type(None)}
    if kinds == {int, float}:
        inexact = [
            row for row, each in enumerate(values) if type(each) is int and abs(each) > _EXACT
        ]
        if not inexact:
            return pl.Series(name, [each if each is None else float(each) for each in values])
        raise _unknown(file, f"row {inexact[0]}: {name} is no 64-bit float", row=inexact[0])
    if len(kinds) > 1 or kinds - {int, float, str}:
        found = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise _unknown(file, f"{name} holds {found}, not one kind of number or text")
    return pl.Series(name, values)


def _unknown(file: SourceFile, what: str, **facts: Any) -> SourceUnreadable:
    return refused(file, what, fix=_FIX, **facts)
