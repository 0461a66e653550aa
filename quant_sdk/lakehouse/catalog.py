"""The catalog: what is known of symbols, of how they trade and of exchanges, in versions.

A version is a row with ``[valid_from, valid_until)``; the current one has no ``valid_until``. Facts
that differ from the current version close it and open the next, at one instant; equal facts change
nothing. ``valid_from`` is when this workspace learned of it, not when it became true. A null fact
says nothing: what stood goes on. Nothing is ever deleted: what a venue no longer lists is inactive.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl

from quant_registry.errors import InvalidInput
from quant_sdk.lakehouse.durability import mend
from quant_sdk.lakehouse.locks import writing
from quant_sdk.lakehouse.specs import EXCHANGES, EXECUTION, SYMBOLS, UTC_MICROS, TableSpec
from quant_sdk.lakehouse.symbols import check_exchange
from quant_sdk.lakehouse.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from pathlib import Path

    from quant_registry.run import Commit

_VALIDITY: Final = ("source", "valid_from", "valid_until")


@dataclass(frozen=True, slots=True, kw_only=True)
class Versioned:
    """A table of versions.

    Attributes:
        spec: the table.
        key: the column that names what a version is of.
        part: the column whose values a commit replaces whole.
    """

    spec: TableSpec
    key: str
    part: str

    @property
    def attributes(self) -> tuple[str, ...]:
        """The columns whose change opens a version: all but key, source and validity."""
        return tuple(name for name in self.spec.columns if name not in {self.key, *_VALIDITY})


SYMBOL_VERSIONS: Final = Versioned(spec=SYMBOLS, key="symbol", part="exchange")
EXECUTION_VERSIONS: Final = Versioned(spec=EXECUTION, key="symbol", part="exchange")
EXCHANGE_VERSIONS: Final = Versioned(spec=EXCHANGES, key="venue", part="venue")


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What facts change.

    Attributes:
        opened: the new versions, in the table's columns.
        closed: the key of each version that ends, with its ``valid_until``.
    """

    opened: pl.DataFrame
    closed: pl.DataFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What was written: versions opened, versions closed, the table's version (-1: nothing)."""

    opened: int = 0
    closed: int = 0
    version: int = -1
    refused: tuple[str, ...] = ()
    """Keys of facts about symbols that `symbols` does not hold; they were not written."""


def diff(of: Versioned, current: pl.DataFrame, facts: pl.DataFrame, as_of: datetime) -> Changes:
    """Return what `facts` change; writes nothing.

    Args:
        of: the table.
        current: its current versions.
        facts: key, part and source, and any of the attributes; a null or absent one says nothing.
        as_of: when the facts were learned. A version that began later, by a clock since set back,
            ends a microsecond after its begin.

    Raises:
        InvalidInput: two facts are of the same key.
    """
    told = _told(of, facts)
    if twice := told.filter(told[of.key].is_duplicated())[of.key].unique().sort().to_list():
        raise InvalidInput(
            f"{of.spec.name} got several facts about {', '.join(twice[:3])}",
            fix="join the facts about one key into one row",
        )
    old = {name: f"old_{name}" for name in of.spec.columns if name != of.key}
    met = told.join(current.rename(old), on=of.key, how="left", maintain_order="left")
    merged = met.with_columns(pl.coalesce(name, f"old_{name}") for name in of.attributes)
    differs = pl.any_horizontal(
        pl.col(name).ne_missing(pl.col(f"old_{name}")) for name in of.attributes
    )
    changed = merged.filter(pl.col("old_valid_from").is_null() | differs)
    earliest = pl.col("old_valid_from") + pl.duration(microseconds=1)
    begun = changed.with_columns(
        valid_from=pl.max_horizontal(pl.lit(as_of, dtype=UTC_MICROS), earliest),
        valid_until=pl.lit(None, dtype=UTC_MICROS),
    )
    ended = begun.filter(pl.col("old_valid_from").is_not_null())
    return Changes(
        opened=begun.select(list(of.spec.columns)).sort(of.key),
        closed=ended.select(of.key, pl.col("valid_from").alias("valid_until")).sort(of.key),
    )


def changed_history(of: Versioned, history: pl.DataFrame, changes: Changes) -> pl.DataFrame:
    """Return the versions of `history` once `changes` are made, sorted by key and begin."""
    ends = changes.closed.rename({"valid_until": "ended_at"})
    ended = history.join(ends, on=of.key, how="left").with_columns(
        valid_until=pl.coalesce("valid_until", "ended_at")
    )
    columns = list(of.spec.columns)
    return pl.concat([ended.select(columns), changes.opened]).sort(of.key, "valid_from")


