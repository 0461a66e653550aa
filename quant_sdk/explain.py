"""Why a run is not moving, or that it moves: one sentence, the evidence, and what helps."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from quant_registry.audit_reader import tail
from quant_registry.clock import parse_iso
from quant_registry.control_file import ControlFile
from quant_registry.lock import LockView, view_lock
from quant_registry.owner import Owner, liveness
from quant_registry.record import RunRecord, read_record
from quant_registry.waiting import own_status
from quant_sdk.moments import age, recent_events, spell

if TYPE_CHECKING:
    from datetime import datetime

    from quant_registry.clock import Clock
    from quant_registry.control_file import Control
    from quant_registry.workspace import Workspace

# A heartbeat comes every second; this many are missing before it is told.
_STALE_SECONDS = 5.0
# Work without an event for so long is worth telling.
_SILENT_SECONDS = 30.0
_RATE_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a run stands where it stands.

    Attributes:
        run_id: the run.
        state: as its record tells it.
        sentence: why it is not moving, or that it moves.
        evidence: what that rests on, a sentence each.
        commands: what helps, most helpful first.
    """

    run_id: str
    state: str
    sentence: str
    evidence: tuple[str, ...]
    commands: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the form answers carry."""
        return {
            "run_id": self.run_id,
            "state": self.state,
            "sentence": self.sentence,
            "evidence": list(self.evidence),
            "commands": list(self.commands),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """All that is looked at; read once, so that the reasons agree with each other."""

    record: RunRecord
    status: dict[str, Any]
    life: str
    evidence: str
    lock: LockView | None
    control: Control
    events: list[dict[str, Any]]
    now: datetime

    @property
    def directive(self) -> dict[str, Any]:
        """The directive that the run obeys; empty where there is none."""
        return (self.status.get("control") or {}).get("directive") or {}

    @property
    def committing(self) -> bool:
        """Whether the run is publishing."""
        return bool((self.status.get("control") or {}).get("committing"))

    @property
    def follow(self) -> str:
        """The command that shows what it does."""
        return f"quant run tail {self.record.run_id} --follow"

    @property
    def again(self) -> str:
        """The command that continues it."""
        return f"quant stage run {self.record.stage_id}"

    @property
    def where(self) -> str:
        """The step, in a form to be appended."""
        step = self.status.get("step")
        return f" in step {step}" if step else ""

    @property
    def silence(self) -> float:
        """The seconds since its last event, as far as that is known."""
        last = self.events[-1].get("timestamp") if self.events else self.record.created_at
        return age(last, self.now) or 0.0


Reason = tuple[str, tuple[str, ...]]


def explain(workspace: Workspace, run_id: str, *, clock: Clock) -> Explanation:
    """Return why a run is not moving, from the files and the process table alone.

    Raises:
        UnknownRun: no such run.
    """
    case = _look(workspace, run_id, clock)
    sentence, commands = next(found for reason in REASONS if (found := reason(case)) is not None)
    return Explanation(
        run_id=run_id,
        state=case.record.state,
        sentence=sentence,
        evidence=tuple(_evidence(case)),
        commands=commands,
    )


def _look(workspace: Workspace, run_id: str, clock: Clock) -> Case:
    record = read_record(workspace, run_id)
    life, evidence = liveness(Owner.from_dict(record.owner))
    if life == "dead":
        record = read_record(workspace, run_id)  # it may have written its end and gone
    return Case(
        record=record,
        status=own_status(workspace, record),
        life=life,
        evidence=evidence,
        lock=view_lock(workspace, record.stage_id) if record.lock_id else None,
        control=ControlFile(workspace).read(),
        events=_events(workspace, run_id),
        now=clock.now(),
    )


def _events(workspace: Workspace, run_id: str) -> list[dict[str, Any]]:
    """Return the run's events among the newest of all, else at least its last one."""
    events = [event for event in recent_events(workspace.audit) if event.get("run_id") == run_id]
    return events or list(deque(tail(workspace.audit, run_id=run_id), maxlen=1))


def _ended(case: Case) -> Reason | None:
    record = case.record
    if not record.is_terminal:
        return None
    show = f"quant run show {record.run_id}"
    error = record.error or {}
    since = spell(age(record.finished_at, case.now) or 0.0)
    if record.state == "succeeded":
        return f"it succeeded {since} ago, after {record.active_seconds:.1f} s of work", (show,)
    if record.state == "abandoned":
        return f"its process died before it could write its end: {record.evidence}", (case.again,)
    if record.state == "cancelled":
        message = error.get("message") or "cancelled"
        return f"it was {message}, {since} ago", (case.again,)
    return f"it failed {since} ago: {error.get('message') or 'for no known reason'}", (
        show,
        case.again,
    )


def _dead(case: Case) -> Reason | None:
    if case.life != "dead":
        return None
    return (
        f"its process is dead, and it will not move again: {case.evidence}",
        (case.again, "quant doctor --bury"),
    )


def _frozen(case: Case) -> Reason | None:
    if case.life != "frozen":
        return None
    wake = f"kill -CONT {case.record.owner.get('pid')}"
    recover = f"quant lock recover {case.record.stage_id} {case.record.lock_id}"
    holds = case.lock is not None and case.lock.run_id == case.record.run_id
    return (
        f"its process is frozen: {case.evidence}",
        (wake, recover) if holds else (wake,),
    )


