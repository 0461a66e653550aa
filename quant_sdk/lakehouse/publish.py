"""Publishing a batch: quarantine first, then corrections, then bars, the ledger last.

Every table's write is keyed, so that a batch which a crash cut in half is published again without
adding anything twice. The last commit of the batch carries its ledger entries.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import polars as pl
from filelock import FileLock

from quant_registry.files import make_folder
from quant_sdk.lakehouse.fingerprint import fingerprint
from quant_sdk.lakehouse.ledger import Entry, Ledger
from quant_sdk.lakehouse.overlap import Overlap, resolve
from quant_sdk.lakehouse.table import BARS, CORRECTIONS, QUARANTINE, UTC_MICROS, Table
from quant_sdk.lakehouse.timeframe import Timeframe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from quant_registry.run import Commit

_LOCK_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """The checked rows of one source file, ready to be published.

    Attributes:
        source, sha256, spec_digest, stamp: as in `Entry`.
        symbol, timeframe: the series.
        rows: rows in the file.
        bars: ts, open, high, low, close, volume; sorted, unique.
        quarantined: row, ts, open, high, low, close, volume, rule, reason.
        identical_duplicates: rows dropped because another row of the file equals them.
        notes: counts of things worth a look.
        calendar: when the series trades, where its declaration names it.
    """

    source: str
    sha256: str
    spec_digest: str
    stamp: tuple[int, ...]
    symbol: str
    timeframe: str
    rows: int
    bars: pl.DataFrame
    quarantined: pl.DataFrame
    identical_duplicates: int
    notes: Mapping[str, int]
    calendar: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What a batch did: its ledger entries, and the version of `bars` it made (-1: none)."""

    entries: tuple[Entry, ...]
    version: int


