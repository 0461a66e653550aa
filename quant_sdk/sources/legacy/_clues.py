"""What the first rows of a file tell of its times: column, unit, zone, and the length of a bar."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from quant_registry.errors import InvalidInput, SourceUnreadable
from quant_sdk.lakehouse.timeframe import Timeframe
from quant_sdk.sources.legacy.table import PRICES, refused
from quant_sdk.sources.legacy.times import UNITS, instants

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from quant_sdk.sources.legacy.protocol import SourceFile

# The opening time's usual names, the most exact ones first.
_NAMES: Final = (
    *("open_time", "opentime", "open time", "timestamp", "datetime", "date_time", "time"),
    *("ts", "date", "unix", "epoch", "unix_timestamp"),
)
_NO_TIMES: Final = {*PRICES, "volume"}
_SECOND: Final = 1_000_000
_DAY: Final = 86_400 * _SECOND
_MONTH_DAYS: Final = range(28, 32)
_STEPS: Final = (("w", 7 * _DAY), ("d", _DAY), ("h", 3_600 * _SECOND), ("m", 60 * _SECOND))
_MOST: Final = 0.5
_ON_GRID: Final = 0.9
_INTEGERS: Final = r"^\s*-?\d+\s*$"
# A bar length in a file's name: 5m, 1h, 15min, or M1, H4 as MetaTrader writes them.
_COUNT_FIRST: Final = re.compile(r"([1-9]\d{0,3})(min|hour|day|[mhdwM])")
_UNIT_FIRST: Final = re.compile(r"([mhdwMHDW])([1-9]\d{0,3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Clue:
    """How the times of a file are to be read.

    Attributes:
        column: where they stand.
        unit: of epochs; None for times that are none.
        timezone: of naive local times, as declared; None where the file says it itself.
        evidence: a row that shows it: ``{row, value, unit, reads}``; None for plain times.
        times: the instants of the rows looked at, microseconds since the epoch.
    """

    column: str
    unit: str | None
    timezone: str | None
    evidence: dict[str, Any] | None
    times: tuple[int, ...]


def find_times(
    rows: pl.DataFrame, file: SourceFile, *, now: datetime, timezone: str | None
) -> Clue:
    """Return the column of the opening times and how to read it.

    The column that the layout names comes first, then usual names, then any other column.

    Raises:
        SourceUnreadable: none can be read, or several can and differ.
    """
    if file.timestamp_column in rows.columns:
        return _read(rows[file.timestamp_column], file, now, timezone)
    named = [name for word in _NAMES for name in rows.columns if name.lower().strip() == word]
    others = [name for name in rows.columns if name.lower() not in {*_NO_TIMES, *_NAMES}]
    clues, trouble = _readable(named, rows, file, now, timezone)
    if trouble is not None and not clues:
        raise trouble
    if not clues:
        found, _ = _readable(others, rows, file, now, timezone)
        clues = [clue for clue in found if _ascends(clue.times)]
    if not clues:
        raise refused(
            file,
            f"has no column of times; it has {', '.join(rows.columns)[:200]}",
            fix="give the file a header line that names its columns, with commas between them",
        )
    return _one_of(clues, file)


def _readable(
    names: Iterable[str], rows: pl.DataFrame, file: SourceFile, now: datetime, timezone: str | None
) -> tuple[list[Clue], SourceUnreadable | None]:
    """Return what the columns tell, and why the first one that tells nothing does not."""
    clues, trouble = [], None
    for name in names:
        try:
            clues.append(_read(rows[name], file, now, timezone))
        except SourceUnreadable as error:
            trouble = trouble or error
    return clues, trouble


def timeframe_of(clue: Clue, file: SourceFile, words: Iterable[str]) -> str:
    """Return the bar length that most steps between the rows have.

    Args:
        clue: of the file.
        file: named in errors.
        words: the parts of its name; a length in them must agree, or stands in for a lone row.

    Raises:
        SourceUnreadable: the steps do not tell, or the name says otherwise.
    """
    said = next((length for word in words if (length := _length(word))), None)
    steps = Counter(after - before for before, after in pairwise(clue.times) if after > before)
    if not steps:
        if said is not None:
            return said
        raise _untold(file, "has too few rows to tell the length of its bars")
    step, times = steps.most_common(1)[0]
    found = _as_timeframe(step, steps)
    if found is None or (found[-1] != "M" and times <= _MOST * steps.total()):
        raise _untold(file, f"has rows {_shown(step)} apart at most, which is no bar length")
    frame = Timeframe.parse(found)
    if sum(map(frame.on_grid, clue.times)) < _ON_GRID * len(clue.times):
        raise _untold(file, f"has rows {found} apart that do not open on the grid of {found}")
    if said not in {None, found}:
        raise _untold(file, f"has rows {found} apart, but its name says {said}")
    return found


def is_length(word: str) -> bool:
    """Tell whether a part of a file's name says the length of its bars."""
    return _length(word) is not None