def _control_unreadable(case: Case) -> Reason | None:
    error = case.control.error
    if error is None or case.record.state not in {"paused", "pause_requested"}:
        return None
    return f"it is paused because {error.message}", ("quant resume",)


def _paused(case: Case) -> Reason | None:
    if case.record.state != "paused":
        return None
    directive = case.directive
    standing = _is_before(directive.get("issued_at"), case.record.created_at)
    began = "it started under a standing pause" if standing else "it is paused"
    return f"{began}{_whose(directive)}", (
        _resume(directive, case),
        f"quant cancel --scope {case.record.run_id}",
    )


def _asked(case: Case) -> Reason | None:
    wish = {"pause_requested": "pause", "cancel_requested": "end"}.get(case.record.state)
    if wish is None:
        return None
    busy = "it publishes a batch" if case.committing else "it has not reached a safe point"
    commands = (case.follow,) if wish == "end" else (case.follow, _resume(case.directive, case))
    return (
        (
            f"it was asked to {wish}{_whose(case.directive)}, and goes on until then: {busy}"
            f"{case.where}, its last event {spell(case.silence)} ago"
        ),
        commands,
    )


def _queued(case: Case) -> Reason | None:
    if case.record.state != "queued":
        return None
    lock = case.lock
    if lock is not None and lock.state != "free" and lock.run_id != case.record.run_id:
        return (
            (
                f"it is queued while {lock.lock_id!r} of run {lock.run_id} holds the lock "
                f"({lock.state}: {lock.evidence})"
            ),
            (f"quant explain {lock.run_id}", f"quant wait {lock.run_id}"),
        )
    since = spell(age(case.record.created_at, case.now) or 0.0)
    return f"it was queued {since} ago, and its process is starting", (
        f"quant wait {case.record.run_id} --until state=running",
    )


def _unattended(case: Case) -> Reason | None:
    late = age(case.status.get("heartbeat_at"), case.now)
    if late is None or late < _STALE_SECONDS:
        return None
    return (
        (
            f"its process lives but has sent no heartbeat for {spell(late)}{case.where}: it is "
            "starved, or waits for the disk"
        ),
        (case.follow, "quant doctor"),
    )


def _publishing(case: Case) -> Reason | None:
    if not case.committing:
        return None
    return f"it publishes a batch{case.where}, since {spell(case.silence)}", (case.follow,)


def _silent(case: Case) -> Reason | None:
    if case.silence < _SILENT_SECONDS or _rate(case):
        return None
    return (
        f"it lives and is attended, but has told of nothing for {spell(case.silence)}{case.where}",
        (case.follow, f"quant cancel --scope {case.record.run_id}"),
    )


def _moving(case: Case) -> Reason:
    rate = _rate(case)
    told = f", {rate:.3g} items a second" if rate else ""
    return f"it moves{case.where}: its last event was {spell(case.silence)} ago{told}", (
        case.follow,
    )


# The first that fits is the answer; the last always fits.
REASONS = (
    _ended,
    _dead,
    _frozen,
    _control_unreadable,
    _paused,
    _asked,
    _queued,
    _unattended,
    _publishing,
    _silent,
    _moving,
)


def _evidence(case: Case) -> list[str]:
    found = []
    if not case.record.is_terminal:
        found.append(case.evidence)
    if case.events:
        last = case.events[-1]
        found.append(f"last event: {last.get('event')} (seq {last.get('seq')}) at "
                     f"{last.get('timestamp')}")  # fmt: skip
    beat = age(case.status.get("heartbeat_at"), case.now)
    if beat is not None and not case.record.is_terminal:
        found.append(f"last heartbeat {spell(beat)} ago")
    progress = case.status.get("progress") or {}
    if progress.get("total") is not None:
        found.append(f"progress {progress['current']} of {progress['total']}")
    if case.record.continues:
        found.append(f"it continues {case.record.continues}")
    if case.record.error and case.record.error.get("fix"):
        found.append(f"fix: {case.record.error['fix']}")
    return found


def _whose(directive: dict[str, Any]) -> str:
    """Return by whom, since when, why and until when, in a form to be appended."""
    told = f" by {directive.get('actor') or 'the control file'}"
    if directive.get("issued_at"):
        told += f" since {directive['issued_at']}"
    if directive.get("expires_at"):
        told += f" until {directive['expires_at']}"
    return told + (f" ({directive['reason']})" if directive.get("reason") else "")


def _resume(directive: dict[str, Any], case: Case) -> str:
    scope = directive.get("scope") or case.record.run_id
    return "quant resume" if scope == "*" else f"quant resume --scope {scope}"


def _is_before(moment: Any, other: str) -> bool:
    try:
        return parse_iso(str(moment)) < parse_iso(other)
    except ValueError:
        return False


def _rate(case: Case) -> float | None:
    """Return the items a second of the last minute; None where the events do not tell."""
    counted = [
        (since, progress["current"])
        for event in case.events
        if isinstance(progress := event.get("progress"), dict)
        and isinstance(progress.get("current"), int)
        and (since := age(event.get("timestamp"), case.now)) is not None
        and since <= _RATE_SECONDS
    ]
    if len(counted) < 2:  # noqa: PLR2004 - a rate needs two points
        return None
    (first, before), (last, after) = counted[0], counted[-1]
    return (after - before) / (first - last) if first > last and after > before else None
