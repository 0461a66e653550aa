"""The tables that stages work on, once they and the ledger agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from quant_sdk.errors import ParityFailed, UnknownName
from quant_sdk.lakehouse.agreement import (
    agreed_parity,
    mark_rest,
    mend_tables,
    reconcile,
    unmarked,
)
from quant_sdk.lakehouse.parity import describe
from quant_sdk.lakehouse.specs import TABLES
from quant_sdk.lakehouse.table import Table

if TYPE_CHECKING:
    from quant_sdk import Run, Workspace
    from quant_sdk.lakehouse.ledger import Entry

SHOWN: Final = 50
"""How many series or partitions a result names."""


def table_named(workspace: Workspace, name: str) -> Table:
    """Return a table by name.

    Raises:
        UnknownName: there is no such table.
    """
    if name not in TABLES:
        raise UnknownName(name, TABLES, fix=f"the tables are {', '.join(TABLES)}")
    return Table(workspace.lakehouse, TABLES[name])


def written(workspace: Workspace, names: tuple[str, ...] = ()) -> list[Table]:
    """Return the tables that have been written to, of these names or of all."""
    tables = [table_named(workspace, name) for name in names or TABLES]
    return [table for table in tables if table.exists()]


def make_whole(run: Run) -> None:
    """Take back what a power cut tore, and tell ledger and quarantine what a killed run could not.

    Raises:
        Corrupted: a commit that was told is torn.
    """
    lakehouse, locks = run.workspace.lakehouse, run.workspace.locks
    if torn := mend_tables(lakehouse, locks):
        run.emit("table_mended", status="success", set_aside=torn)
    _recovered(run, reconcile(lakehouse, locks))
    if found := unmarked(lakehouse, locks):
        run.commit(
            lambda commit: mark_rest(lakehouse, locks, commit),
            batch_id=f"mark-{found.run_id}",
            event="marks_recovered",
            describe=lambda rows: {"status": "success", "of": found.run_id, "rows": rows},
        )


def parity_report(run: Run) -> tuple[dict[str, Any], str]:
    """Compare ledger and tables, once they are whole; return the report and where it stands."""
    report, found = agreed_parity(run.workspace.lakehouse, run.workspace.locks)
    _recovered(run, found)
    return report, run.write_report("parity", report)


def parity_failed(report: dict[str, Any], path: str) -> ParityFailed:
    """Return the error of a report in which a row is unaccounted for."""
    return ParityFailed(
        f"{describe(report)} do not agree with the lakehouse", fix=f"see {path}", report=path
    )


def _recovered(run: Run, entries: list[Entry]) -> None:
    if entries:
        run.emit("ledger_recovered", status="success", entries=len(entries))
