"""SIGTERM and SIGINT, while a stage runs: ask it to stop at its next safe point."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_on_signals(stop: threading.Event) -> Iterator[None]:
    """Set `stop` at SIGTERM and at the first SIGINT; raise KeyboardInterrupt at the second.

    The handlers that stood before stand again afterwards. A signal that is ignored, as for a job
    under nohup, stays ignored.
    """
    interrupts = 0

    def handle(number: int, _: Any) -> None:
        nonlocal interrupts
        interrupts += number == signal.SIGINT
        if interrupts > 1:
            raise KeyboardInterrupt
        stop.set()

    before = _install(handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _install(handle: Any) -> dict[signal.Signals, Any]:
    """Install `handle` where it may be and is not ignored; return what stood there."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    standing = {number: signal.getsignal(number) for number in SIGNALS}
    wanted = {
        number: handler
        for number, handler in standing.items()
        if handler is not None and handler is not signal.SIG_IGN
    }
    for number in wanted:
        signal.signal(number, handle)
    return wanted
