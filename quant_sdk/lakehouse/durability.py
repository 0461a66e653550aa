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
from quant_registry.files import sync_folder

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
            _sync_file(path)
    for folder in {path.parent for path in added} | {log, table, table.parent}:
        sync_folder(folder)


def mend(table: Path, told: int) -> list[str]:
    """Take back torn commits newer than version `told`; return the names of what was set aside.

    Args:
        table: the table's folder.
        told: the newest version that the ledger tells of; it and what is older is left alone.

    Raises:
        Corrupted: the log of the version that was told is torn.
    """
    log = table / _LOG
    if not log.is_dir():
        return []
    aside = _mend_checkpoint(log)
    entries = sorted(path for path in log.glob("*.json") if path.stem.isdigit())
    # Newest first; an older one may name files that compaction has taken away since.
    for entry in reversed([path for path in entries if int(path.stem) > told]):
        if _problem(table, entry) is None:
            break
        aside.append(_set_aside(entry))
    known = log / f"{told:020d}.json"
    if known.exists() and not _is_whole(known):
        raise Corrupted(
            f"{known.name}, a commit of the table {table.name}, is torn",
            fix="restore it from a backup, or wipe the lakehouse and migrate again",
        )
    if aside:
        sync_folder(log)
    return aside


def _problem(table: Path, entry: Path) -> str | None:
    """Tell what is torn of a commit, or return None where it is whole."""
    try:
        adds = list(_adds(entry.read_bytes()))
    except _TORN:
        return f"{entry.name} cannot be read"
    for add in adds:
        path = table / unquote(add["path"])
        size = path.stat().st_size if path.exists() else 0
        if size != add["size"]:
            return f"{path.name} has {size} bytes, not {add['size']}"
    return None


def _is_whole(entry: Path) -> bool:
    try:
        list(_adds(entry.read_bytes()))
    except _TORN:
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


def _mend_checkpoint(log: Path) -> list[str]:
    """Set aside a torn checkpoint; the log entries say the same."""
    aside = [
        _set_aside(path)
        for path in log.glob("*.checkpoint.parquet")
        if path.read_bytes()[-len(_PARQUET_END) :] != _PARQUET_END
    ]
    pointer = log / _LAST_CHECKPOINT
    if pointer.exists() and (aside or not _is_json(pointer)):
        aside.append(_set_aside(pointer))
    return aside


def _is_json(path: Path) -> bool:
    try:
        orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError:
        return False
    return True


def _set_aside(path: Path) -> str:
    path.replace(path.with_name(f"{path.name}.torn"))
    return path.name


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
