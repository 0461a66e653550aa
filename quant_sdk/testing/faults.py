"""Fault points: named places of a run at which a test lets it fail, stop or die.

===========================  ===================================================================
``before_commit``            `Run.commit` was called; nothing is published yet
``after_commit``             the data is in the tables, its event is on disk
``before_checkpoint``        `Run.checkpoint` was called; the last checkpoint still stands
``before_terminal_record``   the body has ended; neither audit, record nor status say so yet
===========================  ===================================================================
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

from quant_registry.errors import Conflict, UnknownName
from quant_registry.lifecycle import Lifecycle
from quant_registry.run import Run
from quant_sdk.testing._process import is_test_process
from quant_sdk.testing.patience import SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

POINTS: Final = ("before_commit", "after_commit", "before_checkpoint", "before_terminal_record")
"""The points, in the order in which a run comes to them."""

# Where each point is: the class, its method, the point before the call and the one after it.
_PLACES: Final[tuple[tuple[type[Any], str, str | None, str | None], ...]] = (
    (Run, "commit", "before_commit", "after_commit"),
    (Run, "checkpoint", "before_checkpoint", None),
    (Lifecycle, "finish", "before_terminal_record", None),
)


class UnknownPoint(UnknownName):
    """There is no fault point of that name."""

    noun = "fault point"
    fix = f"the points are {', '.join(POINTS)}"


class Gate:
    """Where a run waits until the test lets it through."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self._open = threading.Event()

    def wait_until_reached(self) -> None:
        """Wait until the run stands at the gate; at most 30 seconds, then AssertionError."""
        if not self._reached.wait(SECONDS):
            raise AssertionError(f"no run came to the gate within {SECONDS:g} s")

    def release(self) -> None:
        """Let it through; safe to call twice."""
        self._open.set()

    def __call__(self) -> None:
        """Stand at the gate."""
        self._reached.set()
        if not self._open.wait(SECONDS):
            raise AssertionError(f"the gate was not opened within {SECONDS:g} s")


class FaultPoints:
    """What happens at which point; made by `fault_points`.

    Each fault happens once, to whichever run of this process comes to the point for the
    `occurrence`-th time since it was planned.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._planned: list[_Fault] = []

    def raise_at(self, point: str, error: BaseException, *, occurrence: int = 1) -> None:
        """Raise `error` there, as a full disk or a venue that is away would."""

        def act() -> None:
            raise error

        self._plan(point, act, occurrence)

    def pause_at(self, point: str, *, occurrence: int = 1) -> Gate:
        """Hold the run's own thread there; return the gate that lets it through."""
        gate = Gate()
        self._plan(point, gate, occurrence)
        return gate

    def kill_at(self, point: str, *, occurrence: int = 1) -> None:
        """Kill this process there with SIGKILL; use `StageRunner.run_killed_at` from a test.

        Raises:
            Conflict: this process is the one that pytest runs in.
        """
        _refuse_in_test_process()
        self._plan(point, _kill, occurrence)

    def reach(self, point: str | None) -> None:
        """Do what is planned for this coming to `point`."""
        with self._lock:
            due = [fault for fault in self._planned if fault.point == point and fault.is_due()]
        for fault in due:
            fault.act()

    def release_all(self) -> None:
        """Open every gate."""
        for fault in self._planned:
            if isinstance(fault.act, Gate):
                fault.act.release()

    def _plan(self, point: str, act: Callable[[], None], occurrence: int) -> None:
        if point not in POINTS:
            raise UnknownPoint(point, POINTS)
        with self._lock:
            self._planned.append(_Fault(point, act, occurrence))


class _Fault:
    """Something that happens once, at the n-th coming to its point."""

    def __init__(self, point: str, act: Callable[[], None], occurrence: int) -> None:
        self.point = point
        self.act = act
        self._left = occurrence

    def is_due(self) -> bool:
        self._left -= 1
        return self._left == 0


@contextmanager
def fault_points() -> Iterator[FaultPoints]:
    """Return a context in which runs of this process meet the faults that are planned in it.

    At its end everything is as before and every gate is open. Contexts may stand within each
    other; they are not for two threads at once.
    """
    faults = FaultPoints()
    before = [(home, name, getattr(home, name)) for home, name, _, _ in _PLACES]
    try:
        for (home, name, enter, leave), (_, _, method) in zip(_PLACES, before, strict=True):
            setattr(home, name, _watched(method, faults, enter, leave))
        yield faults
    finally:
        faults.release_all()
        for home, name, method in before:
            setattr(home, name, method)


def _watched(
    method: Callable[..., Any], faults: FaultPoints, enter: str | None, leave: str | None
) -> Callable[..., Any]:
    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            faults.reach(enter)
        except BaseException:
            _let_go(args[0])
            raise
        outcome = method(*args, **kwargs)
        faults.reach(leave)
        return outcome

    return call


def _let_go(subject: Any) -> None:
    """End the thread beside a run that gets no terminal record; in a dead process none goes on."""
    if isinstance(subject, Lifecycle):
        subject._attendant.stop()  # noqa: SLF001 - nothing public ends a run without its record


def _kill() -> None:
    _refuse_in_test_process()
    os.kill(os.getpid(), signal.SIGKILL)


def _refuse_in_test_process() -> None:
    if is_test_process():
        raise Conflict(
            "the tests run in this process, so it is not killed",
            fix="kill a run in a process of its own: StageRunner.run_killed_at(point, stage_id)",
        )
