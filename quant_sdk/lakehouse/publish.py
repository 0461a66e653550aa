"""Publishing a batch: quarantine first, then corrections, then bars, the ledger last.

Every table's write is keyed, so that a batch which a crash cut in half is published again without
adding anything twice. The last commit of the batch carries its ledger entries.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import polars as pl

from quant_sdk.lakehouse.batch import entries_of, frame_of
from quant_sdk.lakehouse.corrections import newest_corrections
from quant_sdk.lakehouse.fingerprint import row_names
from quant_sdk.lakehouse.ledger import MANY, Ledger
from quant_sdk.lakehouse.locks import writing
from quant_sdk.lakehouse.overlap import KEY, resolve
from quant_sdk.lakehouse.seams import JUMP, without_jumps
from quant_sdk.lakehouse.specs import BARS, CORRECTIONS, QUARANTINE
from quant_sdk.lakehouse.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from quant_registry.run import Commit
    from quant_sdk.lakehouse.batch import Incoming
    from quant_sdk.lakehouse.ledger import Entry
    from quant_sdk.lakehouse.overlap import Overlap
    from quant_sdk.lakehouse.seams import Admit


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What a batch did.

    Attributes:
        entries: its ledger entries.
        version: of `bars`, that it made; -1: none.
        jumps: symbol, timeframe, ts and source of bars that were refused for what they would
            have stood beside.
    """

    entries: tuple[Entry, ...]
    version: int
    jumps: pl.DataFrame


