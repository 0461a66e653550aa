"""A clock for tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading

START = datetime(2026, 2, 3, 10, tzinfo=UTC)


class FakeClock:
    """A clock that moves only when it is told to, or waited on.

    A wait returns at once and moves the clock by its seconds, so that a stage that rests for an
    hour is tested in no time. Each reading of the wall clock is a microsecond later than the one
    before: no two instants are the same.
    """

    def __init__(self, start: datetime = START) -> None:
        self._now = start
        self._monotonic = 1000.0

    def now(self) -> datetime:
        """Return the wall-clock time, aware, in UTC."""
        self._now += timedelta(microseconds=1)
        return self._now

    def monotonic(self) -> float:
        """Return seconds that only `advance` and `wait` move."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Let `seconds` pass without waiting; tell whether `event` is set."""
        self.advance(seconds)
        return event.is_set()