def versions_at(of: Versioned, table: Table, at: datetime | None = None) -> pl.DataFrame:
    """Return the version of each key that was valid at `at` (aware), sorted; None: the current."""
    until = pl.col("valid_until")
    valid = until.is_null()
    if at is not None:
        instant = pl.lit(at, dtype=UTC_MICROS)
        valid = (pl.col("valid_from") <= instant) & (valid | (instant < until))
    return table.scan().filter(valid).sort(of.key).collect()


def symbols_at(table: Table, at: datetime | None = None) -> pl.DataFrame:
    """Return what was known of each symbol at `at` (aware), one row a symbol, sorted.

    Args:
        table: `symbols`.
        at: the instant; None: now.

    Returns:
        The columns of `SYMBOLS`; a symbol first heard of later has no row.
    """
    return versions_at(SYMBOL_VERSIONS, table, at)


def vanished(current: pl.DataFrame, listed: Iterable[str], venues: Iterable[str]) -> pl.DataFrame:
    """Return facts that say inactive of the symbols their venue no longer lists.

    Args:
        current: the current versions of `symbols`.
        listed: every symbol that `venues` list.
        venues: exchanges whose whole listing is known.
    """
    gone = (
        pl.col("exchange").is_in(list(venues))
        & ~pl.col("symbol").is_in(list(listed))
        & pl.col("active").ne_missing(pl.lit(value=False))
    )
    return current.filter(gone).select("symbol", "exchange", "source", active=pl.lit(value=False))


class Catalog:
    """Reads and writes the tables of versions; one writer of a table at a time."""

    def __init__(self, lakehouse: Path, locks: Path) -> None:
        self._lakehouse = lakehouse
        self._locks = locks

    def table(self, of: Versioned) -> Table:
        """Return the table behind `of`."""
        return Table(self._lakehouse, of.spec)

    def current(self, of: Versioned) -> pl.DataFrame:
        """Return the current versions."""
        return versions_at(of, self.table(of))

    def mend(self) -> list[str]:
        """Take back what a power cut tore of the last commits; name the files set aside."""
        aside = []
        for of in (SYMBOL_VERSIONS, EXECUTION_VERSIONS, EXCHANGE_VERSIONS):
            with writing(self._locks, of.spec.name):
                aside += mend(self.table(of).path, -1)
        return aside

    def record(
        self, of: Versioned, facts: pl.DataFrame, commit: Commit, as_of: datetime
    ) -> Recorded:
        """Write what `facts` change, in one commit; facts that stand already make no version.

        Facts for `execution` about symbols that `symbols` does not hold are refused.

        Args:
            of: the table.
            facts: as in `diff`.
            commit: from ``run.commit``.
            as_of: as in `diff`.

        Raises:
            InvalidIdentifier: the name of an exchange is none.
            InvalidInput: two facts are of the same key.
            OwnershipLost: a newer run of the stage has written meanwhile.
        """
        for exchange in facts[of.part].unique():
            check_exchange(exchange)
        facts, refused = self._admitted(of, facts)
        with writing(self._locks, of.spec.name):
            changes = diff(of, self.current(of), facts, as_of)
            version = self._write(of, changes, commit) if changes.opened.height else -1
        return Recorded(
            opened=changes.opened.height,
            closed=changes.closed.height,
            version=version,
            refused=refused,
        )

    def _admitted(self, of: Versioned, facts: pl.DataFrame) -> tuple[pl.DataFrame, tuple[str, ...]]:
        if of is not EXECUTION_VERSIONS:
            return facts, ()
        return split_unknown(self._lakehouse, facts)

    def _write(self, of: Versioned, changes: Changes, commit: Commit) -> int:
        table = self.table(of)
        if not changes.closed.height:
            return table.append(changes.opened, commit, {})
        parts = changes.opened[of.part].unique().sort().to_list()
        history = table.scan().filter(pl.col(of.part).is_in(parts)).collect()
        return table.replace(changed_history(of, history, changes), {of.part: parts}, commit, {})


def split_unknown(lakehouse: Path, rows: pl.DataFrame) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Return the rows whose ``symbol`` stands in `symbols`, and the other symbols, sorted.

    An unknown symbol is refused rather than given a row: only ``data.metadata`` says what exists.
    """
    known = Table(lakehouse, SYMBOLS).scan().select(pl.col("symbol").unique()).collect()
    refused = rows.select(pl.col("symbol").unique()).join(known, on="symbol", how="anti")
    admitted = rows.join(known, on="symbol", how="semi", maintain_order="left")
    return admitted, tuple(refused["symbol"].sort().to_list())


def _told(of: Versioned, facts: pl.DataFrame) -> pl.DataFrame:
    """Return key, attributes and source in the table's dtypes; NaN says as little as null."""
    names = [of.key, *of.attributes, "source"]
    return of.spec.fit(facts).select(names).with_columns(pl.col(pl.Float64).fill_nan(None))
