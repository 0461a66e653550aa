"""Delta tables of the lakehouse: their schemas, and the one way each is read and written."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

import polars as pl
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.schema import Field, PrimitiveType, Schema
from polars.exceptions import ComputeError

from quant_registry.errors import Conflict, NoData, OwnershipLost, disk_full, is_disk_full
from quant_sdk.lakehouse.damage import reading_entry, reading_files, reading_log
from quant_sdk.lakehouse.durability import sync_commit
from quant_sdk.lakehouse.files import LiveFiles, check_place, scan_files
from quant_sdk.lakehouse.specs import UTC_MICROS, TableSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from quant_registry.run import Commit

R = TypeVar("R")

METADATA_KEY: Final = "quant"
"""The key of our JSON in a commit's metadata: batch id, run id, epoch, ledger entries."""

_TRIES: Final = 20
_MANY_ROWS: Final = 100_000
"""From here on an append is written partition by partition, side by side."""
_DELTA_TYPES: Final = {
    pl.String: "string",
    pl.Boolean: "boolean",
    pl.Float64: "double",
    pl.UInt32: "integer",
    pl.Int64: "long",
    UTC_MICROS: "timestamp",
}
_CONFIGURATION: Final = {
    # History is what continuation and undo rest on.
    "delta.logRetentionDuration": "interval 3650 days",
    "delta.deletedFileRetentionDuration": "interval 30 days",
    "delta.checkpointInterval": "50",
}
# A series is found by the row groups' ends: small ones cost nothing and are read in less time.
_WRITER: Final = WriterProperties(
    compression="ZSTD", compression_level=1, max_row_group_size=32 * 1024
)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _commit_info(content: bytes) -> dict[str, Any]:
    """Return what a log entry says of the commit itself."""
    lines = content.splitlines()
    for line in lines:
        if b'"commitInfo"' in line and "commitInfo" in (action := json.loads(line)):
            return dict(action["commitInfo"])
    for line in lines:
        json.loads(line)  # a torn entry may have lost just that
    return {}


