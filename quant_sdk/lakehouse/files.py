"""The Parquet files of a Delta table: which are live, and how they are scanned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import unquote

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from quant_registry.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from quant_sdk.lakehouse.specs import TableSpec


_LOOKS: Final = 3
_NO_PATH: Final = frozenset("[]\\^|%\x7f") | {chr(number) for number in range(32)}
"""What the libraries fail over: they make URLs of paths, and undo it."""


class _Mark(NamedTuple):
    version: int
    inode: int
    modified_ns: int


class LiveFiles:
    """The live files of one table; of its log, only what is new is read each time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Replaced as one, so that threads never see a handle with the mark of another.
        self._known: tuple[DeltaTable, _Mark] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy begins with: a handle is of one process."""
        return {"_path": self._path, "_known": None}

    def paths(self) -> list[Path]:
        """Return the files of the newest version.

        Raises:
            DeltaError: the log cannot be read.
        """
        for _ in range(_LOOKS - 1):
            try:
                names, stood = self._look()
            except DeltaError:
                self._known = None  # a wipe may have come between
            else:
                if stood:
                    return names
        return self._look()[0]

    def _look(self) -> tuple[list[Path], bool]:
        """Return the live files, and whether the log was the same one all the while.

        Where an entry of the log stands before and after, no wipe came between: then the files
        are of one table, and the mark is the handle's.
        """
        handle, before = self._newest()
        names = handle.get_add_actions(flatten=True).column("path").to_pylist()
        mark = self._mark(handle.version())
        # A log that was cleaned up has no entry to tell it by, and is never kept.
        stood = before is None or self._mark(before.version) == before
        self._known = (handle, mark) if before and stood and mark else None
        return [self._path / unquote(name) for name in names], stood

    def _newest(self) -> tuple[DeltaTable, _Mark | None]:
        """Return a handle at the newest version, and the mark of an entry from before it."""
        known = self._known
        # A log that was wiped, or whose end was torn and taken back, is read from its beginning.
        if known is None or known[1] != self._mark(known[1].version):
            before = self._newest_mark()
            return DeltaTable(str(self._path)), before
        handle, mark = known
        if self._mark(mark.version + 1) is not None:
            handle.update_incremental()
        return handle, mark

    def _newest_mark(self) -> _Mark | None:
        entries = (path.stem for path in (self._path / "_delta_log").glob("*.json"))
        versions = [int(stem) for stem in entries if stem.isdigit()]
        return self._mark(max(versions)) if versions else None

    def _mark(self, version: int) -> _Mark | None:
        """Return what tells a version's entry from another of its name; None where it is gone."""
        try:
            found = (self._path / "_delta_log" / f"{version:020d}.json").stat()
        except FileNotFoundError:
            return None
        return _Mark(version, found.st_ino, found.st_mtime_ns)


def check_place(folder: Path, spec: TableSpec) -> None:
    """Refuse a folder in which the files of a table cannot be read, whoever wrote them.

    Raises:
        InvalidInput: its path has a character that the libraries cannot take, or a folder above
            it would be read as the value of a column.
    """
    text = str(folder)
    if found := sorted(
        mark for mark in set(text) if mark in _NO_PATH or "\ud800" <= mark <= "\udfff"
    ):
        raise InvalidInput(
            f"a Delta table cannot stand in {_shown(text)}: its path has {_shown(' '.join(found))}",
            fix="move the workspace to a folder without it",
        )
    # polars reads every folder of a path as a partition, those above the table too.
    above = {part.partition("=")[0] for part in folder.parent.parts if "=" in part}
    if spec.partition_by and (shared := sorted(above & spec.columns.keys())):
        raise InvalidInput(
            f"a Delta table cannot stand in {folder}: {shared[0]}= is a column's name, and is "
            "read as a partition's folder",
            fix="move the workspace to a folder of another name",
        )


def _shown(text: str) -> str:
    """Return a text with what no terminal shows written out."""
    return "".join(mark if mark.isprintable() else ascii(mark)[1:-1] for mark in text)


def scan_files(files: Sequence[Path], spec: TableSpec) -> pl.LazyFrame:
    """Scan Parquet files of a table; its partition values stand in the folders' names.

    A column that a file is older than is null there.
    """
    if not files:
        return spec.empty.lazy()
    partitions = {key: spec.columns[key] for key in spec.partition_by}
    # Folders above the table are no columns of it: `check_place` sees to that.
    above = {part.partition("=")[0]: pl.String for part in files[0].parts if "=" in part}
    return pl.scan_parquet(
        list(files),
        glob=False,
        hive_partitioning=bool(partitions),
        hive_schema=above | partitions if partitions else None,
        schema={key: kind for key, kind in spec.columns.items() if key not in partitions},
        missing_columns="insert",
        extra_columns="ignore",
    ).select(list(spec.columns))
