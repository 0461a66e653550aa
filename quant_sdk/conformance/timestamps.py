"""Instants of a frame as Datetime us UTC: the schema declares unit and zone, nobody guesses."""

from __future__ import annotations

import zoneinfo
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from quant_registry.errors import InvalidInput
from quant_sdk.lakehouse.specs import UTC_MICROS
from quant_sdk.lakehouse.timeframe import to_micros
from quant_sdk.schemas.schema import TIME_UNITS, TIMESTAMP, Column

if TYPE_CHECKING:
    from quant_sdk.conformance.report import Severity

    Note = tuple[str, Severity, str]

EARLIEST: Final = to_micros(datetime(1900, 1, 1, tzinfo=UTC))
LATEST: Final = to_micros(datetime(2200, 1, 1, tzinfo=UTC))
"""Instants outside the half-open ``[EARLIEST, LATEST)`` are implausible (microseconds)."""
WRONG_UNIT: Final = to_micros(datetime(1970, 3, 1, tzinfo=UTC))
"""Epochs from 1970 up to here are those of our days, read in a unit that is too fine."""

_PER_SECOND: Final = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_MICROS: Final = 1_000_000
_MOST: Final = 2**63 - 1
_SHOWN: Final = "%Y-%m-%dT%H:%M:%S%.f"
_SHOWABLE: Final = (
    to_micros(datetime(1, 1, 1, tzinfo=UTC)),
    to_micros(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
)
"""Neither polars nor Python can write what lies far outside of these (microseconds)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Rows whose value cannot be taken.

    Attributes:
        code: of the finding.
        at: positions (UInt32).
        why: one reason for all of them, or one for each (String).
    """

    code: str
    at: pl.Series
    why: str | pl.Series


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
        values = values.cast(pl.Datetime("ms"))  # microseconds cannot hold every date
    if not isinstance(values.dtype, pl.Datetime):
        return None
    if values.dtype.time_zone is None:
        return _of_naive(values, column)
    return _in_micros(values)


def dates(values: pl.Series) -> Taken:
    """Return the values (Date); what lies outside the years 1 to 9999 is refused."""
    times = values.cast(pl.Datetime("ms"))  # microseconds cannot hold every date
    low, high = (_in_unit(each, "ms") for each in _SHOWABLE)
    lost = (~times.to_physical().is_between(low, high)).arg_true()
    refused = _refusals("implausible_time", times, lost, "is implausible as a date")
    return Taken(values=_less(values, refused), refused=refused)


def _of_epochs(values: pl.Series, column: Column) -> Taken:
    if column.unit not in TIME_UNITS:
        told = f"the schema declares no unit for epochs in {column.name}"
        return _refused_whole(values, "undeclared_epoch", told)
    unit = str(column.unit)
    epochs = values.cast(pl.Int64, strict=False)
    low, high, wrong = (_in_unit(each, unit) for each in (EARLIEST, LATEST, WRONG_UNIT))
    frame = pl.DataFrame({"epoch": epochs, "given": values})
    epoch = pl.col("epoch")
    bad = (epoch < low) | (epoch >= high) | (epoch.is_null() & pl.col("given").is_not_null())
    early = (epoch >= low) & (epoch < 0)
    near = (epoch >= 0) & (epoch < wrong)
    # Data that reaches back beyond 1970 has most of its early rows there; one such row is no proof.
    bad |= near & (near.sum() > early.sum())
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
    values, far = _plausible(values)
    aware = values.dt.replace_time_zone(zone, ambiguous="null", non_existent="null")
    taken = _in_micros(aware)
    refused = (*far, *taken.refused)
    note: tuple[Note, ...] = (
        ("zone_assumed", "note", f"naive times were read as times of {zone}"),
    )
    lost = (aware.is_null() & values.is_not_null()).arg_true()
    if lost.is_empty():
        return Taken(values=taken.values, notes=note, refused=refused)
    early = values.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    twice = early.gather(lost).is_not_null()
    return Taken(
        values=taken.values,
        notes=note,
        refused=(
            *refused,
            *_refusals("ambiguous_time", values, lost.filter(twice), f"exists twice in {zone}"),
            *_refusals("skipped_time", values, lost.filter(~twice), f"does not exist in {zone}"),
        ),
    )


def _in_micros(values: pl.Series) -> Taken:
    """Return aware datetimes as us UTC; refuse those that are implausible or too fine."""
    kept, far = _plausible(values)
    if kept.dtype == UTC_MICROS:
        return Taken(values=kept, refused=far)
    fine = _whole_micros(kept.to_physical(), kept) if _unit(kept) == "ns" else ()
    instant = kept.dt.cast_time_unit("us").dt.convert_time_zone("UTC")
    return Taken(values=_less(instant, fine), refused=far + fine)


def _plausible(values: pl.Series) -> tuple[pl.Series, tuple[Refusal, ...]]:
    """Refuse datetimes that are implausible, in their own unit: not all can be had in another."""
    low, high = (_in_unit(each, _unit(values)) for each in (EARLIEST, LATEST))
    raw = values.to_physical()
    least: Any = raw.min()
    most: Any = raw.max()
    if least is None or (least >= low and most < high):
        return values, ()
    lost = ((raw < low) | (raw >= high)).arg_true()
    refused = _refusals("implausible_time", values, lost, "is implausible as a time")
    return values.scatter(lost, None), refused


def _unit(values: pl.Series) -> str:
    return str(getattr(values.dtype, "time_unit", "us"))


def _in_unit(micros: int, unit: str) -> int:
    return micros * _PER_SECOND[unit] // _MICROS


def _whole_micros(nanos: pl.Series, values: pl.Series) -> tuple[Refusal, ...]:
    lost = (nanos % 1_000 != 0).fill_null(value=False).arg_true()
    return _refusals("too_fine_time", values, lost, "is finer than a microsecond")


def _refusals(code: str, values: pl.Series, at: pl.Series, why: str) -> tuple[Refusal, ...]:
    if at.is_empty():
        return ()
    return (Refusal(code=code, at=at, why=as_text(values.gather(at)) + f" {why}"),)


def as_text(values: pl.Series) -> pl.Series:
    """Return values as text; a datetime that polars cannot write as a number with its unit."""
    if not isinstance(values.dtype, pl.Datetime):
        return values.cast(pl.String)
    unit, raw = _unit(values), values.to_physical()
    low, high = (max(-_MOST, min(_in_unit(each, unit), _MOST)) for each in _SHOWABLE)
    known = raw.is_between(low, high)
    shown = values.scatter((~known).arg_true(), None).dt.replace_time_zone(None)
    return shown.dt.to_string(_SHOWN).zip_with(known, raw.cast(pl.String) + f" {unit}")


def _refused_whole(values: pl.Series, code: str, detail: str) -> Taken:
    at = pl.int_range(values.len(), dtype=pl.UInt32, eager=True)
    nothing = pl.Series([None], dtype=UTC_MICROS).new_from_index(0, values.len())
    return Taken(
        values=nothing,
        notes=((code, "block", detail),) if at.is_empty() else (),
        refused=(Refusal(code=code, at=at, why=detail),) if at.len() else (),
    )


def _less(values: pl.Series, refused: tuple[Refusal, ...]) -> pl.Series:
    for each in refused:
        values = values.scatter(each.at, None)
    return values
