"""Calls to a venue: one after another at its rate, tried again where another try may succeed."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, Final, TypeVar

from quant_registry.errors import RunCancelled, SourceError, VenueBusy

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenacity import RetryCallState

    from quant_sdk.sources.limits import VenueLimit

T = TypeVar("T")

TRIES: Final = 6
"""Tries of one call that may fail, refusals of a busy venue not counted."""
BUSY_TRIES: Final = 20
"""Refusals of a busy venue that one call bears."""
_FIRST_SECONDS: Final = 0.5
_LONGEST_SECONDS: Final = 30.0
# A silence of a few minutes is waited for; a ban of hours is told at once.
_PATIENCE_SECONDS: Final = 300.0
_FAILED_IN_A_ROW: Final = 3


class Caller:
    """Makes calls to one venue; safe to use from several threads at once.

    A call that fails with a retryable `SourceError` is tried again after a time that doubles and
    is jittered. A `VenueBusy`, or another failure that names a time (``retry_after``), silences the
    venue for all threads and processes of the workspace.
    After three calls in a row that failed for good, the next ones get one try each until one
    succeeds: an outage must not cost tries times waiting for every page.

    Args:
        limit: the venue's rate limit.
        rest: waits for so many seconds; False when the run is to be cancelled.
        tries: tries of one call at most.
        uniform: gives a random number between two.
    """

    def __init__(
        self,
        limit: VenueLimit,
        rest: Callable[[float], bool],
        *,
        tries: int = TRIES,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._limit = limit
        self._rest = rest
        self._tries = tries
        self._uniform = uniform
        self._guard = threading.Lock()
        self._failed = 0

    @property
    def failed_in_a_row(self) -> int:
        """Calls that failed for good since the last one that the venue answered."""
        return self._failed

    def __call__(self, call: Callable[[], T]) -> T:
        """Return what `call` returns, once it does.

        Raises:
            SourceError: the last failure, after all tries; or at once, where it is not retryable.
            VenueBusy: the venue stayed busy, or asks for more than five minutes.
            RunCancelled: the run is to be cancelled.
        """
        tries = 1 if self._failed >= _FAILED_IN_A_ROW else self._tries
        try:
            answer = _Attempts(self._limit, self._rest, tries, self._uniform).run(call)
        except SourceError as error:
            self._note(answered=not error.retryable)
            raise
        self._note(answered=True)
        return answer

    def _note(self, *, answered: bool) -> None:
        with self._guard:
            self._failed = 0 if answered else self._failed + 1


class _Attempts:
    """The tries of one call."""

    def __init__(
        self,
        limit: VenueLimit,
        rest: Callable[[float], bool],
        tries: int,
        uniform: Callable[[float, float], float],
    ) -> None:
        self._limit = limit
        self._rest = rest
        self._tries = tries
        self._busy_tries = 1 if tries == 1 else BUSY_TRIES
        self._uniform = uniform
        self._failures = 0
        self._refusals = 0

    def run(self, call: Callable[[], T]) -> T:
        from tenacity import Retrying

        retrying = Retrying(
            retry=self._again,
            stop=self._enough,
            wait=self._seconds,
            sleep=self._sleep,
            reraise=True,
        )
        answer: T = retrying(self._once, call)
        return answer

    def _once(self, call: Callable[[], T]) -> T:
        self._limit.acquire(self._rest, patience=_PATIENCE_SECONDS)
        return call()

    def _again(self, state: RetryCallState) -> bool:
        """Tell whether the failure may pass, and count it."""
        error = _error_of(state)
        if not isinstance(error, SourceError) or not error.retryable:
            return False
        seconds = _asked(error)
        if isinstance(error, VenueBusy):
            self._refusals += 1
            # A venue that names no time is left alone for as long as this call waits.
            self._limit.penalise(self._backoff(self._refusals) if seconds is None else seconds)
            return seconds is None or seconds <= _PATIENCE_SECONDS
        self._failures += 1
        if seconds is None:
            return True
        self._limit.penalise(seconds)
        return seconds <= _PATIENCE_SECONDS

    def _enough(self, _: RetryCallState) -> bool:
        return self._failures >= self._tries or self._refusals >= self._busy_tries

    def _seconds(self, state: RetryCallState) -> float:
        # The silence itself is waited for at the limit, by everybody; the jitter parts the crowd.
        if isinstance(_error_of(state), VenueBusy):
            return self._uniform(0.0, _FIRST_SECONDS)
        return self._backoff(self._failures)

    def _backoff(self, failures: int) -> float:
        longest = min(_FIRST_SECONDS * 2 ** (failures - 1), _LONGEST_SECONDS)
        return self._uniform(longest / 2, longest)

    def _sleep(self, seconds: float) -> None:
        if seconds > 0 and not self._rest(seconds):
            raise RunCancelled(f"cancelled while waiting to ask {self._limit.venue} again")


def _error_of(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome is not None else None


def _asked(error: SourceError) -> float | None:
    """Return for how many seconds the venue wants to be left alone, where it says."""
    seconds = error.facts.get("retry_after")
    return float(seconds) if isinstance(seconds, int | float) else None
