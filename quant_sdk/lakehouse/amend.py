"""Amendments: changes of bars that no source brings, such as an undo, a restore or a replay.

They keep what a publication keeps, and its order: rows that go are quarantined first, then changed
values are recorded as corrections, then one commit changes the bars and carries the ledger
entries. Each step is keyed, so that an amendment that a crash cut in half can be made again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Self

import polars as pl

from quant_sdk.lakehouse.corrections import newest_corrections
from quant_sdk.lakehouse.fingerprint import fingerprint, row_names
from quant_sdk.lakehouse.ledger import MANY, Entry, Ledger
from quant_sdk.lakehouse.overlap import KEY
from quant_sdk.lakehouse.parts import swap_parts
from quant_sdk.lakehouse.rewrite import IS, VALUES, WAS, apply_change, counts, mark_replayed, side
from quant_sdk.lakehouse.specs import BARS, CORRECTIONS, QUARANTINE
from quant_sdk.lakehouse.table import Table
from quant_sdk.lakehouse.timeframe import to_micros

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

    from quant_registry.run import Commit

WITHDRAWN: Final = "withdrawn"
"""The quarantine's rule for bars that were taken back."""
_GROUP: Final = ("source", "symbol", "timeframe")
_Group = tuple[str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Amendment:
    """What is to change, and in whose name.

    Attributes:
        kind: one of `ledger.AMENDMENTS`.
        of: what is undone, restored or replayed, such as a run's id; corrections are recorded
            with the source ``KIND:OF``.
        reason: why bars go, for the quarantine.
        change: bars as they are and as they are to be, with the columns of `rewrite.CHANGE`.
        spec_digest: for the ledger, where it is a declaration of a source that is undone.
    """

    kind: str
    of: str
    reason: str
    change: pl.DataFrame
    spec_digest: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Amended:
    """What an amendment did: rows withdrawn, corrected and brought; version of `bars`, or -1."""

    withdrawn: int = 0
    corrected: int = 0
    brought: int = 0
    marked: int = 0
    version: int = -1


class Amender:
    """Makes amendments in the tables under `lakehouse`; its caller holds the lock of `bars`."""

    def __init__(self, lakehouse: Path) -> None:
        self._bars = Table(lakehouse, BARS)
        self._quarantine = Table(lakehouse, QUARANTINE)
        self._corrections = Table(lakehouse, CORRECTIONS)
        self._ledger = Ledger(lakehouse)

    def amend(
        self,
        amendment: Amendment,
        put: Callable[[dict[str, Any]], int],
        commit: Commit,
        now: datetime,
    ) -> Amended:
        """Make an amendment; an empty change is none.

        Args:
            amendment: what is to change.
            put: makes the change in one commit of `bars` that carries the metadata it gets, and
                returns the version.
            commit: whose commits they are.
            now: for the records.
        """
        change = amendment.change
        if not change.height:
            return Amended()
        gone, changed = change.filter(~IS), change.filter(WAS & IS)
        come = side(change.filter(~WAS), "new")
        sources = _Sources(self._ledger.entries())
        self._withdraw(side(gone, "old"), amendment.reason, sources, commit, now)
        self._record(changed, amendment, commit, now)
        entries = _entries(amendment, sources, commit)
        version = put({"entries": [entry.to_dict() for entry in entries]})
        self._ledger.add(replace(item, table=BARS.name, version=version) for item in entries)
        marked = mark_replayed(self._quarantine, come, commit)
        return Amended(version=version, marked=marked, **counts(change))

    def amend_bars(self, amendment: Amendment, commit: Commit, now: datetime) -> Amended:
        """Make an amendment by writing the files of `bars` anew that it touches."""

        def put(metadata: dict[str, Any]) -> int:
            swap = apply_change(self._bars, amendment.change)
            return swap_parts(self._bars, swap, commit, metadata | {"operation": amendment.kind})

        return self.amend(amendment, put, commit, now)

    def _withdraw(
        self, gone: pl.DataFrame, reason: str, sources: _Sources, commit: Commit, now: datetime
    ) -> None:
        """Quarantine bars that go, except those that a cut-off run has put there already."""
        if not gone.height:
            return
        known = [*KEY, *VALUES, "source"]
        there = (
            self._quarantine.scan()
            .filter(pl.col("rule") == WITHDRAWN, pl.col("replayed_by").is_null())
            .select(known)
            .collect()
        )
        missing = gone.join(there, on=known, how="anti", nulls_equal=True)
        if missing.height:
            rows = sources.with_sha(missing).with_columns(
                rule=pl.lit(WITHDRAWN), reason=pl.lit(reason), quarantined_at=pl.lit(now)
            )
            self._quarantine.append(self._quarantine.spec.fit(_stamped(rows, commit)), commit, {})

    def _record(
        self, changed: pl.DataFrame, amendment: Amendment, commit: Commit, now: datetime
    ) -> None:
        """Record corrections, except those that a cut-off run has recorded already."""
        if not changed.height:
            return
        values = [f"{name}_{value}" for name in ("old", "new") for value in VALUES]
        newest = newest_corrections(self._corrections, changed["symbol"]).filter(
            pl.col("source").str.starts_with(f"{amendment.kind}:")
        )
        missing = changed.join(newest, on=[*KEY, *values], how="anti", nulls_equal=True)
        if missing.height:
            source = f"{amendment.kind}:{amendment.of}"
            rows = missing.with_columns(
                source=pl.lit(source), source_sha256=pl.lit(""), corrected_at=pl.lit(now)
            )
            self._corrections.append(self._corrections.spec.fit(_stamped(rows, commit)), commit, {})


class _Sources:
    """What the ledger knows of the sources whose bars change."""

    def __init__(self, entries: list[Entry]) -> None:
        self._last: dict[_Group, Entry] = {}
        self._any: dict[str, Entry] = {}
        for entry in entries:
            self._last[entry.source, entry.symbol, entry.timeframe] = entry
            self._any[entry.source] = entry

    def entry(self, group: _Group) -> Entry | None:
        """Return the last entry that tells of a series of a source."""
        source, _, timeframe = group
        series = self._last.get(group) or self._last.get((source, MANY, timeframe))
        return series or self._any.get(source)

    def fold(self, group: _Group) -> _Group:
        """Return the group under which the ledger tells of a series of a source."""
        entry = self.entry(group)
        return (group[0], MANY, group[2]) if entry and entry.symbol == MANY else group

    def with_sha(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Add ``source_sha256``: of the file, or of the row where the source holds many series."""
        shas = {
            source: MANY if entry.symbol == MANY else entry.sha256
            for source, entry in self._any.items()
        }
        of_file = pl.col("source").replace_strict(shas, default="", return_dtype=pl.String)
        sha = pl.when(of_file == MANY).then(row_names(rows)).otherwise(of_file)
        return rows.with_columns(source_sha256=sha)


def _entries(amendment: Amendment, sources: _Sources, commit: Commit) -> list[Entry]:
    """Return balanced entries by source and series: of what went, and of what came or changed.

    They are apart, so that rows that come do not hide that others went.
    """
    change = amendment.change
    changed = change.filter(WAS & IS)
    new = side(changed, "new")
    # A changed bar counts for the source that it has afterwards.
    old = side(changed, "old").with_columns(source=new["source"])
    went = _Sums(sources).add(side(change.filter(~IS), "old"), sign=-1, bars_too=True)
    came = _Sums(sources).add(side(change.filter(~WAS), "new"), sign=1, bars_too=True)
    came.add(old, sign=-1, bars_too=False).add(new, sign=1, bars_too=False)
    entries = [*went.entries(amendment.kind, commit), *came.entries(amendment.kind, commit)]
    digest = amendment.spec_digest
    return entries if digest is None else [replace(item, spec_digest=digest) for item in entries]


class _Sums:
    """Rows and hashes by source and series; a source of many series has one sum a timeframe."""

    def __init__(self, sources: _Sources) -> None:
        self._sources = sources
        self._bars: Counter[_Group] = Counter()
        self._corrected: Counter[_Group] = Counter()
        self._keys: Counter[_Group] = Counter()
        self._values: Counter[_Group] = Counter()
        self._ends: dict[_Group, tuple[int, int]] = {}

    def add(self, bars: pl.DataFrame, *, sign: int, bars_too: bool) -> Self:
        """Add some bars, or with `sign` -1 take them away; without `bars_too` only their values."""
        sums = fingerprint(bars, by=_GROUP) if bars.height else bars.clear()
        for row in sums.iter_rows(named=True):
            group = self._sources.fold((row["source"], row["symbol"], row["timeframe"]))
            self._keys[group] += sign * row["key_hash"]
            self._values[group] += sign * row["value_hash"]
            if bars_too:
                self._bars[group] += sign * row["rows"]
                self._widen(group, row["first"], row["last"])
            elif sign > 0:
                self._corrected[group] += row["rows"]
        return self

    def entries(self, kind: str, commit: Commit) -> Iterator[Entry]:
        """Yield one balanced entry a group."""
        for group in sorted(self._keys):
            source, symbol, timeframe = group
            last = self._sources.entry(group)
            first_us, last_us = self._ends.get(group, (None, None))
            bars, corrected = self._bars[group], self._corrected[group]
            yield Entry(
                source=f"{kind}:{source}",
                sha256=last.sha256 if last else "",
                spec_digest=last.spec_digest if last else "",
                stamp=(),
                symbol=symbol,
                timeframe=timeframe,
                rows=bars + corrected,
                bars=bars,
                corrected=corrected,
                unchanged=0,
                identical_duplicates=0,
                quarantined=0,
                first_us=first_us,
                last_us=last_us,
                key_hash=self._keys[group] % 2**64,
                value_hash=self._values[group] % 2**64,
                batch_id=commit.batch_id,
                run_id=commit.run_id,
            )

    def _widen(self, group: _Group, first: datetime, last: datetime) -> None:
        low, high = to_micros(first), to_micros(last)
        known = self._ends.get(group, (low, high))
        self._ends[group] = (min(low, known[0]), max(high, known[1]))


def _stamped(rows: pl.DataFrame, commit: Commit) -> pl.DataFrame:
    return rows.with_columns(run_id=pl.lit(commit.run_id), batch_id=pl.lit(commit.batch_id))
