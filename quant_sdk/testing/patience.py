"""Waiting on a condition, with an end."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

SECONDS = 30.0
"""How long a test waits for what must come."""
_POLL_SECONDS = 0.005


def eventually(condition: Callable[[], T], what: str, seconds: float = SECONDS) -> T:
    """Wait until `condition` returns something true, and return it.

    Raises:
        AssertionError: `what` did not come within `seconds` of real time.
    """
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not (found := condition()):
        if time.monotonic() >= deadline:
            raise AssertionError(f"{what} did not come within {seconds:g} s")
        pause.wait(_POLL_SECONDS)
    return found
