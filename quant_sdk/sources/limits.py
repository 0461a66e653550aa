"""One rate limit a venue, shared by all threads and all processes of a workspace.

The state is one line of JSON in ``<folder>/<venue>.json``: when the last request was let go, how
far the next one keeps from it, and until when the venue asked for silence. Times are of the
machine's monotonic clock, which its processes share; a state from before a boot is not believed.
"""

from __future__ import annotations

import math
import os
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from errno import ENOSPC
from typing import TYPE_CHECKING, Final

import orjson
from filelock import FileLock, Timeout

from quant_registry.errors import (
    Conflict,
    InvalidIdentifier,
    InvalidInput,
    RunCancelled,
    VenueBusy,
    disk_full,
)
from quant_registry.files import make_folder
from quant_registry.owner import boot_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from quant_registry.clock import Clock

MOST_SECONDS: Final = 3_600.0
"""The longest silence that is kept; a venue that means longer says it again."""

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
# A slot is taken at most this early. Who is further from its turn asks again soon, and so sees a
# changed rate or a new silence.
_AHEAD: Final = 2.0
_LOOK_AGAIN: Final = 1.0
_LOCK_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.001
_LINE: Final = 160


@dataclass(slots=True)
class _State:
    """What the file holds: seconds of the monotonic clock."""

    last: float = 0.0
    interval: float = 0.0
    silent_until: float = 0.0


class VenueLimit:
    """Lets requests to a venue go at its rate, whoever of the workspace makes them.

    It guarantees that two requests never go closer together than the shorter of their intervals,
    and that none goes while a silence lasts. It does not order those who wait. Between processes
    it rests on a kernel lock, which does not exclude over a network file system.

    Args:
        folder: where the states stand; made when it is missing.
        venue: letters, digits, ``_`` and ``-``, at most 64; names the file.
        rate: requests a second, asked before every request; ``math.inf`` for no limit.
        clock: its monotonic clock must be one for all processes, as the machine's is.

    Raises:
        InvalidIdentifier: `venue` is not of that form.
    """

    def __init__(self, folder: Path, venue: str, rate: Callable[[], float], clock: Clock) -> None:
        if not _NAME.fullmatch(venue):
            raise InvalidIdentifier(
                f"{venue[:64]!a} does not name a venue",
                fix="use letters, digits, _ and -, at most 64",
            )
        self.venue = venue
        self._path = folder / f"{venue}.json"
        self._rate = rate
        self._clock = clock
        self._threads = threading.Lock()
        self._processes = FileLock(
            folder / f"{venue}.lock",
            timeout=_LOCK_SECONDS,
            poll_interval=_POLL_SECONDS,
            fallback_to_soft=False,
        )
        self._own_last = -math.inf

    def acquire(self, rest: Callable[[float], bool], *, patience: float = math.inf) -> None:
        """Wait until one more request may go.

        Args:
            rest: waits for so many seconds; False when the run is to be cancelled.
            patience: seconds that a silence may still last.

        Raises:
            VenueBusy: the venue's silence lasts longer than `patience`.
            RunCancelled: `rest` returned False.
            InvalidInput: the rate is not above 0.
        """
        taken = False
        while not taken:
            taken, seconds = self._reserve(patience)
            if seconds > 0 and not rest(seconds):
                raise RunCancelled(f"cancelled while waiting for a turn at {self.venue}")

    def penalise(self, seconds: float) -> None:
        """Let no request go for `seconds`, at most an hour; a longer silence stands."""
        if not seconds > 0:
            return
        with self._exclusive():
            now = self._clock.monotonic()
            state = self._read(now)
            state.silent_until = max(state.silent_until, now + min(seconds, MOST_SECONDS))
            self._write(state)

    def silence(self) -> float:
        """Return how many seconds are left of the silence that the venue asked for."""
        now = self._clock.monotonic()
        return max(self._read(now).silent_until - now, 0.0)

    def _reserve(self, patience: float) -> tuple[bool, float]:
        """Return whether a slot was taken, and the seconds until it, or until the next look."""
        interval = self._interval()
        if interval == 0.0:
            # Without a limit only a silence counts, and reading needs no lock.
            silent = self.silence()
            self._check(silent, patience)
            return silent <= 0, min(silent, _LOOK_AGAIN)
        with self._exclusive():
            now = self._clock.monotonic()
            state = self._read(now)
            self._check(state.silent_until - now, patience)
            # A slow caller beside a fast one must come to its turn too: it keeps the fast one's
            # distance to others, and its own to itself.
            shared = state.last + min(interval, state.interval or interval)
            slot = max(now, shared, self._own_last + interval, state.silent_until)
            if slot - now > _AHEAD:
                return False, min(slot - now - _AHEAD, _LOOK_AGAIN)
            state.last, state.interval, self._own_last = slot, interval, slot
            self._write(state)
        return True, slot - now

    def _check(self, silent: float, patience: float) -> None:
        if silent > patience:
            raise VenueBusy(
                f"{self.venue} asked for silence, {math.ceil(silent)} s of it are left",
                fix="run it again later, at a lower rate: quant throttle",
                retry_after=silent,
            )

    def _interval(self) -> float:
        rate = self._rate()
        if not rate > 0:
            raise InvalidInput(
                f"{rate!r} requests a second to {self.venue} is not a rate",
                fix="give a number above 0; to stop a run use: quant pause",
            )
        return 1.0 / rate

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        try:
            make_folder(self._path.parent)
            with self._threads, self._processes:
                yield
        except Timeout as error:
            raise Conflict(
                f"another process has held the rate limit of {self.venue} for {_LOCK_SECONDS:g} s",
                fix="look for a stopped process of this workspace, and end it",
            ) from error
        except OSError as error:
            if error.errno == ENOSPC:
                raise disk_full(self._path) from error
            raise

    def _read(self, now: float) -> _State:
        """Return the state; what is torn, of another boot or beyond belief counts as nothing."""
        try:
            boot, last, interval, silent_until = orjson.loads(self._path.read_bytes())
            state = _State(float(last), float(interval), float(silent_until))
        except (FileNotFoundError, ValueError, TypeError):
            return _State()
        if boot != boot_id() or state.interval < 0:
            return _State()
        if state.last > now + 2 * _AHEAD:
            state.last = 0.0
        if state.silent_until > now + MOST_SECONDS:
            state.silent_until = 0.0
        return state

    def _write(self, state: _State) -> None:
        """Replace the line in one write; it tells nothing that must outlive a power cut."""
        line = orjson.dumps([boot_id(), state.last, state.interval, state.silent_until])
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.pwrite(descriptor, line.ljust(_LINE), 0)
        finally:
            os.close(descriptor)
