"""The types of canonical schemas in the words of polars and of Delta."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import polars as pl

from quant_registry.errors import InvalidInput
from quant_sdk.schemas.schema import TIMESTAMP, CanonicalSchema, Column

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_POLARS: Final[Mapping[str, Any]] = {
    "string": pl.String,
    "bool": pl.Boolean,
    "int8": pl.Int8,
    "int16": pl.Int16,
    "int32": pl.Int32,
    "int64": pl.Int64,
    "uint8": pl.UInt8,
    "uint16": pl.UInt16,
    "uint32": pl.UInt32,
    "uint64": pl.UInt64,
    "float32": pl.Float32,
    "float64": pl.Float64,
    "date": pl.Date,
}
_NAMES: Final = {dtype: name for name, dtype in _POLARS.items()}
_DELTA: Final = {
    "string": "string",
    "boolean": "bool",
    "byte": "int8",
    "short": "int16",
    "integer": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "date": "date",
}


def polars_dtype(column: Column) -> Any:
    """Return the polars type of a column.

    Polars has no seconds: a timestamp in ``s`` is one of milliseconds there.
    """
    if column.dtype != TIMESTAMP:
        return _POLARS[column.dtype]
    unit: Any = "ms" if column.unit == "s" else column.unit
    return pl.Datetime(unit, column.timezone)


def polars_schema(schema: CanonicalSchema, names: Iterable[str] | None = None) -> dict[str, Any]:
    """Return name and polars type of columns: those named, or all."""
    wanted = set(schema.names if names is None else names)
    return {each.name: polars_dtype(each) for each in schema.columns if each.name in wanted}


def empty(schema: CanonicalSchema) -> pl.DataFrame:
    """Return a frame of the schema's columns without rows."""
    return pl.DataFrame(schema=polars_schema(schema))


def dtype_name(dtype: Any) -> str:
    """Return how a polars type is written here: ``float64``, ``timestamp[us, UTC]``.

    A type that no canonical schema has is written as polars does.
    """
    if isinstance(dtype, pl.Datetime):
        zone = "" if dtype.time_zone is None else f", {dtype.time_zone}"
        return f"timestamp[{dtype.time_unit}{zone}]"
    return _NAMES.get(dtype.base_type(), str(dtype))


def column_of(name: str, dtype: Any, *, nullable: bool) -> Column:
    """Return the column of a polars type.

    Raises:
        InvalidInput: no canonical schema has that type.
    """
    if isinstance(dtype, pl.Datetime):
        return Column(
            name=name,
            dtype=TIMESTAMP,
            nullable=nullable,
            unit=dtype.time_unit,
            timezone=dtype.time_zone,
        )
    known = _NAMES.get(dtype.base_type())
    if known is None:
        raise _unknown(name, str(dtype))
    return Column(name=name, dtype=known, nullable=nullable)


def column_of_delta(name: str, kind: str, *, nullable: bool) -> Column:
    """Return the column of a primitive Delta type, such as ``double``.

    Raises:
        InvalidInput: no canonical schema has that type.
    """
    if kind in {"timestamp", "timestamp_ntz"}:
        zone = "UTC" if kind == "timestamp" else None
        return Column(name=name, dtype=TIMESTAMP, nullable=nullable, unit="us", timezone=zone)
    if kind not in _DELTA:
        raise _unknown(name, kind)
    return Column(name=name, dtype=_DELTA[kind], nullable=nullable)


def _unknown(name: str, kind: str) -> InvalidInput:
    return InvalidInput(
        f"no canonical schema has the type {kind} of the column {name}",
        fix="cast it to one of the types of quant_sdk.schemas.schema.DTYPES",
    )