class Publisher:
    """Publishes batches into the tables under `lakehouse`, one publisher at a time.

    Args:
        lakehouse: the folder of the tables.
        locks: the folder of lock files; the lookup of existing bars and the commit that rests on
            it must not be parted by another writer.
        rank: source ids in order of precedence; where two sources hold different bars for one
            opening time, the one named earlier wins. A source not named here is never overruled.
        admit: judges new bars beside those that they did not come with; None: nobody does.
    """

    def __init__(
        self, lakehouse: Path, locks: Path, rank: Mapping[str, int], *, admit: Admit | None = None
    ) -> None:
        self._bars = Table(lakehouse, BARS)
        self._quarantine = Table(lakehouse, QUARANTINE)
        self._corrections = Table(lakehouse, CORRECTIONS)
        self._ledger = Ledger(lakehouse)
        self._locks = locks
        self._rank = rank
        self._admit = admit

    def note(self, entries: Sequence[Entry], commit: Commit) -> int:
        """Add entries of sources that bring nothing new; return how many."""
        with writing(self._locks, BARS.name):
            self._ledger.add(
                replace(entry, run_id=commit.run_id, batch_id=commit.batch_id) for entry in entries
            )
        return len(entries)

    def publish(self, batch: Sequence[Incoming], commit: Commit, now: datetime) -> Published:
        """Publish a batch in which no bar's time comes twice; publishing it again changes nothing.

        Raises:
            OwnershipLost: a newer run of the stage has written meanwhile.
            Conflict: other writers kept changing a table.
        """
        with writing(self._locks, BARS.name):
            frame = frame_of(batch)
            standing = self._existing(frame)
            overlap = resolve(frame, standing, self._rank)
            if self._admit is not None and overlap.appended.height:
                overlap = self._judged(overlap, frame, standing, batch, self._admit)
            shas = {item.source: MANY if item.symbol == MANY else item.sha256 for item in batch}
            refused = self._unseen(
                self._quarantine,
                _refused(batch, overlap, shas),
                ("symbol", "timeframe", "row", "ts", "rule"),
            )
            changed = self._unrecorded(_corrected(overlap, shas))
            entries = entries_of(batch, overlap, commit)
            stamp = {"run_id": commit.run_id, "batch_id": commit.batch_id}
            refused = refused.with_columns(quarantined_at=pl.lit(now), **_literals(stamp))
            changed = changed.with_columns(corrected_at=pl.lit(now), **_literals(stamp))
            table, version = self._write(refused, changed, overlap, entries, commit)
            entries = [replace(entry, table=table, version=version) for entry in entries]
            self._ledger.add(entries)
        return Published(
            entries=tuple(entries),
            version=version if table == BARS.name else -1,
            jumps=overlap.conflicting.filter(pl.col("rule") == JUMP).select(*KEY, "source"),
        )

    def _write(
        self,
        refused: pl.DataFrame,
        changed: pl.DataFrame,
        overlap: Overlap,
        entries: list[Entry],
        commit: Commit,
    ) -> tuple[str, int]:
        """Write the tables in order; return the table and version that carry the entries."""
        touches_bars = overlap.appended.height > 0 or overlap.corrected.height > 0
        carried = {"entries": [entry.to_dict() for entry in entries]}
        last = ("", -1)
        if refused.height:
            metadata = {} if touches_bars else carried
            last = (QUARANTINE.name, self._quarantine.append(refused, commit, metadata))
        if changed.height:
            self._corrections.append(changed, commit, {})
        if touches_bars:
            last = (BARS.name, self._write_bars(overlap, commit, carried))
        return last

    def _existing(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the bars that stand where the batch has rows, or may have."""
        if not self._bars.exists() or not frame.height:
            return BARS.empty
        wanted = (
            pl.col("timeframe").is_in(frame["timeframe"].unique().to_list()),
            pl.col("bucket").is_in(frame["bucket"].unique().to_list()),
            pl.col("symbol").is_in(frame["symbol"].unique().to_list()),
            # Ranges skip files and row groups by their statistics.
            *(
                pl.col(key).is_between(pl.lit(frame[key].min()), pl.lit(frame[key].max()))
                for key in ("symbol", "ts")
            ),
        )
        return self._bars.read(lambda rows: rows.filter(*wanted).collect())

    def _judged(
        self,
        overlap: Overlap,
        frame: pl.DataFrame,
        standing: pl.DataFrame,
        batch: Sequence[Incoming],
        admit: Admit,
    ) -> Overlap:
        if not self._bars.exists() and not _is_mixed(batch):
            return overlap
        return without_jumps(overlap, frame, standing, self._bars, admit)

    def _write_bars(self, overlap: Overlap, commit: Commit, metadata: dict[str, Any]) -> int:
        if not overlap.corrected.height:
            return self._bars.append(overlap.appended, commit, metadata)
        touched = pl.concat([overlap.appended, overlap.corrected.select(list(BARS.columns))])
        names = {key: sorted(touched[key].unique()) for key in ("timeframe", "bucket", "symbol")}
        wanted = [pl.col(key).is_in(values) for key, values in names.items()]
        standing = self._bars.read(lambda rows: rows.filter(*wanted).collect())
        kept = standing.join(overlap.corrected, on=["symbol", "timeframe", "ts"], how="anti")
        merged = pl.concat([kept, touched]).sort("timeframe", "bucket", "symbol", "ts")
        return self._bars.replace(merged, names, commit, metadata)

    def _unseen(
        self, table: Table, rows: pl.DataFrame | None, key: tuple[str, ...]
    ) -> pl.DataFrame:
        """Return the rows that the table does not hold under their key yet, in its columns."""
        if rows is None:
            return table.spec.empty
        keyed = ["source", "source_sha256", *key]
        shas = rows["source_sha256"].unique().to_list()
        known = pl.col("source_sha256").is_in(shas)
        seen = table.read(lambda rows: rows.filter(known).select(keyed).collect())
        return table.spec.fit(rows.join(seen, on=keyed, how="anti", nulls_equal=True))

    def _unrecorded(self, rows: pl.DataFrame | None) -> pl.DataFrame:
        """Return the corrections that are not yet the newest of their bar.

        A batch that a crash cut off before its bars finds its own there. A file that goes back
        and forth between two contents does not: in between lies the way back.
        """
        table = self._corrections
        if rows is None:
            return table.spec.empty
        newest = newest_corrections(table, rows["symbol"])
        known = [*KEY, "source", "source_sha256"]
        return table.spec.fit(rows.join(newest, on=known, how="anti"))


def _is_mixed(batch: Sequence[Incoming]) -> bool:
    """Tell whether two sources of a batch may hold bars of one series."""
    series = Counter((item.timeframe, item.symbol) for item in batch if item.bars.height)
    many = {timeframe for timeframe, symbol in series if symbol == MANY}
    alone = all(symbol == MANY or timeframe not in many for timeframe, symbol in series)
    return not alone or any(count > 1 for count in series.values())


def _refused(
    batch: Sequence[Incoming], overlap: Overlap, shas: Mapping[str, str]
) -> pl.DataFrame | None:
    """Return the rows for the quarantine: those that broke a rule, and those that lost."""
    parts = [_refused_of(item) for item in batch if item.quarantined.height]
    if overlap.conflicting.height:
        lost = overlap.conflicting.with_columns(row=pl.lit(None, dtype=pl.Int64))
        parts.append(_with_sha(lost, shas))
    return pl.concat(parts, how="diagonal") if parts else None


def _refused_of(item: Incoming) -> pl.DataFrame:
    """Return what a source had refused; rows that belong to no file are known by their values."""
    many = item.symbol == MANY
    row = pl.lit(None) if many else pl.col("row")
    rows = item.quarantined.with_columns(
        item.symbol_column,
        row.cast(pl.Int64).alias("row"),
        **_literals({"timeframe": item.timeframe, "source": item.source}),
    )
    return _with_sha(rows, {item.source: MANY if many else item.sha256})


def _corrected(overlap: Overlap, shas: Mapping[str, str]) -> pl.DataFrame | None:
    """Return old and new values of the bars that change."""
    if not overlap.corrected.height:
        return None
    values = {name: f"new_{name}" for name in ("open", "high", "low", "close", "volume")}
    return _with_sha(overlap.corrected, shas).rename(values)


def _with_sha(rows: pl.DataFrame, shas: Mapping[str, str]) -> pl.DataFrame:
    """Add ``source_sha256``: of the file, or where the source is none, of the row's own values.

    A venue gives the same row in many answers; it must be known again in each.
    """
    of_file = pl.col("source").replace_strict(shas, return_dtype=pl.String)
    return rows.with_columns(
        source_sha256=pl.when(of_file == MANY).then(row_names(rows)).otherwise(of_file)
    )


def _literals(values: Mapping[str, str]) -> dict[str, pl.Expr]:
    return {name: pl.lit(value) for name, value in values.items()}
