"""Instants of a frame as Datetime us UTC: the schema declares unit and zone, nobody guesses."""

from __future__ import annotations

import zoneinfo
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from quant_registry.errors import InvalidInput
from quant_sdk.lakehouse.timeframe import to_micros
from quant_sdk.schemas.schema import TIME_UNITS, TIMESTAMP, Column

if TYPE_CHECKING:
    from quant_sdk.conformance.report import Severity

    Note = tuple[str, Severity, str]

UTC_MICROS: Final = pl.Datetime("us", "UTC")
EARLIEST: Final = to_micros(datetime(1900, 1, 1, tzinfo=UTC))
LATEST: Final = to_micros(datetime(2200, 1, 1, tzinfo=UTC))
"""Instants outside the half-open ``[EARLIEST, LATEST)`` are implausible (microseconds)."""
WRONG_UNIT: Final = to_micros(datetime(1970, 3, 1, tzinfo=UTC))
"""Epochs from 1970 up to here are those of our days, read in a unit that is too fine."""

_PER_SECOND: Final = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_MICROS: Final = 1_000_000
_SHOWN: Final = "%Y-%m-%dT%H:%M:%S%.f"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Rows whose value cannot be taken, all for one reason.

    Attributes:
        code: of the finding.
        at: positions (UInt32).
        detail: the reason, one for all of them.
    """

    code: str
    at: pl.Series
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A column in its canonical type; null where a row was refused.

    Attributes:
        values: the column.
        notes: code, severity and detail of what was done to it.
        refused: the rows that were refused.
    """

    values: pl.Series
    notes: tuple[Note, ...] = ()
    refused: tuple[Refusal, ...] = field(default=())


def is_instant(column: Column) -> bool:
    """Tell whether a column holds instants: ``ts``, timestamps, epochs of a declared unit."""
    if column.name == "ts" or column.dtype == TIMESTAMP:
        return True
    return "int" in column.dtype and column.unit in TIME_UNITS


def instants(values: pl.Series, column: Column) -> Taken | None:
    """Return the values as Datetime us UTC; None where their type holds no instants.

    Args:
        values: aware datetimes; or, if `column` gives what they lack: naive datetimes and dates
            (its zone), whole numbers (its unit: one of `TIME_UNITS`).
        column: what the schema says.

    Raises:
        InvalidInput: the zone of the schema is none.
    """
    if values.dtype.is_integer():
        return _of_epochs(values, column)
    if values.dtype == pl.Date:
        values = values.cast(pl.Datetime("us"))
    if not isinstance(values.dtype, pl.Datetime):
        return None
    if values.dtype.time_zone is None:
        return _of_naive(values, column)
    return _in_micros(values)


