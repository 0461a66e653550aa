"""Timestamps of legacy files to instants: the unit and the zone are declared, never guessed."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from quant_registry.errors import InvalidInput, SourceUnreadable
from quant_sdk.lakehouse.specs import UTC_MICROS

if TYPE_CHECKING:
    from quant_sdk.sources.legacy.protocol import SourceFile

UNITS: Final = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
"""Epoch units and how many of each make a second."""
EARLIEST: Final = datetime(1900, 1, 1, tzinfo=UTC)
LATEST_AFTER_NOW: Final = timedelta(days=366)
WRONG_UNIT: Final = (datetime(1970, 1, 1, tzinfo=UTC), datetime(1970, 3, 1, tzinfo=UTC))
"""Half-open; where epochs of today land when they are read in a unit that is too fine."""

_EPOCH: Final = WRONG_UNIT[0]
_MICRO_DIGITS: Final = 6
_FIX_TIMES: Final = "correct timestamp_unit or timestamp_column in the manifest, or the file"


def check_unit(unit: str) -> str:
    """Return ``unit`` if it is an epoch unit; raise `InvalidInput` otherwise."""
    if unit not in UNITS:
        raise InvalidInput(f"{unit!r} is no timestamp_unit", fix=f"use one of {', '.join(UNITS)}")
    return unit


def check_zone(name: str) -> str:
    """Return ``name`` if it is an IANA time zone; raise `InvalidInput` otherwise."""
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidInput(
            f"{name!r} is no time zone", fix="use an IANA name, as in America/New_York or UTC"
        ) from error
    return name


def instants(column: pl.Series, file: SourceFile, *, now: datetime) -> pl.Series:
    """Return ``column`` as Datetime us UTC; nulls stay null.

    Args:
        column: integers (needs ``file.timestamp_unit``), ISO 8601 text, dates or datetimes (naive
            ones need ``file.timezone``).
        file: says unit and zone, and is named in errors.
        now: aware; timestamps later than 366 days after it are not believed.

    Raises:
        SourceUnreadable: the unit or zone is not declared, a value is no timestamp, is
            implausible, or is finer than a microsecond. ``row`` and ``value`` show it.
    """
    if column.dtype == pl.String:
        column = _from_text(column, file)
    if column.dtype.is_integer():
        return _from_epochs(column, file, now)
    if column.dtype == pl.Date:
        column = column.cast(pl.Datetime("us"))
    if isinstance(column.dtype, pl.Datetime):
        return _from_datetimes(column, file, now)
    raise _refused(
        file,
        f"column {file.timestamp_column!r} is {column.dtype}, which is no timestamp",
        fix="name the right timestamp_column, or store whole epochs or datetimes",
    )


def _from_epochs(column: pl.Series, file: SourceFile, now: datetime) -> pl.Series:
    if file.timestamp_unit is None:
        raise _refused(
            file,
            f"column {file.timestamp_column!r} holds epochs of no declared unit",
            fix=f"add timestamp_unit to the entry: one of {', '.join(UNITS)}",
        )
    _plausible(column, file, file.timestamp_unit, now)
    epochs = column.cast(pl.Int64)
    if file.timestamp_unit == "ns":
        _whole_micros(epochs, file)
        return (epochs // 1_000).cast(UTC_MICROS)
    return (epochs * (UNITS["us"] // UNITS[file.timestamp_unit])).cast(UTC_MICROS)


def _from_datetimes(column: pl.Series, file: SourceFile, now: datetime) -> pl.Series:
    unit, zone = _unit_and_zone(column)
    if zone is None:
        column = _located(column, file)
    _plausible(column.to_physical(), file, unit, now)
    if unit == "ns":
        _whole_micros(column.to_physical(), file)
    return column.dt.cast_time_unit("us").dt.convert_time_zone("UTC")


def _unit_and_zone(column: pl.Series) -> tuple[str, str | None]:
    dtype: Any = column.dtype
    return dtype.time_unit, dtype.time_zone


def _located(column: pl.Series, file: SourceFile) -> pl.Series:
    if file.timezone is None:
        raise _refused(
            file,
            f"column {file.timestamp_column!r} holds times of no declared zone",
            fix="add timezone to the entry, as in UTC or America/New_York",
        )
    aware = column.dt.replace_time_zone(file.timezone, ambiguous="null", non_existent="null")
    _none_lost(column, aware, file, f"exists twice or never in {file.timezone}", "export in UTC")
    return aware


def _from_text(column: pl.Series, file: SourceFile) -> pl.Series:
    """Read epochs if a unit is declared, else ISO 8601 in the form of the first value."""
    if file.timestamp_unit is not None:
        epochs = column.str.strip_chars().cast(pl.Int64, strict=False)
        _none_lost(column, epochs, file, "is no whole epoch", _FIX_TIMES)
        return epochs
    first = column.drop_nulls().head(1).to_list()
    if not first:
        return column.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    text = column.str.replace(r"[Zz]$", "+00:00")
    times = text.str.to_datetime(_iso_format(first[0]), time_unit="us", strict=False)
    _none_lost(column, times, file, "is no time in the form of the first", _FIX_TIMES)
    finer = column.str.contains(rf"\.\d{{{_MICRO_DIGITS}}}\d*[1-9]").arg_true()
    if finer.len():
        raise _at_row(file, column, int(finer[0]), "is finer than a microsecond", _FIX_TIMES)
    return times


def _iso_format(example: str) -> str:
    """Return the ``strftime`` form of an ISO 8601 text: date, time if any, offset if any."""
    if len(example) <= len("2024-01-01"):
        return "%Y-%m-%d"
    between, clock = example[10], example[11:]
    offset = "%z" if any(sign in clock for sign in "+-Zz") else ""
    time = clock.rstrip("Zz").split("+")[0].split("-")[0]
    seconds = ":%S%.f" if time.count(":") > 1 else ""
    return f"%Y-%m-%d{between}%H:%M{seconds}{offset}"


def _plausible(epochs: pl.Series, file: SourceFile, unit: str, now: datetime) -> None:
    """Refuse epochs outside 1900 to a year after ``now``, or where wrong units land."""
    low, high = _epoch(EARLIEST, unit), _epoch(now + LATEST_AFTER_NOW, unit)
    start, end = (_epoch(at, unit) for at in WRONG_UNIT)
    least, most = _integer(epochs.min()), _integer(epochs.max())
    if least is None or most is None or (end <= least and most <= high):
        return
    value = pl.col("epoch")
    bad = (value < low) | (value > high)
    if least >= start:  # what reaches back beyond 1970 is no epoch in too fine a unit
        bad |= value.is_between(start, end, closed="left")
    frame = pl.DataFrame({"epoch": epochs})
    rows = frame.select(pl.arg_where(bad)).to_series()
    if rows.len():
        why = f"is implausible as a timestamp in {unit} ({_as_date(epochs[int(rows[0])], unit)})"
        raise _at_row(file, epochs, int(rows[0]), why, _FIX_TIMES)


def _whole_micros(epochs: pl.Series, file: SourceFile) -> None:
    rows = (epochs % 1_000 != 0).arg_true()
    if rows.len():
        why = "ns is finer than a microsecond"
        raise _at_row(file, epochs, int(rows[0]), why, "round the file's times to microseconds")


def _none_lost(before: pl.Series, after: pl.Series, file: SourceFile, why: str, fix: str) -> None:
    if after.null_count() == before.null_count():
        return
    row = int((after.is_null() & before.is_not_null()).arg_true()[0])
    raise _at_row(file, before, row, why, fix)


def _epoch(at: datetime, unit: str) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1) * UNITS[unit] // UNITS["us"]


def _integer(value: Any) -> int | None:
    return None if value is None else int(value)


def _as_date(epoch: int, unit: str) -> str:
    try:
        return f"{_EPOCH + timedelta(seconds=epoch // UNITS[unit]):%Y-%m-%d}"
    except OverflowError:
        return "beyond the year 9999"


def _at_row(file: SourceFile, column: pl.Series, row: int, why: str, fix: str) -> SourceUnreadable:
    value = column[row]
    return _refused(file, f"row {row}: {str(value)[:60]!r} {why}", fix=fix, row=row, value=value)


def _refused(file: SourceFile, what: str, *, fix: str, **facts: Any) -> SourceUnreadable:
    return SourceUnreadable(f"{file.id}: {what}", fix=fix, path=file.id, **facts)
