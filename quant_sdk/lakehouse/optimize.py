"""Upkeep of the tables' files: many small ones become few sorted ones, and old ones go.

No row changes. The new files of a partition are written and read back, and their rows compared
with those of the old files, before one commit puts them in their place. The old files stay on
disk, for readers, for undo and for restore, until `vacuum` finds them older than its retention.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import polars as pl

from quant_registry.clock import SystemClock
from quant_registry.errors import Corrupted
from quant_sdk.lakehouse.parts import (
    Part,
    Swap,
    live_parts,
    new_parts,
    scan_parts,
    swap_parts,
    tally,
    write_part,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from quant_registry.run import Commit
    from quant_sdk.lakehouse.table import Table

MOST_SMALL: Final = 8
RETENTION_HOURS: Final = 30 * 24
_SMALL_BYTES: Final = 16 * 2**20
_WHOLE_BYTES: Final = 2**30
"""Of a larger partition only the small files are rewritten."""
_FILE_ROWS: Final = 2_000_000
"""Rows of a file, which holds whole series: some 50 MB. They are in memory at once."""
_ORDER: Final = ("symbol", "timeframe", "ts", "start", "valid_from")


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """The files of one partition that are to become fewer."""

    partition: Mapping[str, str]
    parts: tuple[Part, ...]

    @property
    def name(self) -> str:
        """The partition's folder; empty where the table has none."""
        return "/".join(f"{key}={value}" for key, value in self.partition.items())

    def to_dict(self) -> dict[str, Any]:
        """Return ``{partition, files, bytes, rows}``."""
        return {
            "partition": self.name,
            "files": len(self.parts),
            "bytes": sum(part.bytes for part in self.parts),
            "rows": sum(part.rows for part in self.parts),
        }


def crowds(table: Table, most_small: int = MOST_SMALL) -> list[Crowd]:
    """Return the partitions with more than `most_small` small files, and what to rewrite there."""
    if not table.exists():
        return []
    grouped: dict[tuple[str, ...], list[Part]] = {}
    for part in live_parts(table.delta()):
        key = tuple(part.partition[name] for name in table.spec.partition_by)
        grouped.setdefault(key, []).append(part)
    found = []
    for key, parts in sorted(grouped.items()):
        small = [part for part in parts if part.bytes < _SMALL_BYTES]
        if len(small) > most_small:
            whole = sum(part.bytes for part in parts) <= _WHOLE_BYTES
            partition = dict(zip(table.spec.partition_by, key, strict=True))
            found.append(Crowd(partition=partition, parts=tuple(parts if whole else small)))
    return found


def rewritten(table: Table, crowd: Crowd) -> Swap:
    """Write the rows of `crowd` into new files, sorted by series and time; no version names them.

    Raises:
        Corrupted: an old file cannot be read, or the new ones do not hold its rows. Whatever
            fails, the new files are gone again.
    """
    old = [part.path for part in crowd.parts]
    with new_parts(table) as adds:
        with table.reading():
            before = tally(scan_parts(table, old))
        for rows in _sorted_slices(table, old):
            adds.append(write_part(table, rows, crowd.partition))
        after = tally(scan_parts(table, [part.path for part in adds]))
        if before != after:
            raise Corrupted(
                f"rewriting {crowd.name or table.spec.name} changed its rows from {before} to "
                f"{after}; the table was left as it is",
                fix="verify the newest snapshot: quant snapshot verify; look at disk and memory",
            )
    return Swap(adds=adds, removes=crowd.parts, changes=False)


def exchange(table: Table, swap: Swap, commit: Commit) -> int:
    """Put rewritten files in the place of the old ones; return the version it made.

    The caller holds the table's lock.

    Raises:
        Conflict: an old file was replaced meanwhile.
        OwnershipLost: a newer run of the stage has written. Either way the new files are gone.
    """
    return swap_parts(table, swap, commit, {"operation": "optimize"})


def vacuumable(table: Table, retention_hours: int = RETENTION_HOURS) -> list[Path]:
    """Return the data files that no version within the retention names, on disk yet.

    Among them are files that a killed writer left.
    """
    if not table.exists():
        return []
    delta = table.delta()
    names = delta.vacuum(retention_hours, dry_run=True, enforce_retention_duration=False, full=True)
    live = {part.path for part in live_parts(delta)}
    # Delta's file times are the machine's.
    oldest = (SystemClock().now() - timedelta(hours=retention_hours)).timestamp()
    paths = (table.path / name for name in map(unquote, names) if name not in live)
    return sorted(path for path in paths if _is_old_part(path, oldest))


def vacuum(files: list[Path]) -> int:
    """Remove `files`, as `vacuumable` found them; return the bytes that they held."""
    freed = sum(path.stat().st_size for path in files)
    for path in files:
        path.unlink()
    return freed


def _is_old_part(path: Path, oldest: float) -> bool:
    if path.suffix != ".parquet" or "_delta_log" in path.parts or not path.is_file():
        return False
    return path.stat().st_mtime <= oldest


def _sorted_slices(table: Table, paths: list[str]) -> Iterator[pl.DataFrame]:
    """Yield the rows of some files in order, in pieces of whole symbols."""
    rows = scan_parts(table, paths)
    order = [name for name in _ORDER if name in table.spec.columns]
    if "symbol" not in order:
        yield rows.collect()
        return
    counts = rows.group_by("symbol").len().sort("symbol").collect()
    slices = counts.group_by(
        (pl.col("len").cum_sum() - pl.col("len")) // _FILE_ROWS, maintain_order=True
    ).agg(low=pl.col("symbol").min(), high=pl.col("symbol").max())
    for _, low, high in slices.iter_rows():
        wanted = pl.col("symbol").is_between(pl.lit(low), pl.lit(high))
        yield rows.filter(wanted).collect().sort(order, maintain_order=True)
