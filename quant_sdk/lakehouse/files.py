"""The Parquet files of a Delta table: which are live, and how they are scanned."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

import polars as pl
from deltalake import DeltaTable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from quant_sdk.lakehouse.specs import TableSpec


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

    def paths(self) -> list[Path]:
        """Return the files of the newest version.

        Raises:
            DeltaError: the log cannot be read.
        """
        names = self._newest().get_add_actions(flatten=True).column("path").to_pylist()
        return [self._path / unquote(name) for name in names]

    def _newest(self) -> DeltaTable:
        known = self._known
        # A log that was wiped, or whose end was torn and taken back, is read from its beginning.
        if known is None or known[1] != self._mark(known[1].version):
            return self._remember(DeltaTable(str(self._path)))
        handle, mark = known
        if self._mark(mark.version + 1) is None:
            return handle
        handle.update_incremental()
        return self._remember(handle)

    def _remember(self, handle: DeltaTable) -> DeltaTable:
        mark = self._mark(handle.version())
        self._known = (handle, mark) if mark is not None else None
        return handle

    def _mark(self, version: int) -> _Mark | None:
        """Return what tells a version's entry from another of its name; None where it is gone."""
        try:
            found = (self._path / "_delta_log" / f"{version:020d}.json").stat()
        except FileNotFoundError:
            return None
        return _Mark(version, found.st_ino, found.st_mtime_ns)


def scan_files(files: Sequence[Path], spec: TableSpec) -> pl.LazyFrame:
    """Scan Parquet files of a table; its partition values stand in the folders' names.

    A column that a file is older than is null there.
    """
    if not files:
        return spec.empty.lazy()
    partitions = {key: spec.columns[key] for key in spec.partition_by}
    # polars reads every folder of the path, those above the table too.
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
