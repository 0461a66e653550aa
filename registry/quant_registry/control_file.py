"""The control file: read by runs, changed by `quant pause`, agents and editors alike."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from .control import Directive, dump_control, mtime_of, parse_control
from .errors import Conflict, Corrupted, InvalidControl
from .files import make_folder, read_bounded, write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .workspace import Workspace

ABSENT = "absent"
UNREADABLE = "unreadable"
_LOCK_SECONDS = 10.0
_TRIES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """What the control file says, or said when it could last be read.

    Attributes:
        directives: those in the file, or the last good ones.
        digest: SHA-256 of the file's bytes, or ``absent``.
        error: why the last good ones stand in; None when the file was read.
    """

    directives: tuple[Directive, ...]
    digest: str
    error: InvalidControl | None = None


class ControlFile:
    """Reads and changes `migration_control.json`, and keeps its last good content."""

    def __init__(self, workspace: Workspace) -> None:
        self._path = workspace.control
        self._last = workspace.last_control
        self._lock_path = workspace.locks / "control.lock"

    def read(self) -> Control:
        """Return what is in force; a missing or malformed file leaves the last good content."""
        digest = UNREADABLE
        try:
            content, mtime = _content(self._path)
            if content is None:
                return Control(directives=self._last_good(), digest=ABSENT)
            digest = _digest(content)
            return Control(directives=parse_control(content, mtime_of(mtime)), digest=digest)
        except (InvalidControl, OSError, Corrupted) as error:
            return Control(directives=self._stand_in(), digest=digest, error=_as_invalid(error))

    def remember(self, control: Control) -> None:
        """Keep `control` as the last good one, unless it is kept already."""
        content = dump_control(control.directives)
        if (
            control.error is None
            and control.digest != ABSENT
            and _content(self._last)[0] != content
        ):
            write_atomic(self._last, content)

    def change(self, edit: Callable[[tuple[Directive, ...]], tuple[Directive, ...]]) -> Control:
        """Replace the directives by `edit` of them, keeping any change made meanwhile.

        A malformed file is set aside beside itself first, so that nothing is lost.

        Raises:
            Conflict: others change the file faster than it can be replaced.
            InvalidControl: it can neither be read nor be set aside.
        """
        from filelock import FileLock

        make_folder(self._lock_path.parent)
        with FileLock(self._lock_path, timeout=_LOCK_SECONDS, fallback_to_soft=False):
            for _ in range(_TRIES):
                before = self.read()
                if before.error is not None:
                    if not self._set_aside() and self.read().error is not None:
                        raise before.error
                    continue
                content = dump_control(edit(before.directives))
                # Editors take no lock: compare as late as possible before the rename.
                if write_atomic(self._path, content, guard=partial(self._is, before.digest)):
                    after = self.read()
                    self.remember(after)
                    return after
        raise Conflict(
            "the control file keeps changing under this command",
            fix=f"look at who writes {self._path}, then try again",
        )

    def _is(self, digest: str) -> bool:
        content, _ = _content(self._path)
        return digest == (ABSENT if content is None else _digest(content))

    def _set_aside(self) -> bool:
        """Rename what is malformed, the file or its last good copy; tell whether anything was."""
        moved = [_move_malformed(path) for path in (self._path, self._last)]
        return any(moved)

    def _last_good(self) -> tuple[Directive, ...]:
        content, mtime = _content(self._last)
        return () if content is None else parse_control(content, mtime_of(mtime))

    def _stand_in(self) -> tuple[Directive, ...]:
        try:
            return self._last_good()
        except (InvalidControl, OSError, Corrupted):
            return ()  # the error of the control file itself is reported, and pauses the run


def _content(path: Path) -> tuple[bytes | None, int]:
    try:
        return read_bounded(path), path.stat().st_mtime_ns
    except FileNotFoundError:
        return None, 0


def _move_malformed(path: Path) -> bool:
    try:
        content, mtime = _content(path)
        if content is None:
            return False
    except (OSError, Corrupted):
        return False
    try:
        parse_control(content, mtime_of(mtime))
    except InvalidControl:
        path.replace(path.with_name(f"{path.name}.malformed-{_digest(content)[:12]}"))
        return True
    return False


def _as_invalid(error: Exception) -> InvalidControl:
    if isinstance(error, InvalidControl):
        return error
    return InvalidControl(f"the control file cannot be read: {error}", fix="repair or replace it")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
