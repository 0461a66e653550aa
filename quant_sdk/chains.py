"""The audit chains of a workspace, held against the heads that the run records name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quant_registry.audit_reader import ChainReport, verify_chain
from quant_registry.errors import Corrupted, InvalidIdentifier, UnknownRun
from quant_registry.record import read_record, run_ids

if TYPE_CHECKING:
    from quant_registry.workspace import Workspace


def verify_chains(workspace: Workspace, run_id: str | None = None) -> list[ChainReport]:
    """Check the chain of a run, or of every run, down to the last event its record knows.

    A run whose record cannot be read is reported as broken: its chain's end is unknown. Runs may
    go on writing meanwhile.

    Raises:
        UnknownRun: neither the records nor the log know `run_id`.
    """
    heads: dict[str, tuple[int, str]] = {}
    unreadable: list[ChainReport] = []
    # Records first: what they name is in the log that is read after them.
    for name in run_ids(workspace) if run_id is None else [run_id]:
        try:
            head = read_record(workspace, name).audit_head
            heads[name] = int(head["seq"]), str(head["hash"])
        except (UnknownRun, InvalidIdentifier):
            continue  # a folder without a record: it never became a run
        except (Corrupted, KeyError, TypeError, ValueError, OSError) as error:
            reason = f"its record cannot be read: {error}"
            unreadable.append(ChainReport(run_id=name, events=0, ok=False, reason=reason))
    known = verify_chain(workspace.audit, run_id=run_id, heads=heads)
    broken = {report.run_id for report in unreadable}
    reports = unreadable + [report for report in known if report.run_id not in broken]
    if run_id is not None and not reports:
        raise UnknownRun(run_id, run_ids(workspace))
    return reports
