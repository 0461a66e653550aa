"""Ledger and tables, compared while nobody writes: what a crash parted is brought together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from quant_sdk.lakehouse.amend import WITHDRAWN
from quant_sdk.lakehouse.durability import mend, torn_files
from quant_sdk.lakehouse.ledger import Ledger
from quant_sdk.lakehouse.locks import writing
from quant_sdk.lakehouse.overlap import KEY
from quant_sdk.lakehouse.parity import parity
from quant_sdk.lakehouse.parts import commit_parts, missing_files
from quant_sdk.lakehouse.rewrite import VALUES, WAS, change_between, mark_replayed, side
from quant_sdk.lakehouse.specs import BARS, CORRECTIONS, QUARANTINE, TABLES
from quant_sdk.lakehouse.table import Table

if TYPE_CHECKING:
    from pathlib import Path

    from quant_registry.run import Commit
    from quant_sdk.lakehouse.ledger import Entry

_BROUGHT_BACK: Final = ("undo", "restore")
_ROW: Final = (*KEY, *VALUES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmarked:
    """An amendment that brought bars back, and was cut off before it marked them so.

    Attributes:
        run_id, batch_id: of its commit.
        bars: those of them that stand, with the columns of `bars`.
    """

    run_id: str
    batch_id: str
    bars: pl.DataFrame


def mend_tables(lakehouse: Path, locks: Path) -> list[str]:
    """Take back what a power cut tore of commits that nobody was told of; name the files.

    No lock is waited for while all is whole.

    Raises:
        Corrupted: a commit that was told is torn.
    """
    tables = [Table(lakehouse, spec) for spec in TABLES.values()]
    # Of the other tables the ledger does not tell.
    told = Ledger(lakehouse).told(
        Table(lakehouse, spec) for spec in (BARS, QUARANTINE, CORRECTIONS)
    )
    aside = []
    for table in tables:
        name = table.spec.name
        if torn_files(table.path, told.get(name, -1)):
            with writing(locks, name):
                found = mend(table.path, told.get(name, -1))
            aside += [f"{name}/{file}" for file in found]
    return aside


def unmarked(lakehouse: Path, locks: Path) -> Unmarked | None:
    """Return the last amendment that brought bars back, if their rows count as withdrawn still."""
    with writing(locks, BARS.name):
        return _unmarked(lakehouse)


def _unmarked(lakehouse: Path) -> Unmarked | None:
    bars, quarantine = _tables(lakehouse)
    open_rows = (pl.col("rule") == WITHDRAWN, pl.col("replayed_by").is_null())
    waiting = quarantine.read(lambda rows: rows.filter(*open_rows).select(_ROW).collect())
    entry = _last_return(Ledger(lakehouse)) if waiting.height else None
    if entry is None:
        return None
    its_mark = pl.col("replayed_by") == entry.run_id
    if quarantine.read(lambda rows: rows.filter(its_mark).head(1).collect()).height:
        return None
    brought = _brought(bars, entry.version).join(waiting, on=_ROW, how="semi", nulls_equal=True)
    standing = _near(bars, brought).join(brought, on=_ROW, how="semi", nulls_equal=True)
    if not standing.height:
        return None
    return Unmarked(run_id=entry.run_id, batch_id=entry.batch_id, bars=standing)


def mark_rest(lakehouse: Path, locks: Path, commit: Commit) -> int:
    """Mark the rows of bars that an amendment brought back, in its name; return how many."""
    with writing(locks, BARS.name):
        found = _unmarked(lakehouse)
        if found is None:
            return 0
        own = replace(commit, run_id=found.run_id, batch_id=found.batch_id)
        return mark_replayed(Table(lakehouse, QUARANTINE), found.bars, own)


def reconcile(lakehouse: Path, locks: Path) -> list[Entry]:
    """Add to the ledger what only the tables' commits tell; return those entries.

    Between another run's commit and its line in the ledger, that line would be told twice: so
    the tables' lock is held.
    """
    with writing(locks, BARS.name):
        return Ledger(lakehouse).reconcile(_tables(lakehouse))


def agreed_parity(lakehouse: Path, locks: Path) -> tuple[dict[str, Any], list[Entry]]:
    """Return the parity report, and the entries that had to be read back from the commits for it.

    Another run may have published between the looks at ledger and tables: where they differ, they
    are compared again while nobody writes.
    """
    bars, quarantine = _tables(lakehouse)
    ledger = Ledger(lakehouse)
    report = parity(ledger.entries(), bars, quarantine)
    if report["ok"]:
        return report, []
    with writing(locks, BARS.name):
        found = ledger.reconcile((bars, quarantine), every=True)
        return parity(ledger.entries(), bars, quarantine), found


def _last_return(ledger: Ledger) -> Entry | None:
    """Return an entry of the last amendment that brought bars back."""
    returns = (
        entry
        for entry in ledger.entries()
        if entry.table == BARS.name
        and entry.bars > 0
        and entry.source.partition(":")[0] in _BROUGHT_BACK
    )
    return max(returns, key=lambda entry: entry.version, default=None)


def _brought(bars: Table, version: int) -> pl.DataFrame:
    """Return the bars that one commit brought; none where its files are gone by now."""
    adds, removes = commit_parts(bars, version)
    if missing_files(bars, [part.path for part in (*adds, *removes)]):
        return BARS.empty
    return side(change_between(bars, removes, adds).filter(~WAS), "new")


def _near(bars: Table, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the bars that stand where `rows` are, and some more."""
    if not rows.height:
        return BARS.empty
    buckets = (pl.col(name).is_in(rows[name].unique().to_list()) for name in BARS.partition_by)
    ranges = (
        pl.col(name).is_between(pl.lit(rows[name].min()), pl.lit(rows[name].max()))
        for name in ("symbol", "ts")
    )
    where = (*buckets, *ranges)
    return bars.read(lambda rows: rows.filter(*where).collect())


def _tables(lakehouse: Path) -> tuple[Table, Table]:
    return Table(lakehouse, BARS), Table(lakehouse, QUARANTINE)