def _of_epochs(values: pl.Series, column: Column) -> Taken:
    if column.unit not in TIME_UNITS:
        told = f"the schema declares no unit for epochs in {column.name}"
        return _refused_whole(values, "undeclared_epoch", told)
    unit = str(column.unit)
    epochs = values.cast(pl.Int64, strict=False)
    low, high = (each * _PER_SECOND[unit] // _MICROS for each in (EARLIEST, LATEST))
    wrong = WRONG_UNIT * _PER_SECOND[unit] // _MICROS
    frame = pl.DataFrame({"epoch": epochs, "given": values})
    epoch = pl.col("epoch")
    bad = (epoch < low) | (epoch >= high) | (epoch.is_null() & pl.col("given").is_not_null())
    least: Any = epochs.min()
    if least is not None and least >= 0:
        # What reaches back beyond 1970 is no epoch in too fine a unit.
        bad |= epoch < wrong
    lost = frame.select(pl.arg_where(bad)).to_series()
    refused = _refusals("implausible_time", values, lost, f"is implausible as an epoch in {unit}")
    kept = epochs.scatter(lost, None) if lost.len() else epochs
    note: tuple[Note, ...] = (
        ("epoch_read", "note", f"whole numbers were read as epochs in {unit}"),
    )
    if unit == "ns":
        taken = _whole_micros(kept, values)
        instant = (kept // 1_000).cast(UTC_MICROS)
        return Taken(values=_less(instant, taken), notes=note, refused=refused + taken)
    instant = (kept * (_MICROS // _PER_SECOND[unit])).cast(UTC_MICROS)
    return Taken(values=instant, notes=note, refused=refused)


def _of_naive(values: pl.Series, column: Column) -> Taken:
    zone = column.timezone
    if zone is None:
        told = f"{column.name} holds naive times, and the schema gives no zone for them"
        return _refused_whole(values, "naive_time", told)
    if zone not in zoneinfo.available_timezones():
        raise InvalidInput(
            f"the schema's zone of {column.name} is {zone!r}",
            fix="write an IANA name, as in UTC or America/New_York",
        )
    aware = values.dt.replace_time_zone(zone, ambiguous="null", non_existent="null")
    taken = _in_micros(aware)
    note: tuple[Note, ...] = (
        ("zone_assumed", "note", f"naive times were read as times of {zone}"),
    )
    lost = (aware.is_null() & values.is_not_null()).arg_true()
    if lost.is_empty():
        return Taken(values=taken.values, notes=note, refused=taken.refused)
    early = values.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    twice = early.gather(lost).is_not_null()
    return Taken(
        values=taken.values,
        notes=note,
        refused=(
            *taken.refused,
            *_refusals("ambiguous_time", values, lost.filter(twice), f"exists twice in {zone}"),
            *_refusals("skipped_time", values, lost.filter(~twice), f"does not exist in {zone}"),
        ),
    )


def _in_micros(values: pl.Series) -> Taken:
    """Return aware datetimes as us UTC; refuse those that are implausible or too fine."""
    taken: tuple[Refusal, ...] = ()
    if values.dtype == UTC_MICROS:
        instant = values
    else:
        unit = getattr(values.dtype, "time_unit", "us")
        taken = _whole_micros(values.to_physical(), values) if unit == "ns" else ()
        instant = values.dt.cast_time_unit("us").dt.convert_time_zone("UTC")
    micros = instant.to_physical()
    least: Any = micros.min()
    most: Any = micros.max()
    if least is None or (least >= EARLIEST and most < LATEST):
        return Taken(values=_less(instant, taken), refused=taken)
    lost = ((micros < EARLIEST) | (micros >= LATEST)).arg_true()
    implausible = _refusals("implausible_time", values, lost, "is implausible as a time")
    return Taken(values=_less(instant, implausible + taken), refused=implausible + taken)


def _whole_micros(nanos: pl.Series, values: pl.Series) -> tuple[Refusal, ...]:
    lost = (nanos % 1_000 != 0).fill_null(value=False).arg_true()
    return _refusals("too_fine_time", values, lost, "is finer than a microsecond")


def _refusals(code: str, values: pl.Series, at: pl.Series, why: str) -> tuple[Refusal, ...]:
    if at.is_empty():
        return ()
    first = int(at[0])
    told = f"{_text(values, first)} {why}"
    detail = told if at.len() == 1 else f"{told}, in row {first} and {at.len() - 1} more"
    return (Refusal(code=code, at=at, detail=detail),)


def _text(values: pl.Series, at: int) -> str:
    value = values.slice(at, 1)
    if isinstance(values.dtype, pl.Datetime):
        return str(value.dt.replace_time_zone(None).dt.to_string(_SHOWN).item())
    return str(value.item())


def _refused_whole(values: pl.Series, code: str, detail: str) -> Taken:
    at = pl.int_range(values.len(), dtype=pl.UInt32, eager=True)
    nothing = pl.Series([None], dtype=UTC_MICROS).new_from_index(0, values.len())
    return Taken(
        values=nothing,
        notes=((code, "block", detail),) if at.is_empty() else (),
        refused=(Refusal(code=code, at=at, detail=detail),) if at.len() else (),
    )


def _less(values: pl.Series, refused: tuple[Refusal, ...]) -> pl.Series:
    for each in refused:
        values = values.scatter(each.at, None)
    return values
