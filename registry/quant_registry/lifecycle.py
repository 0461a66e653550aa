"""The life of one run: its states, and the files that tell them.

``queued → running ⇄ pause_requested → paused``, ``cancel_requested``, then ``succeeded``,
``failed`` or ``cancelled``. Two threads meet here, the body's and the attendant's, under one lock.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .attendant import Attendant
from .audit import AuditLog
from .clock import iso, parse_iso
from .control import Target
from .control_watch import ControlWatch
from .errors import (
    Corrupted,
    OwnershipLost,
    QuantError,
    RunCancelled,
    RunFailed,
    UnknownRun,
)
from .files import make_folder
from .record import read_record, write_record
from .status import (
    HEARTBEAT_SECONDS,
    MIN_SECONDS_BETWEEN_WRITES,
    REPORTED,
    check_reported,
    next_actions,
    write_status,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .clock import Clock
    from .control import Directive
    from .lock import StageLock
    from .progress import Progress
    from .record import RunRecord, RunState
    from .registry import StageRegistry
    from .spec import StageSpec
    from .workspace import Workspace


class Lifecycle:
    """State machine of one run, with its audit log, record, status file and control."""

    def __init__(  # noqa: PLR0913 - the parts of a run, each made by the runner
        self,
        *,
        workspace: Workspace,
        spec: StageSpec,
        record: RunRecord,
        lock: StageLock | None,
        clock: Clock,
        stop: threading.Event | None = None,
        registry: StageRegistry | None = None,
    ) -> None:
        self.registry = registry
        self.workspace = workspace
        self.spec = spec
        self.clock = clock
        self.record = record
        self.audit = AuditLog(
            workspace.audit,
            run_id=record.run_id,
            stage_id=spec.id,
            actor=record.actor,
            clock=clock,
        )
        self.progress: Progress | None = None
        self.step: str | None = None
        self._lock = lock
        self.stop = self._stop = stop or threading.Event()
        target = Target(
            run_id=record.run_id,
            stage_id=spec.id,
            started_at=parse_iso(record.created_at),
            parent_run_id=record.parent_run_id,
        )
        self._control = ControlWatch(workspace, target, clock, self._stop)
        self._control_digest: str | None = None
        self._directive: Directive | None = None
        self._throttle: Directive | None = None
        self._ending = threading.Event()  # `stop` may be shared with a parent: not ours to set
        self._reported: dict[str, Any] = dict.fromkeys(REPORTED)
        self._committing = False
        self._dirty = False
        self._written_at = float("-inf")
        self._began = clock.monotonic()
        self._paused_at: float | None = None
        self._paused_seconds = 0.0
        self._fault: BaseException | None = None
        self._changed = threading.Condition(threading.RLock())
        self._attendant = Attendant(workspace.lakehouse, self._tick, self._attendant_failed)

    # What the runner calls, in this order.

    def start(self) -> None:
        """Show the run to observers, and hear what control says before any work begins."""
        make_folder(self.workspace.lakehouse)
        with self._changed:
            self.emit("run_started", continues=self.record.continues, status="running")
            self._observe()
            if self.record.state == "running":
                self._write_status()
        self._attendant.start()

    def finish(
        self,
        state: RunState,
        *,
        result: dict[str, Any] | None = None,
        error: QuantError | None = None,
    ) -> RunRecord:
        """End the run in `state`: audit first, then the record, then the status.

        A run that lost its lock may have been recorded as abandoned meanwhile; that stands.
        """
        self._attendant.stop()
        with self._changed:
            try:
                return self._finish(state, result, error)
            finally:
                self.audit.close()

    def _finish(
        self, state: RunState, result: dict[str, Any] | None, error: QuantError | None
    ) -> RunRecord:
        standing = self._standing_record()
        if standing.is_terminal:
            return standing
        document = None if error is None else error.to_dict() | {"exit_code": error.exit_code}
        self.emit(
            f"run_{state}",
            durable=True,
            status=state,
            error=document,
            **{key: value for key, value in self._reported.items() if value is not None},
        )
        self.record = self.record.changed(
            state=state,
            result=result,
            error=document,
            finished_at=iso(self.clock.now()),
            active_seconds=round(self.active_seconds(), 6),
            paused_seconds=round(self.paused_seconds(), 6),
            audit_head=self.audit.head._asdict(),
        )
        write_record(self.workspace, self.record)
        if not isinstance(error, OwnershipLost):
            self._write_status()
        return self.record

    def _standing_record(self) -> RunRecord:
        try:
            return read_record(self.workspace, self.record.run_id)
        except (UnknownRun, Corrupted):
            return self.record  # somebody removed or broke it: it is written again

    # What `Run` calls, from the body's thread.

    def emit(self, event: str, *, durable: bool = False, **fields: Any) -> None:
        """Append an event, with the progress where there is any."""
        if self.progress is not None:
            fields.setdefault("progress", self.progress.to_dict())
        self.audit.append(event, fields, durable=durable)
        self._dirty = True

    def advance(self, by: int) -> None:
        """Count more items as done; the status follows within a quarter of a second."""
        if self.progress is not None:
            self.progress.advance(by)
            self._dirty = True

    def report(self, **fields: Any) -> None:
        """Set fields of the status that observers gate on, and write it."""
        check_reported(fields)
        with self._changed:
            self._reported.update(fields)
            self._write_status()

    def enter_step(self, name: str) -> None:
        """Name the step that begins."""
        with self._changed:
            self.step = name
            self._write_status()

    def safe_point(self, drain: Callable[[], None] | None = None) -> None:
        """Obey control: return at once, wait while paused, or raise.

        Args:
            drain: waits for work that other threads still have in hand, before ``paused``.

        Raises:
            RunCancelled: the run is to end here.
        """
        if self._directive is not None or self._fault is not None or self._stop.is_set():
            self._obey(drain)

    def rest(self, seconds: float) -> bool:
        """Wait `seconds`, less where the run is to end; tell whether it goes on."""
        if seconds > 0 and not self._is_ending():
            self.clock.wait(self._ending, min(seconds, threading.TIMEOUT_MAX))
        return not self._is_ending()

    def _is_ending(self) -> bool:
        return self._ending.is_set() or self._stop.is_set()

    @property
    def max_requests_per_second(self) -> float | None:
        """The rate of the throttle in force, or None."""
        throttle = self._throttle
        return None if throttle is None else throttle.max_requests_per_second

    def hear(self) -> None:
        """Read control now, not at the next tick of the attendant."""
        with self._changed:
            self._observe()

    def verify_ownership(self) -> None:
        """Raise OwnershipLost where the lock is no longer this run's."""
        if self._lock is not None:
            self._lock.verify()

    @contextmanager
    def committing(self) -> Iterator[None]:
        """Mark the time in which a directive finds the run publishing."""
        with self._changed:
            self._committing = True
        try:
            yield
        finally:
            with self._changed:
                self._committing = False

    def persist_head(self) -> None:
        """Put the head of the audit chain into the record."""
        with self._changed:
            self._record_state(self.record.state)

    def active_seconds(self) -> float:
        """Return the seconds since the start, pauses left out."""
        return self.clock.monotonic() - self._began - self.paused_seconds()

    def paused_seconds(self) -> float:
        """Return the seconds spent in pauses, the present one included."""
        since = self._paused_at
        return self._paused_seconds + (0.0 if since is None else self.clock.monotonic() - since)

    # Control.

    def _tick(self) -> None:
        with self._changed:
            self._observe()
            since = self.clock.monotonic() - self._written_at
            if since >= HEARTBEAT_SECONDS or (self._dirty and since >= MIN_SECONDS_BETWEEN_WRITES):
                self.verify_ownership()  # the status belongs to whoever holds the lock
                self._write_status()

    def _attendant_failed(self, error: BaseException) -> None:
        with self._changed:
            self._fault = error
            self._ending.set()
            self._changed.notify_all()

    def _observe(self) -> None:
        sight = self._control.look()
        self._dirty |= sight.changed
        self._control_digest = sight.digest
        if sight.trouble is not None:
            self.emit("control_unreadable", status="warning", error=sight.trouble.to_dict())
        self._keep_to(sight.throttle)
        self._follow(sight.wanted)

    def _keep_to(self, throttle: Directive | None) -> None:
        before, self._throttle = self.max_requests_per_second, throttle
        rate = self.max_requests_per_second
        if rate != before:
            self.emit(
                "unthrottled" if throttle is None else "throttled",
                status=self.record.state,
                max_requests_per_second=rate,
                directive=None if throttle is None else throttle.to_dict(),
            )

    def _follow(self, wanted: Directive | None) -> None:
        state = self.record.state
        if state == "cancel_requested":
            return  # an edge: nothing takes it back
        self._directive = wanted
        if wanted is not None and wanted.action == "cancel":
            self._ending.set()
            self._move("cancel_requested", "cancel_requested", wanted)
        elif wanted is not None and state == "running":
            self._move("pause_requested", "pause_requested", wanted)
        elif wanted is None and state == "pause_requested":
            self._move("running", "resumed", None)
        self._changed.notify_all()

    def _obey(self, drain: Callable[[], None] | None) -> None:
        with self._changed:
            self._raise_if_ended()
        if drain is not None:
            drain()
        with self._changed:
            self._raise_if_ended()
            if self._directive is None:
                return
            self._paused_at = self.clock.monotonic()
            self._move("paused", "paused", self._directive)
            self._changed.wait_for(self._is_released)
            self._paused_seconds += self.clock.monotonic() - self._paused_at
            self._paused_at = None
            self._raise_if_ended()
            self._move("running", "resumed", None)

    def _is_released(self) -> bool:
        directive = self._directive
        return directive is None or directive.action == "cancel" or self._fault is not None

    def _raise_if_ended(self) -> None:
        if self._fault is not None:
            fault = self._fault
            if isinstance(fault, QuantError):
                raise fault
            raise RunFailed(
                f"the run could not be attended: {type(fault).__name__}: {fault}",
                fix="see that the workspace can be written, then run the stage again",
            ) from fault
        if self._stop.is_set() and self.record.state != "cancel_requested":
            self._observe()
        directive = self._directive
        if directive is not None and directive.action == "cancel":
            reason = f": {directive.reason}" if directive.reason else ""
            raise RunCancelled(
                f"cancelled by {directive.actor or 'the control file'}{reason}",
                fix=f"continue with: quant stage run {self.spec.id}",
            )

    # The files.

    def _move(self, state: RunState, event: str, directive: Directive | None) -> None:
        self.emit(
            event,
            durable=True,
            status=state,
            directive=None if directive is None else directive.to_dict(),
        )
        self._record_state(state)
        self._write_status()

    def _record_state(self, state: RunState) -> None:
        self.record = self.record.changed(state=state, audit_head=self.audit.head._asdict())
        write_record(self.workspace, self.record)

    def _write_status(self) -> None:
        self._dirty = False
        self._written_at = self.clock.monotonic()
        write_status(
            self.workspace.status_file(self.spec, self.record.run_id), self._status_document()
        )

    def _status_document(self) -> dict[str, Any]:
        record, directive, throttle = self.record, self._directive, self._throttle
        now = iso(self.clock.now())
        return {
            **self._reported,
            "last_update": now,
            "lock_id": record.lock_id,
            "can_resume": record.state != "succeeded",
            "stage_id": record.stage_id,
            "run_id": record.run_id,
            "state": record.state,
            "step": self.step,
            "progress": None if self.progress is None else self.progress.to_dict(),
            "owner": record.owner,
            "heartbeat_at": now,
            "seq": self.audit.head.seq,
            "control": {
                "digest": self._control_digest,
                "directive": None if directive is None else directive.to_dict(),
                "throttle": None if throttle is None else throttle.to_dict(),
                "committing": self._committing,
            },
            "error": record.error,
            "next_actions": next_actions(
                record.state,
                run_id=record.run_id,
                stage_id=record.stage_id,
                scope=None if directive is None else directive.scope,
            ),
        }
