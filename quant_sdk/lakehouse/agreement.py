"""Ledger and tables, compared while nobody writes: what a crash parted is brought together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quant_sdk.lakehouse.ledger import Ledger
from quant_sdk.lakehouse.locks import writing
from quant_sdk.lakehouse.parity import parity
from quant_sdk.lakehouse.specs import BARS, QUARANTINE
from quant_sdk.lakehouse.table import Table

if TYPE_CHECKING:
    from pathlib import Path

    from quant_sdk.lakehouse.ledger import Entry


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


def _tables(lakehouse: Path) -> tuple[Table, Table]:
    return Table(lakehouse, BARS), Table(lakehouse, QUARANTINE)
