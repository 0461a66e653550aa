"""Making a Delta commit outlive a power cut, and mending a table that one has torn.

Delta's writer does not sync its files. A commit is told (ledger, audit) only after its files are on
disk; so whatever a power cut tears was never told, and may be taken back.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import orjson

from quant_registry.errors import Corrupted
from quant_registry.files import sync_path
from quant_sdk.lakehouse.damage import NO_LOG, PUT_BACK

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LOG: Final = "_delta_log"
_LAST_CHECKPOINT: Final = "_last_checkpoint"
_PARQUET_END: Final = b"PAR1"
_TORN: Final = (orjson.JSONDecodeError, KeyError, TypeError)


def sync_commit(table: Path, version: int) -> None:
    """Wait until the log entry of `version`, the files it adds and their names are on disk."""
    log = table / _LOG
    entry = log / f"{version:020d}.json"
    added = [table / unquote(add["path"]) for add in _adds(entry.read_bytes())]
    for path in [*added, *log.glob(f"{version:020d}.*"), log / _LAST_CHECKPOINT]:
        if path.exists():
            sync_path(path)
    for folder in {path.parent for path in added} | {log, table, table.parent}:
        sync_path(folder)


def torn_files(table: Path, told: int) -> list[Path]:
    """Return the files of the log that a power cut tore, or that rest on one; changes nothing.

    Args:
        table: the table's folder.
        told: the newest version that the ledger tells of; it and what is older is left alone.

    Raises:
        Corrupted: the newest of the versions that were told is torn.
    """
    log = table / _LOG
    entries = sorted((path for path in log.glob("*.json") if path.stem.isdigit()), reverse=True)
    torn = []
    # Newest first; an older one may name files that compaction has taken away since.
    for entry in entries:
        problem = _problem(table, entry)
        if problem and int(entry.stem) <= told:
            raise _told(table, entry, problem)
        if problem is None:
            break
        torn.append(entry)
    left = [int(entry.stem) for entry in entries[len(torn) :]]
    newest = max([told, *left])
    # A checkpoint holds its commit whole: the commit would still be read from it. And the entries
    # go last: were this cut off, the next look must find them.
    return [*_torn_checkpoints(log, newest if entries else None), *torn]


def mend(table: Path, told: int) -> list[str]:
    """Set aside what `torn_files` finds; return the names. The caller holds the table's lock."""
    aside = [_set_aside(path) for path in torn_files(table, told)]
    if aside:
        sync_path(table / _LOG)
    return aside


def _told(table: Path, entry: Path, problem: str) -> Corrupted:
    return Corrupted(
        f"{entry.name}, a commit of the table {table.name}, is torn: {problem}",
        fix=PUT_BACK if _is_whole(entry) else NO_LOG,
    )


def _problem(table: Path, entry: Path) -> str | None:
    """Tell what is torn of a commit, or return None where it is whole."""
    try:
        adds = list(_adds(entry.read_bytes()))
    except (FileNotFoundError, *_TORN):
        return f"{entry.name} cannot be read"
    for add in adds:
        path = unquote(add["path"])
        size = (table / path).stat().st_size if (table / path).exists() else None
        if size is None:
            return f"{path} is gone"
        if size != add["size"]:
            return f"{path} has {size} bytes, not {add['size']}"
    return None


def _is_whole(entry: Path) -> bool:
    try:
        list(_adds(entry.read_bytes()))
    except (FileNotFoundError, *_TORN):
        return False
    return True


def _adds(content: bytes) -> Iterator[dict[str, Any]]:
    """Yield the ``add`` actions of a log entry; an empty one is torn."""
    lines = content.splitlines()
    if not lines:
        raise KeyError("add")
    for line in lines:
        action = orjson.loads(line)
        if "add" in action:
            yield action["add"]


def _torn_checkpoints(log: Path, newest: int | None) -> list[Path]:
    """Return the checkpoints that are torn, or newer than version `newest`, and their pointer.

    What they tell, the log entries up to `newest` tell too.
    """

    def is_gone(version: int) -> bool:
        return newest is not None and version > newest

    pointer = log / _LAST_CHECKPOINT
    found = [
        path
        for path in sorted(log.glob("[0-9]*.checkpoint*.parquet"))
        if is_gone(int(path.name.partition(".")[0])) or not _ends_whole(path)
    ]
    if pointer.exists() and (found or (at := _pointed_at(pointer)) is None or is_gone(at)):
        found.insert(0, pointer)
    return found


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - len(_PARQUET_END)))
        return stream.read() == _PARQUET_END


def _pointed_at(pointer: Path) -> int | None:
    """Return the version that a pointer names; None where it is torn."""
    try:
        return int(orjson.loads(pointer.read_bytes())["version"])
    except _TORN:
        return None


def _set_aside(path: Path) -> str:
    path.replace(path.with_name(f"{path.name}.torn"))
    return path.name
