"""Runs whose process died: found, and given the terminal record they could not write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .audit import AuditLog
from .audit_reader import chain_end
from .clock import iso
from .errors import Corrupted
from .files import make_folder
from .owner import Owner, liveness
from .record import TERMINAL, RunRecord, RunState, read_record, records, write_record
from .status import next_actions, read_status, write_status

if TYPE_CHECKING:
    from filelock import BaseFileLock

    from .clock import Clock
    from .spec import StageSpec
    from .workspace import Workspace

# Unfinished runs are the newest ones: one at a time under a lock, few without.
_LOOK_BACK = 20


def bury_abandoned(
    workspace: Workspace, spec: StageSpec, *, clock: Clock, actor: str, lock_held: bool
) -> list[RunRecord]:
    """Write the terminal record of every unfinished run of `spec` whose owner cannot finish it.

    Args:
        workspace: where to look.
        spec: the stage.
        clock: for the time of death.
        actor: who writes the record.
        lock_held: the caller holds the stage's lock, so no other run of it can publish any more.
    """
    buried = []
    for record in records(workspace, spec.id, limit=_LOOK_BACK):
        if record.is_terminal:
            continue
        life, evidence = liveness(Owner.from_dict(record.owner))
        # A queued run does not hold the lock yet; its process is on its way to ask for it.
        if life == "dead" or (lock_held and record.state != "queued"):
            ended = bury(workspace, record, evidence, clock=clock, actor=actor)
            if ended is not None:
                buried.append(ended)
    return buried


def bury(
    workspace: Workspace, record: RunRecord, evidence: str, *, clock: Clock, actor: str
) -> RunRecord | None:
    """Write the terminal record of a run whose owner cannot; None where another has."""
    with burial(workspace):
        if read_record(workspace, record.run_id).is_terminal:
            return None
        return _bury(workspace, record, evidence, clock=clock, actor=actor)


def burial(workspace: Workspace) -> BaseFileLock:
    """Return the lock without which two would append to one dead run's chain."""
    from filelock import FileLock

    make_folder(workspace.locks)
    return FileLock(workspace.locks / "abandoned.lock", fallback_to_soft=False)


def _bury(
    workspace: Workspace, record: RunRecord, evidence: str, *, clock: Clock, actor: str
) -> RunRecord:
    head, last = chain_end(workspace.audit, record.run_id)
    recorded = _recorded_end(last)
    written = int(record.audit_head.get("seq", 0))
    if written > head.seq:
        evidence += f"; the audit log lost its events {head.seq + 1} to {written}"
    if recorded is None:
        log = AuditLog(
            workspace.audit,
            run_id=record.run_id,
            stage_id=record.stage_id,
            actor=actor,
            clock=clock,
            head=head,
        )
        fields = {"status": "abandoned", "evidence": evidence, "last_event": last.get("event")}
        head = log.append("run_abandoned", fields, durable=True)
        log.close()
    ended = record.changed(
        state=recorded or "abandoned",
        finished_at=iso(clock.now()),
        evidence=f"last event: {last.get('event')} at {last.get('timestamp')}; {evidence}",
        audit_head=head._asdict(),
    )
    write_record(workspace, ended)
    _correct_status(workspace, ended)
    return ended


def _recorded_end(last: dict[str, object]) -> RunState | None:
    """Return the end that the audit log knows: the run died between it and its record."""
    status = last.get("status")
    if str(last.get("event")) == f"run_{status}" and status in TERMINAL:
        return status  # type: ignore[return-value]
    return None


def _correct_status(workspace: Workspace, record: RunRecord) -> None:
    if record.status_file is None:
        return
    path = workspace.inside(workspace.root / record.status_file)
    try:
        status = read_status(path)
    except Corrupted:
        return  # no word of this run in it; the next one writes it anew
    if status is not None and status.get("run_id") == record.run_id:
        changes = {
            "state": record.state,
            "last_update": record.finished_at,
            "can_resume": record.state != "succeeded",
            "next_actions": next_actions(
                record.state, run_id=record.run_id, stage_id=record.stage_id, scope=None
            ),
        }
        write_status(path, status | changes)
