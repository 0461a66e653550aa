"""`Run`: all that a body gets, and all it may use to touch the outside."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from .files import dump_json, read_json, write_atomic, write_atomic_by
from .progress import Progress
from .record import find_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from .clock import Clock
    from .lifecycle import Lifecycle
    from .record import RunRecord
    from .workspace import Workspace

T = TypeVar("T")
R = TypeVar("R")

CHECKPOINT_SCHEMA = "checkpoint/1"
_MAX_CHAIN = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """What a publication carries into a table's commit.

    Attributes:
        batch_id: names the batch; publishing it again must change nothing.
        run_id: the run that publishes.
        stage_id: its stage, and the name under which `epoch` fences.
        epoch: the lock's fencing number; a table refuses a lower one than it has seen.
        lock_id: the lock's id.
    """

    batch_id: str
    run_id: str
    stage_id: str
    epoch: int
    lock_id: str | None


class Run:
    """One live run, handed to a stage's body."""

    def __init__(self, lifecycle: Lifecycle, continued_state: dict[str, Any] | None) -> None:
        self._life = lifecycle
        self.continued_state = continued_state
        """The last checkpoint of the run that this one continues; None for a fresh one."""

    @property
    def run_id(self) -> str:
        """This run's id."""
        return self._life.record.run_id

    @property
    def workspace(self) -> Workspace:
        """Where everything stands."""
        return self._life.workspace

    @property
    def clock(self) -> Clock:
        """The time to use."""
        return self._life.clock

    def step(self, name: str, *, phase: str | None = None) -> _Step:
        """Return a context in which the run is at `name`; `phase` goes into the status."""
        return _Step(self._life, name, phase)

    def report(self, **fields: Any) -> None:
        """Set `phase`, `health_check` or `candidate_count` in the status."""
        self._life.report(**fields)

    def emit(self, event: str, **fields: Any) -> None:
        """Append an event to the audit log, with the run's progress; ``durable=True`` fsyncs it."""
        self._life.emit(event, **fields)

    @property
    def max_requests_per_second(self) -> float | None:
        """The throttle in force for this run, in requests a second to a venue, or None.

        It may change at any time: ask again before each request.
        """
        return self._life.max_requests_per_second

    def rest(self, seconds: float) -> bool:
        """Wait, and tell whether the run goes on; may be called from threads of `map`.

        Args:
            seconds: how long. The wait ends early where the run is to be cancelled, or cannot go
                on; a pause waits for the end of a rest.

        Returns:
            False where the run is to end: give up what is in hand.
        """
        return self._life.rest(seconds)

    def safe_point(self) -> None:
        """Obey pause and cancel here; call it where nothing is half done."""
        self._life.safe_point()

    def expect(self, total: int) -> None:
        """Set the total of the running count; a changed one is a ``total_revised`` event."""
        progress = self._life.progress
        if progress is None:
            progress = self._life.progress = Progress(self._life.active_seconds)
        before = progress.total
        if progress.expect(total):
            self._life.emit("total_revised", status="running", before=before, total=total)

    def advance(self, by: int = 1) -> None:
        """Count `by` more items of the running count as done."""
        self._life.advance(by)

    def track(self, items: Iterable[T], total: int | None = None) -> Iterator[T]:
        """Yield `items`, a safe point before each, counting each as done after its turn."""
        self._life.progress = Progress(self._life.active_seconds)
        self._life.progress.expect(total)
        for item in items:
            self._life.safe_point()
            yield item
            self._life.advance(1)

    def map(
        self,
        fn: Callable[[T], R],
        items: Iterable[T],
        *,
        executor: Executor | None = None,
        workers: int | None = None,
        ahead: int | None = None,
    ) -> Iterator[R]:
        """Yield ``fn(item)`` in order, computed by an executor, a safe point before each.

        Args:
            fn: pure; it never sees the run. An exception in it is raised here.
            items: taken only as far as they are needed.
            executor: any ``concurrent.futures`` executor; threads by default.
            workers: threads of the default executor; the machine's cores by default.
            ahead: how many items may be in hand at once; twice the workers by default. It
                bounds memory, and the work that a pause must wait for.
        """
        count = workers or os.cpu_count() or 1
        owned = None if executor is not None else ThreadPoolExecutor(count, "quant-map")
        pool = executor or owned
        assert pool is not None  # noqa: S101 - one of the two stands
        pending: deque[Future[R]] = deque()
        source = iter(items)
        try:
            while True:
                for item in _take(source, (ahead or 2 * count) - len(pending)):
                    pending.append(pool.submit(fn, item))
                if not pending:
                    return
                self._life.safe_point(drain=lambda: _finish_all(pending))
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
            wait(pending)
            if owned is not None:
                owned.shutdown()

    def commit(
        self,
        publish: Callable[[Commit], R],
        *,
        batch_id: str,
        event: str = "batch_committed",
        describe: Callable[[R], dict[str, Any]] | None = None,
    ) -> R:
        """Publish: check ownership, call `publish`, then record the event durably.

        Args:
            publish: writes the batch; must carry the `Commit` it gets into the table.
            batch_id: the batch's name, the same for the same content.
            event: the name of the event.
            describe: turns what `publish` returned into the event's fields.

        Raises:
            OwnershipLost: the lock is no longer this run's; nothing was written.
        """
        record = self._life.record
        self._life.verify_ownership()
        with self._life.committing():
            outcome = publish(
                Commit(
                    batch_id=batch_id,
                    run_id=record.run_id,
                    stage_id=record.stage_id,
                    epoch=record.epoch,
                    lock_id=record.lock_id,
                )
            )
            fields = describe(outcome) if describe is not None else {}
            self._life.emit(event, durable=True, batch_id=batch_id, **fields)
            self._life.persist_head()
        return outcome

    def run_stage(
        self, stage_id: str, params: Mapping[str, Any] | None = None, *, fresh: bool = False
    ) -> RunRecord:
        """Run another stage as a child of this run, here and now; return its record.

        The child has its own lock, audit chain and status. It hears the directives for this run
        too, and is cancelled with it.
        """
        from .registry import StageRegistry
        from .request import RunRequest
        from .runner import run_stage

        life = self._life
        life.safe_point()
        registry = life.registry or StageRegistry.discover(life.workspace)
        request = RunRequest(
            params=params or {},
            actor=life.record.actor,
            fresh=fresh,
            stop=life.stop,
            registry=registry,
            parent_run_id=life.record.run_id,
        )
        record = run_stage(life.workspace, registry[stage_id], request, clock=life.clock)
        life.emit("child_ended", child_run_id=record.run_id, status=record.state)
        if record.state == "cancelled":
            life.hear()  # what cancelled it may be meant for this run, which has not heard it yet
        life.safe_point()
        return record

    def checkpoint(self, state: dict[str, Any]) -> None:
        """Keep `state` durably for the run that may have to continue this one."""
        document = {"schema": CHECKPOINT_SCHEMA, "run_id": self.run_id, "state": state}
        write_atomic(self._folder("checkpoint.json"), dump_json(document))

    def write_report(self, name: str, document: dict[str, Any]) -> str:
        """Write ``<name>.json`` into the run's folder; return its path in the workspace."""
        path = self._folder(f"{name}.json")
        write_atomic(path, dump_json(document))
        return self.workspace.display(path)

    def export(self, name: str, document: dict[str, Any]) -> str:
        """Write ``<name>.json`` for people and later stages; return its path in the workspace."""
        path = self.workspace.inside(self.workspace.export_dir(self.run_id) / f"{name}.json")
        write_atomic(path, dump_json(document))
        return self.workspace.display(path)

    def export_file(self, name: str, write: Callable[[Path], None]) -> str:
        """Export the file that `write` makes, whole or not at all; return its path.

        Args:
            name: the file's, with its suffix.
            write: makes the file at the path it is given, which is not yet the final one.

        Returns:
            The path in the workspace, as `export` gives it.
        """
        path = self.workspace.inside(self.workspace.export_dir(self.run_id) / name)
        write_atomic_by(path, write)
        return self.workspace.display(path)

    def _folder(self, name: str) -> Path:
        return self.workspace.inside(self.workspace.run_dir(self.run_id) / name)


