"""Steering runs from outside: write a directive, then say what really happened."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .clock import parse_iso
from .control import ANY, Action, Directive, Target, in_force, supersede
from .control_file import ControlFile
from .errors import Corrupted, InvalidIdentifier, InvalidInput
from .ids import check_label, check_run_id
from .owner import Owner, liveness
from .record import RunRecord, find_record, read_record, records
from .waiting import own_status

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime, timedelta

    from .clock import Clock
    from .registry import StageRegistry
    from .workspace import Workspace

# Live runs are among the newest; older unfinished ones are dead.
_LOOK_BACK = 200
_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of a directive.

    Attributes:
        action: what was asked.
        scope: for whom.
        outcome: of the only run concerned; ``mixed`` for several that differ, ``not_running`` for
            none (a pause then still holds for later runs).
        runs: the outcome of each run: ``pausing``, ``paused``, ``already_paused``, ``committing``,
            ``resumed``, ``already_running``, ``still_paused``, ``cancelling``, ``cancelled``.
        lifted: scopes of pauses that stood before and do not any more.
        standing: scopes of pauses that stand now, for later runs too.
    """

    action: Action
    scope: str
    outcome: str
    runs: tuple[dict[str, str], ...]
    lifted: tuple[str, ...] = ()
    standing: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the form answers carry."""
        return {
            "action": self.action,
            "scope": self.scope,
            "outcome": self.outcome,
            "runs": list(self.runs),
            "lifted": list(self.lifted),
            "standing": list(self.standing),
        }


def live_runs(workspace: Workspace, stage_id: str | None = None) -> list[RunRecord]:
    """Return the unfinished runs whose process is not known to be dead, newest first."""
    return [
        record
        for record in records(workspace, stage_id, limit=_LOOK_BACK)
        if not record.is_terminal and liveness(Owner.from_dict(record.owner))[0] != "dead"
    ]


def steer(  # noqa: PLR0913 - a directive has these parts
    workspace: Workspace,
    registry: StageRegistry | None,
    action: Action,
    *,
    scope: str = ANY,
    reason: str = "",
    actor: str,
    clock: Clock,
    lasts: timedelta | None = None,
    patience: float = 1.0,
) -> Answer:
    """Issue a directive and wait up to `patience` seconds for the runs concerned to hear it.

    `registry` is asked whether `scope` is a stage; it may be None where the scope is ``*``.

    Raises:
        InvalidInput: the scope names no stage and no run, or a cancel or resume has a duration.
    """
    _check_scope(workspace, registry, scope)
    if lasts is not None and (action != "pause" or lasts.total_seconds() <= 0):
        raise InvalidInput(
            "only a pause lasts for a time, and a positive one", fix="write: quant pause --for 30m"
        )
    now = clock.now()
    directive = Directive(
        scope=scope,
        action=action,
        issued_at=now,
        expires_at=None if lasts is None else now + lasts,
        reason=reason,
        actor=check_label(actor, "actor"),
    )
    concerned = [run for run in live_runs(workspace) if _concerns(directive, run)]
    before = {run.run_id: _state(workspace, run)[0] for run in concerned}
    file = ControlFile(workspace)
    stood = _pauses(file.read().directives, now)
    control = file.change(
        lambda old: _issue(_without_ended(workspace, old), directive, concerned, now)
    )
    deadline = clock.monotonic() + patience
    runs = []
    for run in concerned:
        state, committing = _await(workspace, run, control.digest, deadline, clock)
        outcome = _outcome(action, before[run.run_id], state, committing=committing)
        runs.append({"run_id": run.run_id, "stage_id": run.stage_id, "outcome": outcome})
    return Answer(
        action=action,
        scope=scope,
        outcome=_overall(run["outcome"] for run in runs),
        runs=tuple(runs),
        lifted=tuple(sorted(stood - _pauses(control.directives, now))),
        standing=tuple(sorted(_pauses(control.directives, now))),
    )


def _pauses(directives: Iterable[Directive], now: datetime) -> set[str]:
    """Return the scopes of the pauses that stand at `now`."""
    return {
        item.scope
        for item in directives
        if item.action == "pause" and (item.expires_at is None or item.expires_at > now)
    }


def _check_scope(workspace: Workspace, registry: StageRegistry | None, scope: str) -> None:
    if scope == ANY or (registry is not None and scope in registry):
        return
    if not workspace.run_dir(check_run_id(scope)).is_dir():
        raise InvalidInput(
            f"{scope!r} names no stage and no run of this workspace",
            fix="use *, a stage id (quant stage list) or a run id (quant run list)",
        )


def _without_ended(workspace: Workspace, directives: Iterable[Directive]) -> list[Directive]:
    """Leave out directives for runs that have ended; the file would grow for ever."""
    return [
        item for item in directives if item.scope == ANY or not _has_ended(workspace, item.scope)
    ]


def _has_ended(workspace: Workspace, scope: str) -> bool:
    try:
        record = find_record(workspace, scope)
    except (InvalidIdentifier, Corrupted):
        return False  # an editor's own word: not ours to remove
    return record is not None and record.is_terminal


def _issue(
    directives: Iterable[Directive],
    directive: Directive,
    concerned: Iterable[RunRecord],
    now: datetime,
) -> tuple[Directive, ...]:
    """Add `directive`; a cancel also by name for runs that a narrower directive would shield."""
    issued = supersede(directives, directive, now)
    if directive.action == "cancel":
        for run in concerned:
            found = in_force(issued, _target(run), now)
            if found is None or found.action != "cancel":
                issued = supersede(issued, replace(directive, scope=run.run_id), now)
    return issued


def _target(run: RunRecord) -> Target:
    return Target(
        run_id=run.run_id,
        stage_id=run.stage_id,
        started_at=parse_iso(run.created_at),
        parent_run_id=run.parent_run_id,
    )


def _concerns(directive: Directive, run: RunRecord) -> bool:
    return _target(run).specificity(directive.scope) > 0


def _await(
    workspace: Workspace,
    run: RunRecord,
    digest: str,
    deadline: float,
    clock: Clock,
) -> tuple[str, bool]:
    """Return the run's state once it has heard the directive, or when patience ends."""
    never = threading.Event()
    while True:
        state, heard, committing = _heard(workspace, run, digest)
        if heard or clock.monotonic() >= deadline:
            return state, committing
        clock.wait(never, _POLL_SECONDS)


