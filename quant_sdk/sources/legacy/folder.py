"""Finding the files of an entry: sorted, without hidden files, never leaving its folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from quant_registry.errors import InvalidInput, SourceUnreadable
from quant_sdk.lakehouse.timeframe import Timeframe
from quant_sdk.sources.legacy.protocol import SourceFile, Unrecognised
from quant_sdk.sources.legacy.times import check_unit, check_zone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from quant_sdk.sources.legacy.protocol import LegacyEntry


@dataclass(frozen=True, kw_only=True, slots=True)
class Named:
    """What a layout reads from a file's name."""

    symbol: str
    timeframe: str
    timestamp_column: str
    timestamp_unit: str | None = None


_FIX_NAME: Final = "rename it, move it away, or name it in an entry of its own layout"


def discover(
    entry: LegacyEntry, root: Path, name_of: Callable[[Path], Named]
) -> Iterator[SourceFile | Unrecognised]:
    """Yield a `SourceFile` for each file that ``name_of`` can name, else why it cannot.

    ``name_of`` raises `InvalidInput` for a name that is not of its layout.
    """
    _check(entry)
    given = _given(entry, root)
    for path in _listed(given):
        shown = _shown_id(path, entry, root)
        reason = _stray(path, given)
        if reason is not None:
            yield Unrecognised(path=shown, reason=reason, fix=_FIX_NAME)
            continue
        try:
            named = name_of(path)
            _agrees(named, entry)
        except InvalidInput as error:
            yield Unrecognised(path=shown, reason=error.message, fix=error.fix or _FIX_NAME)
        else:
            yield _source_file(path, shown, entry, named)


def _given(entry: LegacyEntry, root: Path) -> Path:
    """Return the path that an entry names; a folder yet to be made cannot be walked through."""
    given = root / entry.path
    return given if root.is_dir() else Path(os.path.normpath(given))


def required(entry: LegacyEntry, *fields: str) -> None:
    """Refuse an entry that lacks a field its layout needs."""
    lacking = [name for name in fields if not getattr(entry, name)]
    if lacking:
        raise InvalidInput(
            f"the {entry.layout} entry {entry.path!r} does not say its {' and '.join(lacking)}",
            fix=f"add {', '.join(lacking)} to the entry",
            fields=lacking,
        )


def _check(entry: LegacyEntry) -> None:
    if entry.timestamp_unit is not None:
        check_unit(entry.timestamp_unit)
    if entry.timezone is not None:
        check_zone(entry.timezone)
    if entry.timeframe is not None:
        Timeframe.parse(entry.timeframe)


def _listed(given: Path) -> list[Path]:
    try:
        if not given.is_dir():
            given.stat()
            return [given]
        paths = [path for path in given.iterdir() if not path.name.startswith(".")]
    except (OSError, ValueError) as error:
        raise SourceUnreadable(
            f"{printable(str(given))} cannot be listed: {error}",
            fix="correct the path in the manifest, relative to the manifest's folder",
            path=str(given),
        ) from error
    return sorted(paths, key=lambda path: os.fsencode(path.name))


def _stray(path: Path, given: Path) -> str | None:
    """Tell why ``path`` is not a file of the entry, or return None if it is one."""
    if path == given:
        return None if path.is_file() else "it is no regular file"
    if path.is_symlink() and not _real(path).is_relative_to(_real(given)):
        return "it is a link that leaves the entry's folder"
    if path.is_dir():
        return "it is a folder, and folders are not descended into"
    return None if path.is_file() else "it is no regular file"


def _real(path: Path) -> Path:
    """Return where links lead; `Path.resolve` would raise on one that goes round."""
    return Path(os.path.realpath(path))


def _agrees(named: Named, entry: LegacyEntry) -> None:
    """Refuse a file whose name says another exchange or timeframe than its entry."""
    said = {
        "exchange": (named.symbol.partition(":")[0], entry.exchange),
        "timeframe": (named.timeframe, entry.timeframe),
    }
    for field, (written, wanted) in said.items():
        if wanted is not None and written != wanted:
            raise InvalidInput(
                f"its name says {field} {written}, its entry {wanted}",
                fix=f"drop {field} from the entry, or give the file an entry of its own",
            )


def _source_file(path: Path, shown: str, entry: LegacyEntry, named: Named) -> SourceFile:
    return SourceFile(
        id=shown,
        path=path,
        layout=entry.layout,
        symbol=named.symbol,
        timeframe=named.timeframe,
        timestamp_column=entry.timestamp_column or named.timestamp_column,
        timestamp_unit=entry.timestamp_unit or named.timestamp_unit,
        asset_type=entry.asset_type,
        calendar=entry.calendar,
        timezone=entry.timezone,
    )


def _shown_id(path: Path, entry: LegacyEntry, root: Path) -> str:
    """Return the posix path from the manifest's folder, or as given for one outside it."""
    if Path(entry.path).is_absolute():
        inside = path.is_relative_to(root)
        return printable((path.relative_to(root) if inside else path).as_posix())
    return printable(Path(os.path.relpath(path, root)).as_posix())


def printable(path: Path | str) -> str:
    """Return a path as text that any file can hold; undecodable bytes are escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