def _read(column: pl.Series, file: SourceFile, now: datetime, timezone: str | None) -> Clue:
    at = replace(file, timestamp_column=column.name, timestamp_unit=None)
    if _holds_epochs(column):
        return _read_epochs(column, replace(at, timestamp_unit=file.timestamp_unit), now)
    zone = None
    try:
        times = instants(column, at, now=now)
    except SourceUnreadable as error:
        if timezone is None or "no declared zone" not in error.message:
            raise
        zone = timezone
        times = instants(column, replace(at, timezone=zone), now=now)
    return _clue(times, column=column.name, timezone=zone)


def _holds_epochs(column: pl.Series) -> bool:
    if column.dtype == pl.String:
        held = column.drop_nulls()
        return held.len() > 0 and bool(held.str.contains(_INTEGERS).all())
    return column.dtype.is_integer()


def _read_epochs(column: pl.Series, file: SourceFile, now: datetime) -> Clue:
    """Read epochs in the declared unit, or in the only one that gives plausible times."""
    plausible: dict[str, pl.Series] = {}
    refusal: SourceUnreadable | None = None
    for each in UNITS:
        try:
            plausible[each] = instants(column, replace(file, timestamp_unit=each), now=now)
        except SourceUnreadable as error:
            refusal = error
    unit = file.timestamp_unit if file.timestamp_unit in plausible else None
    if unit is None and len(plausible) == 1:
        unit = next(iter(plausible))
    row = int(column.is_not_null().arg_max() or 0)
    if unit is None:
        which = " and ".join(plausible) if plausible else f"none of {', '.join(UNITS)}"
        raise refused(
            file,
            f"row {row}: {str(column[row])[:60]!r} is plausible as a timestamp in {which}",
            fix="write an entry for it with the timestamp_unit that you know",
            row=row,
        ) from refusal
    times = plausible[unit]
    reads = times[row]
    evidence = {
        "row": row,
        "value": str(column[row]).strip(),
        "unit": unit,
        "reads": None if reads is None else f"{reads:%Y-%m-%dT%H:%M:%S.%fZ}",
    }
    return _clue(times, column=column.name, unit=unit, evidence=evidence)


def _clue(
    times: pl.Series,
    *,
    column: str,
    unit: str | None = None,
    timezone: str | None = None,
    evidence: dict[str, Any] | None = None,
) -> Clue:
    held = times.drop_nulls().dt.epoch("us").to_list()
    return Clue(column=column, unit=unit, timezone=timezone, evidence=evidence, times=tuple(held))


def _one_of(clues: list[Clue], file: SourceFile) -> Clue:
    """Return the first of clues that tell the same times."""
    first = clues[0]
    if all(clue.times == first.times for clue in clues):
        return first
    names = ", ".join(clue.column for clue in clues)
    raise refused(
        file,
        f"has several columns of times that differ: {names}",
        fix="write an entry for it with the timestamp_column of the opening times",
    )


def _ascends(times: tuple[int, ...]) -> bool:
    return bool(times) and all(before <= after for before, after in pairwise(times))


def _as_timeframe(step: int, steps: Counter[int]) -> str | None:
    """Return the length of bars that are mostly `step` microseconds apart."""
    if all(each % _DAY == 0 and each // _DAY in _MONTH_DAYS for each in steps):
        return "4w" if steps.keys() == {28 * _DAY} else "1M"
    return _text(step)


def _length(word: str) -> str | None:
    if match := _COUNT_FIRST.fullmatch(word):
        count, unit = int(match[1]), match[2][0]
    elif match := _UNIT_FIRST.fullmatch(word):
        count, unit = int(match[2]), match[1].lower()
    else:
        return None
    return f"{count}M" if unit == "M" else _text(count * dict(_STEPS)[unit])


def _text(step: int) -> str | None:
    """Return the length in the largest unit that it is whole in: 60m and 1h are one."""
    unit, length = next((each for each in _STEPS if step % each[1] == 0), ("s", _SECOND))
    if step % length:
        return None
    try:
        return Timeframe.parse(f"{step // length}{unit}").text
    except InvalidInput:
        return None


def _untold(file: SourceFile, what: str) -> SourceUnreadable:
    return refused(file, what, fix="write an entry for it with the timeframe that you know")


def _shown(step: int) -> str:
    return str(timedelta(microseconds=step))
