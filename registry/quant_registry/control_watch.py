"""What control asks of one run: the directives in force, and a control file gone unreadable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .control import ANY, Action, Directive, Target, in_force, throttle_in_force
from .control_file import ControlFile

if TYPE_CHECKING:
    import threading

    from .clock import Clock
    from .control_file import Control
    from .errors import InvalidControl
    from .workspace import Workspace

# An editor in the middle of saving leaves the control file unreadable for a moment: after
# SAVING_SECONDS it is told, after GRACE_SECONDS the run pauses.
SAVING_SECONDS = 0.3
GRACE_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """One look at the control file.

    Attributes:
        wanted: the pause or cancel that the run must obey, or None.
        throttle: the throttle that the run must keep to, or None.
        digest: of the file's content.
        changed: the content is another than at the last look.
        trouble: why the file cannot be read, once, when it is time to tell.
    """

    wanted: Directive | None
    throttle: Directive | None
    digest: str
    changed: bool
    trouble: InvalidControl | None


class ControlWatch:
    """Looks at the control file on behalf of `target`.

    Args:
        workspace: whose control file.
        target: the run.
        clock: for expiry and grace.
        stop: set when the process was asked to stop; it counts as a cancel.
    """

    def __init__(
        self, workspace: Workspace, target: Target, clock: Clock, stop: threading.Event
    ) -> None:
        self._file = ControlFile(workspace)
        self._target = target
        self._clock = clock
        self._stop = stop
        self._digest: str | None = None
        self._unreadable_since: float | None = None
        self._told = False

    def look(self) -> Sight:
        """Read the file, keep its content where it is good, and weigh it."""
        control = self._file.read()
        changed = control.digest != self._digest
        self._digest = control.digest
        if changed and control.error is None:
            self._file.remember(control)
        trouble = self._trouble(control)
        return Sight(
            wanted=self._wanted(control),
            throttle=throttle_in_force(control.directives, self._target, self._clock.now()),
            digest=control.digest,
            changed=changed,
            trouble=trouble,
        )

    def _trouble(self, control: Control) -> InvalidControl | None:
        if control.error is None:
            self._unreadable_since, self._told = None, False
            return None
        now = self._clock.monotonic()
        if self._unreadable_since is None:
            self._unreadable_since = now
        if self._told or now - self._unreadable_since < SAVING_SECONDS:
            return None
        self._told = True
        return control.error

    def _wanted(self, control: Control) -> Directive | None:
        if self._stop.is_set():
            return self._own("cancel", self._target.run_id, "the process was asked to stop")
        found = in_force(control.directives, self._target, self._clock.now())
        since = self._unreadable_since
        if found is None and since is not None and self._clock.monotonic() - since > GRACE_SECONDS:
            return self._own("pause", ANY, "the control file cannot be read")
        return found

    def _own(self, action: Action, scope: str, reason: str) -> Directive:
        now = self._clock.now()
        return Directive(scope=scope, action=action, reason=reason, issued_at=now, actor="quant")
