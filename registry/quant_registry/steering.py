"""Steering runs from outside: write a directive, then say what really happened."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from .clock import parse_iso
from .control import ANY, RATE, Action, Directive, Target, check_rate, in_force, supersede
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
            ``resumed``, ``already_running``, ``still_paused``, ``cancelling``, ``cancelled``,
            ``throttling``, ``throttled``, ``unthrottling``, ``unthrottled``, ``still_throttled``
            (to another rate, by a narrower throttle).
        lifted: scopes of pauses that stood before and do not any more; after a throttle, of
            throttles.
        standing: scopes of pauses that stand now, for later runs too; after a throttle, of
            throttles.
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
    max_requests_per_second: float | None = None,
    patience: float = 1.0,
) -> Answer:
    """Issue a directive and wait up to `patience` seconds for the runs concerned to hear it.

    `registry` is asked whether `scope` is a stage; it may be None where the scope is ``*``.
    `max_requests_per_second` is the rate of a throttle; None lifts it.

    Raises:
        InvalidInput: the scope names no stage and no run, the rate is none, or what only ends or
            lifts has a duration.
    """
    _check_scope(workspace, registry, scope)
    now = clock.now()
    directive = Directive(
        scope=scope,
        action=action,
        issued_at=now,
        expires_at=None if lasts is None else now + lasts,
        reason=reason,
        actor=check_label(actor, "actor"),
        max_requests_per_second=(
            None if max_requests_per_second is None else check_rate(max_requests_per_second)
        ),
    )
    if lasts is not None and (not directive.holds or lasts.total_seconds() <= 0):
        raise InvalidInput(
            "only a pause or a throttle lasts for a time, and a positive one",
            fix="write: quant pause --for 30m",
        )
    concerned = [run for run in live_runs(workspace) if _concerns(directive, run)]
    before = {run.run_id: _heard(workspace, run, "").state for run in concerned}
    file = ControlFile(workspace)
    stood = _levels(file.read().directives, directive, now)
    control = file.change(
        lambda old: _issue(_without_ended(workspace, old), directive, concerned, now)
    )
    deadline = clock.monotonic() + patience
    runs = []
    for run in concerned:
        heard = _await(workspace, run, control.digest, deadline, clock)
        outcome = _outcome(directive, before[run.run_id], heard)
        runs.append({"run_id": run.run_id, "stage_id": run.stage_id, "outcome": outcome})
    return Answer(
        action=action,
        scope=scope,
        outcome=_overall(run["outcome"] for run in runs),
        runs=tuple(runs),
        lifted=tuple(sorted(stood - _levels(control.directives, directive, now))),
        standing=tuple(sorted(_levels(control.directives, directive, now))),
    )


def _levels(directives: Iterable[Directive], like: Directive, now: datetime) -> set[str]:
    """Return the scopes of the pauses that stand at `now`; where `like` is one, of throttles."""
    return {
        item.scope
        for item in directives
        if item.holds and item.is_weighed_with(like) and not item.is_expired(now)
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


class _Heard(NamedTuple):
    """What a run tells of what it has heard; `rate` is of the throttle that it keeps to."""

    state: str
    heard: bool
    committing: bool = False
    rate: Any = None


def _await(
    workspace: Workspace,
    run: RunRecord,
    digest: str,
    deadline: float,
    clock: Clock,
) -> _Heard:
    """Return what the run tells once it has heard the directive, or when patience ends."""
    never = threading.Event()
    while True:
        told = _heard(workspace, run, digest)
        if told.heard or clock.monotonic() >= deadline:
            return told
        clock.wait(never, _POLL_SECONDS)


def _heard(workspace: Workspace, run: RunRecord, digest: str) -> _Heard:
    record = read_record(workspace, run.run_id)
    status = own_status(workspace, record)
    if record.is_terminal or not status:
        return _Heard(record.state, record.is_terminal)
    control = status.get("control") or {}
    # A paused run hears of a resume before its body has woken.
    waking = control.get("directive") is None and status["state"] in {"paused", "pause_requested"}
    throttle = control.get("throttle")
    return _Heard(
        status["state"],
        heard=control.get("digest") == digest and not waking,
        committing=bool(control.get("committing")),
        rate=throttle.get(RATE) if isinstance(throttle, dict) else None,
    )


def _outcome(directive: Directive, before: str, told: _Heard) -> str:
    action, state = directive.action, told.state
    if state in {"succeeded", "failed", "abandoned"}:
        return state
    if action == "throttle":
        return _throttled(directive, told)
    if action == "cancel":
        return "cancelled" if state == "cancelled" else "cancelling"
    if action == "resume":
        if state in {"paused", "pause_requested"}:
            return "still_paused"
        return "resumed" if before in {"paused", "pause_requested"} else "already_running"
    return _paused(before, told)


def _paused(before: str, told: _Heard) -> str:
    if told.state == "paused":
        return "already_paused" if before == "paused" else "paused"
    return "committing" if told.committing else "pausing"


def _throttled(directive: Directive, told: _Heard) -> str:
    wanted = directive.max_requests_per_second
    if told.state == "cancelled":
        return told.state
    if not told.heard:
        return "unthrottling" if wanted is None else "throttling"
    if told.rate == wanted:
        return "unthrottled" if wanted is None else "throttled"
    return "still_throttled"


def _overall(outcomes: Iterable[str]) -> str:
    distinct = set(outcomes)
    if not distinct:
        return "not_running"
    return distinct.pop() if len(distinct) == 1 else "mixed"
