"""The ledger: one line a source taken in, with what became of each of its rows.

It is kept at ``data/lakehouse/ledger.jsonl`` and makes a second run cheap. The same entries travel
in the metadata of the Delta commit that published them, so data and record are one: lines that a
crash took are read back from the commits.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Final

import jsonlines
import orjson
import polars as pl

from quant_registry.errors import Corrupted
from quant_registry.files import make_folder, sync_path, write_all
from quant_sdk.lakehouse.specs import UTC_MICROS
from quant_sdk.lakehouse.table import METADATA_KEY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from quant_sdk.lakehouse.table import Table

SCHEMA: Final = "ledger/1"
MANY: Final = "*"
"""Stands for the symbol in the entry of a source that holds many series."""
AMENDMENTS: Final = ("undo", "restore", "replay")
"""What takes a source's rows back, or brings them again: the entry's source is ``undo:SOURCE``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What one source file brought; the counts of its rows add up.

    ``rows == bars + corrected + unchanged + identical_duplicates + quarantined``.

    Attributes:
        source: the source's id: a file's path as seen from the workspace's data folder, or the
            name of a venue.
        sha256: of its bytes; of its rows, where it is no file.
        spec_digest: of the declaration that says how to read it.
        stamp: size, mtime_ns, ctime_ns and inode when it was read; equal means unchanged.
        symbol, timeframe: the series; the symbol is `MANY` for many at once.
        rows: rows in the source; fewer than none where rows were taken back.
        bars: rows that became new bars.
        corrected: rows that replaced a bar's values.
        unchanged: rows whose bar this source had brought before.
        identical_duplicates: rows equal to another row of the file, or to a bar of another source.
        quarantined: rows refused.
        first_us, last_us: opening times of the first and last good row, epoch microseconds.
        key_hash, value_hash: what the source added to the series' fingerprint, modulo 2**64.
        calendar: when the series trades, where its declaration names it.
        notes: counts of things worth a look.
        batch_id, run_id: of the commit.
        table, version: where the commit is; empty and -1 where nothing had to be written.
    """

    source: str
    sha256: str
    spec_digest: str
    stamp: tuple[int, ...]
    symbol: str
    timeframe: str
    rows: int
    bars: int
    corrected: int
    unchanged: int
    identical_duplicates: int
    quarantined: int
    first_us: int | None
    last_us: int | None
    key_hash: int
    value_hash: int
    calendar: str | None = None
    notes: dict[str, int] = field(default_factory=dict)
    batch_id: str = ""
    run_id: str = ""
    table: str = ""
    version: int = -1
    schema: str = SCHEMA

    @property
    def unaccounted(self) -> int:
        """Rows of the source that are nowhere; 0 unless something is wrong."""
        told = self.bars + self.corrected + self.unchanged
        return self.rows - told - self.identical_duplicates - self.quarantined

    def restamped(self, stamp: tuple[int, ...]) -> Entry:
        """Return the entry of the same content with other times: it brings nothing new."""
        return replace(
            self,
            stamp=stamp,
            bars=0,
            corrected=0,
            unchanged=self.bars + self.corrected + self.unchanged,
            key_hash=0,
            value_hash=0,
            table="",
            version=-1,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the form of a ledger line."""
        return asdict(self)


_FIELDS: Final = frozenset(item.name for item in fields(Entry))


