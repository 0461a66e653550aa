"""Frames that are not what their schema says: columns, types, units, zones and values.

A deformation is named by what is wrong; `code` is what the schema rollup calls it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl

from quant_registry.errors import InvalidInput, UnknownName

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from quant_sdk.conformance.report import Severity

_MILLI: Final = 1_000
_SECOND: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Deformed:
    """A frame that is not what its schema says.

    Attributes:
        frame: the frame.
        code: of the finding.
        severity: of the finding, where nobody has set another one.
        column: what it is about.
        rows: how many rows must be refused.
    """

    frame: pl.DataFrame
    code: str
    severity: Severity
    column: str
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Deformation:
    code: str
    severity: Severity
    column: str
    change: Callable[[pl.DataFrame], pl.DataFrame]
    rows: int | None = 0
    """How many rows are refused; None: all."""


def _micros() -> pl.Expr:
    return pl.col("ts").dt.timestamp("us")


def _first(column: str, value: str | None) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Return what gives the first row another value."""
    first = pl.int_range(pl.len()) == 0
    return lambda frame: frame.with_columns(
        pl.when(first).then(pl.lit(value, dtype=pl.String)).otherwise(column).alias(column)
    )


def _with(**columns: pl.Expr) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda frame: frame.with_columns(**columns)


_DEFORMATIONS: Final[Mapping[str, _Deformation]] = {
    "symbol_dropped": _Deformation(
        code="missing_column",
        severity="block",
        column="symbol",
        change=lambda frame: frame.drop("symbol"),
        rows=None,
    ),
    "volume_dropped": _Deformation(
        code="missing_column",
        severity="warn",
        column="volume",
        change=lambda frame: frame.drop("volume"),
    ),
    "column_added": _Deformation(
        code="unexpected_column",
        severity="warn",
        column="vwap",
        change=_with(vwap=pl.lit(1.0)),
    ),
    "prices_as_text": _Deformation(
        code="wrong_dtype",
        severity="block",
        column="close",
        change=_with(close=pl.col("close").cast(pl.String)),
        rows=None,
    ),
    "volume_in_32_bits": _Deformation(
        code="cast",
        severity="note",
        column="volume",
        change=_with(volume=pl.col("volume").cast(pl.Float32)),
    ),
    "epochs_in_microseconds": _Deformation(
        code="epoch_read", severity="note", column="ts", change=_with(ts=_micros())
    ),
    "epochs_in_milliseconds": _Deformation(
        code="implausible_time",
        severity="block",
        column="ts",
        change=_with(ts=_micros() // _MILLI),
        rows=None,
    ),
    "epochs_in_seconds": _Deformation(
        code="implausible_time",
        severity="block",
        column="ts",
        change=_with(ts=_micros() // _SECOND),
        rows=None,
    ),
    "times_in_milliseconds": _Deformation(
        code="cast",
        severity="note",
        column="ts",
        change=_with(ts=pl.col("ts").dt.cast_time_unit("ms")),
    ),
    "times_in_another_zone": _Deformation(
        code="cast",
        severity="note",
        column="ts",
        change=_with(ts=pl.col("ts").dt.convert_time_zone("Asia/Seoul")),
    ),
    "naive_times": _Deformation(
        code="zone_assumed",
        severity="note",
        column="ts",
        change=_with(ts=pl.col("ts").dt.replace_time_zone(None)),
    ),
    "symbol_null": _Deformation(
        code="null_value",
        severity="block",
        column="symbol",
        change=_first("symbol", None),
        rows=1,
    ),
    "symbol_malformed": _Deformation(
        code="malformed_symbol",
        severity="block",
        column="symbol",
        change=_first("symbol", "../etc/passwd"),
        rows=1,
    ),
    "timeframe_malformed": _Deformation(
        code="malformed_timeframe",
        severity="block",
        column="timeframe",
        change=_first("timeframe", "5 minutes"),
        rows=1,
    ),
    "side_unknown": _Deformation(
        code="unknown_value",
        severity="block",
        column="side",
        change=_first("side", "both"),
        rows=1,
    ),
}

DEFORMATIONS: Final = tuple(_DEFORMATIONS)
"""The names of the deformations; ``side_unknown`` is for ticks, the rest for bars."""


class UnknownDeformation(UnknownName):
    """Frames are not deformed in that way."""

    noun = "deformation"
    fix = f"the deformations are {', '.join(DEFORMATIONS)}"


def deform(frame: pl.DataFrame, name: str) -> Deformed:
    """Return `frame` made into what its schema does not say.

    Raises:
        UnknownDeformation: there is none of that name.
        InvalidInput: the frame has no such column.
    """
    if name not in _DEFORMATIONS:
        raise UnknownDeformation(name, DEFORMATIONS)
    found = _DEFORMATIONS[name]
    if found.code != "unexpected_column" and found.column not in frame.columns:
        raise InvalidInput(
            f"the frame has no column {found.column}", fix="deform bars, or ticks for side_unknown"
        )
    return Deformed(
        frame=found.change(frame),
        code=found.code,
        severity=found.severity,
        column=found.column,
        rows=frame.height if found.rows is None else found.rows,
    )