class Publisher:
    """Publishes batches into the tables under `lakehouse`, one publisher at a time.

    Args:
        lakehouse: the folder of the tables.
        locks: the folder of lock files; the lookup of existing bars and the commit that rests on
            it must not be parted by another writer.
        rank: source ids in order of precedence; where two sources hold different bars for one
            opening time, the one named earlier wins. A source not named here is never overruled.
    """

    def __init__(self, lakehouse: Path, locks: Path, rank: Mapping[str, int]) -> None:
        self._bars = Table(lakehouse, BARS)
        self._quarantine = Table(lakehouse, QUARANTINE)
        self._corrections = Table(lakehouse, CORRECTIONS)
        self._ledger = Ledger(lakehouse)
        self._lock_path = locks / "table-bars.lock"
        self._rank = rank

    def publish(self, batch: Sequence[Incoming], commit: Commit, now: datetime) -> Published:
        """Publish a batch of distinct series; publishing it again changes nothing.

        Raises:
            OwnershipLost: a newer run of the stage has written meanwhile.
            Conflict: other writers kept changing a table.
        """
        make_folder(self._lock_path.parent)
        with FileLock(self._lock_path, timeout=_LOCK_SECONDS, fallback_to_soft=False):
            frame = _frame(batch)
            overlap = resolve(frame, self._existing(frame), self._rank)
            entries = _entries(batch, frame, overlap, commit)
            documents = [entry.to_dict() for entry in entries]
            refused = self._new_quarantine(batch, overlap, commit, now)
            changed = self._new_corrections(batch, overlap, commit, now)
            touches_bars = overlap.appended.height > 0 or overlap.corrected.height > 0
            last: tuple[str, int] = ("", -1)
            if refused.height:
                carried = {} if touches_bars else {"entries": documents}
                last = (QUARANTINE.name, self._quarantine.append(refused, commit, carried))
            if changed.height:
                self._corrections.append(changed, commit, {})
            if touches_bars:
                last = (BARS.name, self._write_bars(overlap, commit, {"entries": documents}))
            entries = tuple(replace(entry, table=last[0], version=last[1]) for entry in entries)
            self._ledger.add(entries)
        return Published(entries=entries, version=last[1] if touches_bars else -1)

    def _existing(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the bars that stand where the batch has rows, or may have."""
        if not self._bars.exists() or not frame.height:
            return BARS.empty
        return (
            self._bars.scan()
            .filter(
                pl.col("timeframe").is_in(frame["timeframe"].unique().to_list()),
                pl.col("bucket").is_in(frame["bucket"].unique().to_list()),
                pl.col("symbol").is_in(frame["symbol"].unique().to_list()),
                # Ranges skip files and row groups by their statistics.
                *(
                    pl.col(key).is_between(pl.lit(frame[key].min()), pl.lit(frame[key].max()))
                    for key in ("symbol", "ts")
                ),
            )
            .collect()
        )

    def _write_bars(self, overlap: Overlap, commit: Commit, metadata: dict[str, Any]) -> int:
        if not overlap.corrected.height:
            return self._bars.append(overlap.appended, commit, metadata)
        touched = pl.concat([overlap.appended, overlap.corrected.select(list(BARS.columns))])
        names = {key: sorted(touched[key].unique()) for key in ("timeframe", "bucket", "symbol")}
        standing = (
            self._bars.scan()
            .filter(*(pl.col(key).is_in(values) for key, values in names.items()))
            .collect()
        )
        kept = standing.join(overlap.corrected, on=["symbol", "timeframe", "ts"], how="anti")
        merged = pl.concat([kept, touched]).sort("timeframe", "bucket", "symbol", "ts")
        # Symbols, timeframes and buckets are checked by pattern before they come here.
        predicate = " AND ".join(
            f"{key} IN ({', '.join(repr(value) for value in values)})"
            for key, values in names.items()
        )
        return self._bars.replace(merged, predicate, commit, metadata)

    def _new_quarantine(
        self, batch: Sequence[Incoming], overlap: Overlap, commit: Commit, now: datetime
    ) -> pl.DataFrame:
        parts = [
            item.quarantined.with_columns(
                pl.col("row").cast(pl.Int64),
                symbol=pl.lit(item.symbol),
                timeframe=pl.lit(item.timeframe),
                source=pl.lit(item.source),
                source_sha256=pl.lit(item.sha256),
            )
            for item in batch
            if item.quarantined.height
        ]
        if overlap.conflicting.height:
            shas = {item.source: item.sha256 for item in batch}
            parts.append(
                overlap.conflicting.with_columns(
                    row=pl.lit(None, dtype=pl.Int64),
                    source_sha256=pl.col("source").replace_strict(shas, return_dtype=pl.String)
                )
            )
        return self._unseen(self._quarantine, parts, ("row", "ts", "rule"), commit, "quarantined_at", now)

    def _new_corrections(
        self, batch: Sequence[Incoming], overlap: Overlap, commit: Commit, now: datetime
    ) -> pl.DataFrame:
        if not overlap.corrected.height:
            return CORRECTIONS.empty
        shas = {item.source: item.sha256 for item in batch}
        values = {name: f"new_{name}" for name in ("open", "high", "low", "close", "volume")}
        part = overlap.corrected.rename(values).with_columns(
            source_sha256=pl.col("source").replace_strict(shas, return_dtype=pl.String)
        )
        key = ("symbol", "timeframe", "ts")
        return self._unseen(self._corrections, [part], key, commit, "corrected_at", now)

    def _unseen(  # noqa: PLR0913 - two call sites just above
        self,
        table: Table,
        parts: list[pl.DataFrame],
        key: tuple[str, ...],
        commit: Commit,
        time_column: str,
        now: datetime,
    ) -> pl.DataFrame:
        """Return the rows of `parts` that the table does not hold under their key yet."""
        if not parts:
            return table.spec.empty
        rows = pl.concat(parts, how="diagonal").with_columns(
            pl.lit(now).cast(UTC_MICROS).alias(time_column),
            run_id=pl.lit(commit.run_id),
            batch_id=pl.lit(commit.batch_id),
        )
        keyed = ["source", "source_sha256", *key]
        shas = rows["source_sha256"].unique().to_list()
        seen = table.scan().filter(pl.col("source_sha256").is_in(shas)).select(keyed).collect()
        fresh = rows.join(seen, on=keyed, how="anti", nulls_equal=True)
        return fresh.select(
            pl.col(name).cast(dtype) for name, dtype in table.spec.columns.items()
        )


def _frame(batch: Sequence[Incoming]) -> pl.DataFrame:
    """Return the good bars of a batch with the table's columns, sorted by partition and key."""
    parts = [
        item.bars.select(
            pl.lit(item.symbol).alias("symbol"),
            pl.lit(item.timeframe).alias("timeframe"),
            _bucket(item.timeframe).alias("bucket"),
            "ts",
            "open",
            "high",
            "low",
            "close",
            "volume",
            pl.lit(item.source).alias("source"),
        )
        for item in sorted(batch, key=lambda item: (item.timeframe, item.symbol))
        if item.bars.height
    ]
    return pl.concat(parts) if parts else BARS.empty


def _bucket(timeframe: str) -> pl.Expr:
    """Return the bucket of each ``ts``: its year, or its year and month."""
    ts = pl.col("ts")
    year = ts.dt.year().cast(pl.String)
    if Timeframe.parse(timeframe).bucket_format == "%Y":
        return year
    return year + pl.lit("-") + ts.dt.month().cast(pl.String).str.zfill(2)


def _entries(
    batch: Sequence[Incoming], frame: pl.DataFrame, overlap: Overlap, commit: Commit
) -> tuple[Entry, ...]:
    appended = _prints(overlap.appended)
    new, old = _prints(overlap.corrected), _prints(overlap.old_values())
    counts = overlap.counts()
    ends = {
        (symbol, timeframe): (first, last)
        for symbol, timeframe, first, last in frame.group_by("symbol", "timeframe")
        .agg(
            pl.col("ts").min().dt.timestamp("us").alias("first"),
            pl.col("ts").max().dt.timestamp("us").alias("last"),
        )
        .iter_rows()
    }
    entries = []
    for item in batch:
        series = (item.symbol, item.timeframe)
        keys, values = appended.get(series, (0, 0))
        first, last = ends.get(series, (None, None))
        count = counts.get(series, {})
        entries.append(
            Entry(
                source=item.source,
                sha256=item.sha256,
                spec_digest=item.spec_digest,
                stamp=item.stamp,
                symbol=item.symbol,
                timeframe=item.timeframe,
                rows=item.rows,
                bars=count.get("appended", 0),
                corrected=count.get("corrected", 0),
                unchanged=count.get("unchanged", 0),
                identical_duplicates=item.identical_duplicates + count.get("identical", 0),
                quarantined=item.quarantined.height + count.get("conflicting", 0),
                first_us=first,
                last_us=last,
                key_hash=keys,
                value_hash=(values + new.get(series, (0, 0))[1] - old.get(series, (0, 0))[1])
                % 2**64,
                calendar=item.calendar,
                notes=dict(item.notes),
                batch_id=commit.batch_id,
                run_id=commit.run_id,
            )
        )
    return tuple(entries)


def _prints(frame: pl.DataFrame) -> dict[tuple[str, str], tuple[int, int]]:
    if not frame.height:
        return {}
    columns = ("symbol", "timeframe", "key_hash", "value_hash")
    return {
        (symbol, timeframe): (keys, values)
        for symbol, timeframe, keys, values in fingerprint(frame).select(columns).iter_rows()
    }
