"""A batch on its way into the tables: its rows as one frame, and its ledger entries.

A source is a file of one series, or an answer that holds many series of one timeframe.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from quant_sdk.lakehouse.buckets import bucket_of
from quant_sdk.lakehouse.fingerprint import fingerprint
from quant_sdk.lakehouse.ledger import MANY, Entry
from quant_sdk.lakehouse.specs import BARS
from quant_sdk.lakehouse.symbols import check_symbol
from quant_sdk.lakehouse.timeframe import Timeframe, to_micros

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from quant_registry.run import Commit
    from quant_sdk.conformance.bars import CheckedBars
    from quant_sdk.lakehouse.overlap import Overlap


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """The checked rows of one source, ready to be published.

    Attributes:
        source, sha256, spec_digest, stamp: as in `Entry`.
        symbol, timeframe: the series; the symbol is `MANY` where `bars` and `quarantined` have a
            column ``symbol`` of their own.
        rows: rows in the source.
        bars: ts, open, high, low, close, volume; sorted, unique.
        quarantined: row, ts, open, high, low, close, volume, rule, reason.
        identical_duplicates: rows dropped because another row of the source equals them.
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

    @classmethod
    def of(cls, checked: CheckedBars, **named: Any) -> Incoming:
        """Return the rows that a check divided, with everything else by name."""
        return cls(
            rows=checked.rows_in,
            bars=checked.bars,
            quarantined=checked.quarantined,
            identical_duplicates=checked.identical_duplicates,
            notes=checked.notes,
            **named,
        )

    @property
    def symbol_column(self) -> pl.Expr:
        """The symbol of each row."""
        return pl.col("symbol") if self.symbol == MANY else pl.lit(self.symbol).alias("symbol")


def frame_of(batch: Sequence[Incoming]) -> pl.DataFrame:
    """Return the good bars of a batch with the columns of `bars`, sorted by timeframe and key.

    Raises:
        InvalidIdentifier: a symbol is none.
    """
    parts = [
        item.bars.select(
            item.symbol_column,
            pl.lit(item.timeframe).alias("timeframe"),
            bucket_of(Timeframe.parse(item.timeframe)).alias("bucket"),
            "ts",
            "open",
            "high",
            "low",
            "close",
            "volume",
            pl.lit(item.source).alias("source"),
        )
        for item in sorted((each for each in batch if each.bars.height), key=_place)
    ]
    frame = pl.concat(parts) if parts else BARS.empty
    for symbol in frame["symbol"].unique():
        check_symbol(symbol)
    return frame


def entries_of(batch: Sequence[Incoming], overlap: Overlap, commit: Commit) -> list[Entry]:
    """Return the ledger entry of each source, once it is known where its rows meet others.

    A venue may bring several timeframes in one batch, each once.
    """
    added = _prints(overlap.appended)
    new, old = _prints(overlap.corrected), _prints(overlap.old_values())
    counts = overlap.counts()
    nothing = (0, 0)
    entries = []
    for item in batch:
        name = (item.source, item.timeframe)
        keys, values = added.get(name, nothing)
        change = new.get(name, nothing)[1] - old.get(name, nothing)[1]
        hashes = (keys, (values + change) % 2**64)
        entries.append(_entry(item, counts.get(name, {}), hashes, commit))
    return entries


def _entry(
    item: Incoming, counts: Mapping[str, int], hashes: tuple[int, int], commit: Commit
) -> Entry:
    ends = item.bars.select(first=pl.col("ts").min(), last=pl.col("ts").max())
    first, last = (None if ts is None else to_micros(ts) for ts in ends.row(0))
    return Entry(
        source=item.source,
        sha256=item.sha256,
        spec_digest=item.spec_digest,
        stamp=item.stamp,
        symbol=item.symbol,
        timeframe=item.timeframe,
        rows=item.rows,
        bars=counts.get("appended", 0),
        corrected=counts.get("corrected", 0),
        unchanged=counts.get("unchanged", 0),
        identical_duplicates=item.identical_duplicates + counts.get("identical", 0),
        quarantined=item.quarantined.height + counts.get("conflicting", 0),
        first_us=first,
        last_us=last,
        key_hash=hashes[0],
        value_hash=hashes[1],
        calendar=item.calendar,
        notes=dict(item.notes),
        batch_id=commit.batch_id,
        run_id=commit.run_id,
    )


def _place(item: Incoming) -> tuple[str, str, int]:
    """Sort by partition and key; sources of one series in a batch do not overlap in time."""
    return item.timeframe, item.symbol, to_micros(item.bars["ts"][0])


def _prints(frame: pl.DataFrame) -> dict[tuple[str, str], tuple[int, int]]:
    """Return key and value hash of the rows of each source and timeframe."""
    if not frame.height:
        return {}
    by = ("source", "timeframe")
    sums = fingerprint(frame, by=by).select(*by, "key_hash", "value_hash")
    return {(row[0], row[1]): (row[2], row[3]) for row in sums.iter_rows()}