class Table:
    """One Delta table under the lakehouse's folder; it comes into being with its first rows."""

    def __init__(self, lakehouse: Path, spec: TableSpec) -> None:
        self.spec = spec
        self.path = lakehouse / spec.name
        self._live = LiveFiles(self.path)

    def exists(self) -> bool:
        """Tell whether anything was ever written to it.

        Raises:
            InvalidInput: it was, but in its folder Delta cannot read it.
        """
        if not (self.path / "_delta_log").is_dir():
            return False
        check_place(self.path, self.spec)
        return DeltaTable.is_deltatable(str(self.path))

    def version(self) -> int:
        """Return the newest version; -1 where the table does not exist."""
        delta = self._standing()
        return -1 if delta is None else int(delta.version())

    def delta(self) -> DeltaTable:
        """Return a fresh handle at the newest version.

        Raises:
            InvalidInput: Delta cannot read it in its folder.
            NoData: it does not exist.
            Corrupted: its log cannot be read.
        """
        check_place(self.path, self.spec)
        with reading_log(self.path):
            return DeltaTable(str(self.path))

    def scan(self) -> pl.LazyFrame:
        """Return all rows, lazily, with the table's columns; empty where it does not exist."""
        # A wipe may come between the two looks.
        with suppress(NoData):
            if self.exists():
                # `pl.scan_delta` takes ``my data`` percent-encoded, and finds nothing.
                with reading_log(self.path):
                    return scan_files(self._live.paths(), self.spec)
        return self.spec.empty.lazy()

    def read(self, ask: Callable[[pl.LazyFrame], R]) -> R:
        """Return what `ask` collects of all rows.

        A wipe or a vacuum may take the files between the look at the log and the reading: then
        `ask` is called once more, with those that stand now.

        Raises:
            Corrupted: a file cannot be read.
        """
        with suppress(OSError, ComputeError):
            return ask(self.scan())
        with self.reading():
            return ask(self.scan())

    def reading(self) -> AbstractContextManager[None]:
        """Say of files of the table that cannot be read which they are; see `reading_files`."""
        return reading_files(self.path)

    def append(self, frame: pl.DataFrame, commit: Commit, metadata: dict[str, Any]) -> int:
        """Add rows in one commit; return the version it made."""
        if frame.height < _MANY_ROWS:
            return self._write(frame, commit, metadata, predicate=None)
        from quant_sdk.lakehouse.parts import append_parts

        self._fenced(commit)
        return append_parts(self, frame.select(list(self.spec.columns)), commit, metadata)

    def replace(
        self,
        frame: pl.DataFrame,
        where: Mapping[str, Iterable[str]],
        commit: Commit,
        metadata: dict[str, Any],
    ) -> int:
        """Put `frame` in the place of all rows that have one of these values in each column."""
        predicate = " AND ".join(
            f"{name} IN ({', '.join(map(_quoted, values))})" for name, values in where.items()
        )
        return self._write(frame, commit, metadata, predicate=predicate)

    def overwrite(self, frame: pl.DataFrame, commit: Commit, metadata: dict[str, Any]) -> int:
        """Put `frame` in the place of all rows, in one commit."""
        return self._write(frame, commit, metadata, predicate="true")

    def history(self, after: int = -1) -> Iterator[dict[str, Any]]:
        """Yield what the log says of each commit newer than version `after`, oldest first.

        Each has its ``version``, the name of its entry: Delta's own history counts back from the
        handle's version, and is off by as many commits as others made since.
        """
        for entry in sorted((self.path / "_delta_log").glob("*.json")):
            if entry.stem.isdigit() and int(entry.stem) > after:
                with reading_entry(self.path, entry):
                    info = _commit_info(entry.read_bytes())
                yield {**info, "version": int(entry.stem)}

    def facts(self) -> dict[str, Any]:
        """Return name, version, rows, files and bytes, from the log alone."""
        delta = self._standing()
        if delta is None:
            return {"name": self.spec.name, "version": -1, "rows": 0, "files": 0, "bytes": 0}
        adds = pl.DataFrame(delta.get_add_actions(flatten=True))
        return {
            "name": self.spec.name,
            "version": int(delta.version()),
            "rows": int(adds["num_records"].sum()),
            "files": adds.height,
            "bytes": int(adds["size_bytes"].sum()),
        }

    def change(
        self,
        act: Callable[[DeltaTable, CommitProperties], object],
        commit: Commit,
        metadata: dict[str, Any],
    ) -> int:
        """Make one commit by `act` on exactly the version it is shown; return the one it made.

        Args:
            act: commits through the handle and with the properties it gets; it is called again,
                with a newer handle, where another writer was first.
            commit: whose commit it is.
            metadata: for the commit, beside what names the run.

        Raises:
            OwnershipLost: a newer run of the stage has written meanwhile.
            Conflict: other writers kept changing the table.
        """
        properties = _properties(commit, metadata, max_commit_retries=0)

        def act_once(delta: DeltaTable) -> int:
            version = int(delta.version()) + 1
            act(delta, properties)
            return version

        return self._committed(act_once, commit)

    def _write(
        self,
        frame: pl.DataFrame,
        commit: Commit,
        metadata: dict[str, Any],
        *,
        predicate: str | None,
    ) -> int:
        properties = _properties(commit, metadata)

        def put(delta: DeltaTable) -> int:
            self._put(delta, frame.select(list(self.spec.columns)), predicate, properties)
            return int(delta.version())

        return self._committed(put, commit)

    def _committed(self, act: Callable[[DeltaTable], int], commit: Commit) -> int:
        """Let `act` commit, again where others were first; return the version, durable by then."""
        for _ in range(_TRIES):
            delta = self._fenced(commit)
            try:
                version = act(delta)
            except CommitFailedError:
                continue  # another writer was first: look again who owns, then write again
            except (DeltaError, OSError) as error:
                if is_disk_full(error):
                    raise disk_full(self.path) from error
                raise
            sync_commit(self.path, version)
            return version
        raise Conflict(
            f"the table {self.spec.name} was changed by others {_TRIES} times in a row",
            fix="let the other writers finish, then run the stage again",
        )

    def _put(
        self,
        delta: DeltaTable,
        frame: pl.DataFrame,
        predicate: str | None,
        properties: CommitProperties,
    ) -> None:
        # The files say how their texts are to be read: as views, other tools cannot filter them.
        rows = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
        if predicate is None:
            write_deltalake(
                delta,
                rows,
                mode="append",
                writer_properties=_WRITER,
                commit_properties=properties,
            )
            return
        write_deltalake(
            delta,
            rows,
            mode="overwrite",
            predicate=predicate,
            writer_properties=_WRITER,
            commit_properties=properties,
        )

    def _fenced(self, commit: Commit) -> DeltaTable:
        """Return a handle, made where needed; refuse an epoch lower than the table has seen.

        A writer that wakes up after this look holds a stale handle, and Delta refuses its commit:
        the newer epoch's commit touched the same application id.
        """
        if not self.exists():
            self._create()
        delta = self.delta()
        seen = delta.transaction_version(commit.stage_id)
        if seen is not None and seen > commit.epoch:
            raise OwnershipLost(
                f"epoch {seen} of {commit.stage_id} has written to {self.spec.name}, "
                f"this run's is {commit.epoch}",
                fix="this run stops; the newer one continues the work. If there is none, because "
                "data/lakehouse was copied without data/artifacts, copy data/artifacts too",
            )
        return self._with_later_columns(delta)

    def _with_later_columns(self, delta: DeltaTable) -> DeltaTable:
        """Give a table that is older than some of its columns what it lacks."""
        if not self.spec.later:
            return delta
        lacking = self.spec.later - {field.name for field in delta.schema().fields}
        if not lacking:
            return delta
        delta.alter.add_columns([self._field(name) for name in sorted(lacking)])
        sync_commit(self.path, self.version())
        return self.delta()

    def _standing(self) -> DeltaTable | None:
        with suppress(NoData):  # a wipe may come between the two looks
            return self.delta() if self.exists() else None
        return None

    def _create(self) -> None:
        check_place(self.path, self.spec)
        fields = [self._field(name) for name in self.spec.columns]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        DeltaTable.create(
            str(self.path),
            schema=Schema(fields),
            partition_by=list(self.spec.partition_by),
            mode="ignore",
            name=self.spec.name,
            configuration=dict(_CONFIGURATION),
        )
        sync_commit(self.path, 0)

    def _field(self, name: str) -> Field:
        kind = PrimitiveType(_DELTA_TYPES[self.spec.columns[name]])
        return Field(name, kind, nullable=name in self.spec.nullable)


def _properties(
    commit: Commit, metadata: dict[str, Any], *, max_commit_retries: int | None = None
) -> CommitProperties:
    document = {
        "batch_id": commit.batch_id,
        "run_id": commit.run_id,
        "stage_id": commit.stage_id,
        "epoch": commit.epoch,
        **metadata,
    }
    return CommitProperties(
        custom_metadata={METADATA_KEY: json.dumps(document, separators=(",", ":"))},
        app_transactions=[Transaction(commit.stage_id, commit.epoch)],
        max_commit_retries=max_commit_retries,
    )