class _Step:
    """A named part of a run; its begin and end are events."""

    def __init__(self, life: Lifecycle, name: str, phase: str | None) -> None:
        self._life = life
        self._name = name
        self._phase = phase
        self._began = 0.0

    def __enter__(self) -> None:
        self._life.safe_point()
        self._began = self._life.active_seconds()
        self._life.progress = None
        self._life.emit("step_started", step=self._name, status="running")
        if self._phase is not None:
            self._life.report(phase=self._phase)
        self._life.enter_step(self._name)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        seconds = round(self._life.active_seconds() - self._began, 6)
        status = "success" if kind is None else "stopped"
        self._life.emit("step_finished", step=self._name, status=status, active_seconds=seconds)


def inherited_state(workspace: Workspace, continued: RunRecord | None) -> dict[str, Any] | None:
    """Return the last checkpoint along the runs that are continued, or None where there is none.

    A run that died before its first checkpoint hands on what it had inherited.
    """
    for _ in range(_MAX_CHAIN):
        if continued is None:
            return None
        state = _read_checkpoint(workspace.run_dir(continued.run_id) / "checkpoint.json")
        if state is not None:
            return state
        continued = find_record(workspace, continued.continues)
    return None


def _read_checkpoint(path: Path) -> dict[str, Any] | None:
    try:
        state = read_json(path).get("state")
    except FileNotFoundError:
        return None
    return state if isinstance(state, dict) else None


def _finish_all(pending: Iterable[Future[Any]]) -> None:
    wait(pending)


def _take(source: Iterator[T], count: int) -> Iterator[T]:
    for _ in range(count):
        try:
            yield next(source)
        except StopIteration:
            return