def _heard(workspace: Workspace, run: RunRecord, digest: str) -> tuple[str, bool, bool]:
    record = read_record(workspace, run.run_id)
    status = own_status(workspace, record)
    if record.is_terminal or not status:
        return record.state, record.is_terminal, False
    control = status.get("control") or {}
    # A paused run hears of a resume before its body has woken.
    waking = control.get("directive") is None and status["state"] in {"paused", "pause_requested"}
    heard = control.get("digest") == digest and not waking
    return status["state"], heard, bool(control.get("committing"))


def _state(workspace: Workspace, run: RunRecord) -> tuple[str, bool]:
    state, _, committing = _heard(workspace, run, "")
    return state, committing


def _outcome(action: Action, before: str, state: str, *, committing: bool) -> str:
    if state in {"succeeded", "failed", "abandoned"}:
        return state
    if action == "cancel":
        return "cancelled" if state == "cancelled" else "cancelling"
    if action == "resume":
        if state in {"paused", "pause_requested"}:
            return "still_paused"
        return "resumed" if before in {"paused", "pause_requested"} else "already_running"
    if state == "paused":
        return "already_paused" if before == "paused" else "paused"
    return "committing" if committing else "pausing"


def _overall(outcomes: Iterable[str]) -> str:
    distinct = set(outcomes)
    if not distinct:
        return "not_running"
    return distinct.pop() if len(distinct) == 1 else "mixed"