class Ledger:
    """Reads and extends the ledger of a lakehouse."""

    def __init__(self, lakehouse: Path) -> None:
        self._path = lakehouse / "ledger.jsonl"

    def entries(self) -> list[Entry]:
        """Return every entry, oldest first; a torn line is left out, see `reconcile`."""
        return self._read()[0]

    def add(self, entries: Iterable[Entry]) -> None:
        """Append entries durably, in one write."""
        lines = b"".join(
            orjson.dumps(entry.to_dict(), option=orjson.OPT_APPEND_NEWLINE) for entry in entries
        )
        if not lines:
            return
        make_folder(self._path.parent)
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            write_all(descriptor, b"\n" + lines if torn else lines)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        sync_path(self._path.parent)

    def reconcile(self, tables: Iterable[Table], *, every: bool = False) -> list[Entry]:
        """Add the entries that are in the tables' commits but not here; return them.

        Args:
            tables: whose commits to read.
            every: read all commits, not only those newer than the ledger's last: what to do where
                ledger and tables do not agree, since whole lines may be gone.
        """
        known, torn = self._read()
        # A batch published again has its first id, so the commit is what tells entries apart.
        told = {_identity(entry) for entry in known}
        found = []
        for table in tables:
            last = max((e.version for e in known if e.table == table.spec.name), default=-1)
            for version, document in _commits(table, -1 if torn or every else last):
                entries = (
                    _entry(line | {"table": table.spec.name, "version": version})
                    for line in document.get("entries", ())
                )
                found += [item for item in entries if _identity(item) not in told]
        self.add(found)
        return found

    def told(self, tables: Iterable[Table]) -> dict[str, int]:
        """Return by name the newest version of each table that the ledger tells of, or -1.

        It names the last commit of a batch. The batch's commits of other tables were on disk before
        that one, so they are told too; but not its marks of replayed rows, which come after.
        """
        entries = self.entries()
        batches = {(entry.run_id, entry.batch_id) for entry in entries}
        found = {}
        for table in tables:
            name = table.spec.name
            named = max((entry.version for entry in entries if entry.table == name), default=-1)
            found[name] = _newest_of(table, batches, named)
        return found

    def _read(self) -> tuple[list[Entry], bool]:
        """Return the entries, and whether a line was torn."""
        if not self._path.exists():
            return [], False
        with self._path.open("rb") as stream:
            lines = sum(1 for line in stream if line.strip())
            stream.seek(0)
            reader = jsonlines.Reader(stream, loads=orjson.loads)
            entries = []
            for line in reader.iter(type=dict, skip_invalid=True):
                with suppress(KeyError, TypeError):  # an object, but no entry
                    entries.append(_entry(line))
        return entries, len(entries) < lines


def contributions(entries: Iterable[Entry]) -> pl.DataFrame:
    """Return what the entries say each series holds, in the columns of `fingerprint`.

    ``rows`` is Int64: 0 where everything was taken back. ``first`` and ``last`` are null where
    anything was: what is left may begin later and end earlier.
    """
    taken_back = (pl.col("rows") < 0).any()
    rows = [
        {
            "symbol": entry.symbol,
            "timeframe": entry.timeframe,
            "rows": entry.bars,
            "first": entry.first_us,
            "last": entry.last_us,
            "key_hash": entry.key_hash,
            "value_hash": entry.value_hash,
        }
        for entry in entries
    ]
    schema = {
        "symbol": pl.String,
        "timeframe": pl.String,
        "rows": pl.Int64,
        "first": pl.Int64,
        "last": pl.Int64,
        "key_hash": pl.UInt64,
        "value_hash": pl.UInt64,
    }
    return (
        pl.DataFrame(rows, schema=schema)
        .with_columns(pl.col("first", "last").cast(UTC_MICROS))
        .group_by("symbol", "timeframe")
        .agg(
            pl.col("rows").sum(),
            pl.when(taken_back).then(None).otherwise(pl.col("first").min()).alias("first"),
            pl.when(taken_back).then(None).otherwise(pl.col("last").max()).alias("last"),
            pl.col("key_hash", "value_hash").sum(),
        )
        .sort("symbol", "timeframe")
    )


def _identity(entry: Entry) -> tuple[str, int, str, str, str, bool]:
    """Tell the entries of a commit apart; what an amendment takes back and brings are two."""
    series = (entry.symbol, entry.timeframe)
    return entry.table, entry.version, entry.source, *series, entry.bars < 0


def _entry(document: dict[str, Any]) -> Entry:
    known = {key: value for key, value in document.items() if key in _FIELDS}
    return Entry(**known | {"stamp": tuple(known["stamp"])})


def _newest_of(table: Table, batches: set[tuple[str, str]], named: int) -> int:
    """Return the newest version that is `named`, or that a batch made before it was told."""
    entries = (path.stem for path in (table.path / "_delta_log").glob("*.json"))
    versions = (int(stem) for stem in entries if stem.isdigit())
    for version in sorted((each for each in versions if each > named), reverse=True):
        with suppress(Corrupted):  # what is torn names no batch
            commit = next(table.history(version - 1), {})
            document = json.loads(commit.get(METADATA_KEY, "{}"))
            batch = document.get("run_id", ""), document.get("batch_id", "")
            if batch in batches and "operation" not in document:
                return version
    return named


def _commits(table: Table, after: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield version and our metadata of each commit newer than `after`, oldest first."""
    for commit in table.history(after):
        if METADATA_KEY in commit:
            yield int(commit["version"]), json.loads(commit[METADATA_KEY])
