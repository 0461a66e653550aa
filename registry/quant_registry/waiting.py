"""Waiting for a run: one blocking call instead of polling, over the run's own files."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from .errors import Corrupted, InvalidInput, WaitTimeout
from .lock import view_lock
from .owner import Owner, liveness
from .record import RunRecord, RunState, find_record, read_record
from .status import PHASES, read_status

if TYPE_CHECKING:
    from .clock import Clock
    from .workspace import Workspace

# Two small files are read at each look.
POLL_SECONDS = 0.025
# Whether the process lives is asked less often.
_LIVENESS_LOOKS = 20
# A run lets go of its lock within milliseconds of its terminal record.
_RELEASE_SECONDS = 1.0
_RELEASE_POLL_SECONDS = 0.002
_FIX = "use terminal, paused, state=NAME, phase=NAME or percent>=N"
_COMPARED = re.compile(r"(state|phase)=([a-z_]+)|percent>=(\d+(?:\.\d+)?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What is waited for: ``terminal``, or a field of the status with a value."""

    text: str
    field: str
    value: str | float

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read ``terminal``, ``paused``, ``state=NAME``, ``phase=NAME`` or ``percent>=N``.

        Raises:
            InvalidInput: anything else.
        """
        plain = re.sub(r"\s", "", text)
        if plain in {"terminal", "paused"}:
            return cls(text=plain, field="state", value=plain)
        found = _COMPARED.fullmatch(plain)
        if found is None:
            raise InvalidInput(f"cannot wait for {text[:60]!r}", fix=_FIX)
        name, value, percent = found.groups()
        if name is None:
            return cls(text=plain, field="percent", value=float(percent))
        known = {"state": get_args(RunState), "phase": PHASES}[name]
        if value not in known:
            raise InvalidInput(
                f"no {name} is called {value[:40]!r}", fix=f"use one of {', '.join(known)}"
            )
        return cls(text=plain, field=name, value=value)

    def holds(self, record: RunRecord, status: dict[str, Any]) -> bool:
        """Tell whether the run is there."""
        if self.value == "terminal":
            return record.is_terminal
        if self.field == "percent":
            percent = (status.get("progress") or {}).get("percent")
            return percent is not None and percent >= float(self.value)
        found = record.state if self.field == "state" else status.get(self.field)
        return found == self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Waited:
    """What a wait came to.

    Attributes:
        met: the condition holds; False where the run ended, or its process died, without it.
        until: the condition.
        record: the run's record.
        status: its last status, empty where there is none.
        evidence: why it will not come, where it was not met.
    """

    met: bool
    until: str
    record: RunRecord
    status: dict[str, Any]
    evidence: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the form answers carry: the handle, and where the run stands."""
        return {
            "run_id": self.record.run_id,
            "stage_id": self.record.stage_id,
            "until": self.until,
            "met": self.met,
            "state": self.record.state,
            "phase": self.status.get("phase"),
            "progress": self.status.get("progress"),
            "seq": self.status.get("seq"),
            "evidence": self.evidence,
            "error": self.record.error,
            "exit_code": self.record.exit_code if self.record.is_terminal else None,
        }


def wait_for(  # noqa: PLR0913 - clock and stop are seams
    workspace: Workspace,
    run_id: str,
    until: str,
    *,
    timeout: float | None,
    clock: Clock,
    stop: threading.Event | None = None,
) -> Waited:
    """Wait until the condition holds, or cannot come any more.

    Args:
        workspace: where the run is.
        run_id: the run.
        until: see `Condition.parse`.
        timeout: seconds; None waits as long as it takes.
        clock: the time.
        stop: set it, from any thread, to end the wait; the run goes on.

    Raises:
        UnknownRun: no such run.
        WaitTimeout: time ran out; the error's `waited` holds where the run stands.
    """
    condition = Condition.parse(until)
    deadline = None if timeout is None else clock.monotonic() + timeout
    stop = stop or threading.Event()
    looks = 0
    while True:
        record = read_record(workspace, run_id)
        status = own_status(workspace, record)
        if condition.holds(record, status):
            if record.is_terminal:
                _await_release(workspace, record, clock)
            return Waited(met=True, until=condition.text, record=record, status=status)
        if record.is_terminal:
            evidence = f"the run ended {record.state}"
            return _not_met(condition, record, status, evidence)
        if looks % _LIVENESS_LOOKS == 0:
            life, evidence = liveness(Owner.from_dict(record.owner))
            if life == "dead" and not read_record(workspace, run_id).is_terminal:
                return _not_met(condition, record, status, evidence)
        if deadline is not None and clock.monotonic() >= deadline:
            raise _out_of_time(condition, record, status, timeout)
        looks += 1
        if clock.wait(stop, POLL_SECONDS):
            return _not_met(condition, record, status, "the wait was stopped")


def _await_release(workspace: Workspace, record: RunRecord, clock: Clock) -> None:
    """Wait until an ended run has let go of its lock, a moment after its terminal record.

    Whoever waited for the end may start the stage again at once.
    """
    never = threading.Event()
    deadline = clock.monotonic() + _RELEASE_SECONDS
    while record.epoch and clock.monotonic() < deadline:
        view = view_lock(workspace, record.stage_id)
        if view.state != "alive" or view.run_id != record.run_id:
            return
        clock.wait(never, _RELEASE_POLL_SECONDS)


class End:
    """Tells whether nothing will come of a run any more; asked often, it looks seldom.

    Args:
        workspace: where the run is.
        run_id: the run; one that is not recorded may come yet.
        clock: the time.
    """

    def __init__(self, workspace: Workspace, run_id: str, clock: Clock) -> None:
        self._workspace = workspace
        self._run_id = run_id
        self._clock = clock
        self._looked_at = float("-inf")
        self.evidence = ""
        """Why nothing will come, once that is so."""

    def __call__(self) -> bool:
        """Look, unless that was just done."""
        now = self._clock.monotonic()
        if not self.evidence and now - self._looked_at >= _LIVENESS_LOOKS * POLL_SECONDS:
            self._looked_at = now
            self.evidence = self._look()
        return bool(self.evidence)

    def _look(self) -> str:
        record = find_record(self._workspace, self._run_id)
        if record is None:
            return ""
        life, evidence = liveness(Owner.from_dict(record.owner))
        record = read_record(self._workspace, self._run_id)
        if record.is_terminal:
            return f"the run ended {record.state}"
        return evidence if life == "dead" else ""


def own_status(workspace: Workspace, record: RunRecord) -> dict[str, Any]:
    """Return the last status that this very run wrote; empty where another has followed."""
    try:
        status = read_status(workspace.root / record.status_file) if record.status_file else None
    except Corrupted:
        return {}  # a live run writes it anew within a second
    return status if status is not None and status.get("run_id") == record.run_id else {}


def _not_met(
    condition: Condition, record: RunRecord, status: dict[str, Any], evidence: str
) -> Waited:
    return Waited(met=False, until=condition.text, record=record, status=status, evidence=evidence)


def _out_of_time(
    condition: Condition, record: RunRecord, status: dict[str, Any], timeout: float | None
) -> WaitTimeout:
    waited = Waited(met=False, until=condition.text, record=record, status=status)
    return WaitTimeout(
        f"{record.run_id} is {record.state}, not {condition.text}, after {timeout:g} s",
        fix=f"wait longer, or ask: quant explain {record.run_id}",
        waited=waited.to_dict(),
    )
