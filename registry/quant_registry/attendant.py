"""The thread beside a run: it watches the control file and keeps the heartbeat."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

POLL_SECONDS = 0.1
# watchdog costs tens of milliseconds to import; a run shorter than this is polled only.
_WATCH_AFTER_TICKS = 5
_UNWATCH_SECONDS = 2.0


class Attendant:
    """Calls `tick` every `POLL_SECONDS`, and at once when something moves in `folder`.

    Both a poll and watchdog: a folder that is removed and made again, or that cannot be watched,
    loses its watch silently. An exception in `tick` ends the thread and is handed to `failed`.
    """

    def __init__(
        self, folder: Path, tick: Callable[[], None], failed: Callable[[BaseException], None]
    ) -> None:
        self._folder = folder
        self._tick = tick
        self._failed = failed
        self._poke = threading.Event()
        self._closing = False
        self._observer: Any = None
        self._thread = threading.Thread(target=self._attend, name="quant-attendant", daemon=True)

    def start(self) -> None:
        """Begin to attend."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it; safe to call twice, and from the thread itself."""
        self._closing = True
        self._poke.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join()

    def _attend(self) -> None:
        ticks = 0
        try:
            while not self._closing:
                self._poke.wait(POLL_SECONDS)
                self._poke.clear()
                if self._closing:
                    break
                self._tick()
                ticks += 1
                if ticks == _WATCH_AFTER_TICKS:
                    self._observer = _watch(self._folder, self._poke.set)
        except BaseException as error:  # noqa: BLE001 - handed to the body's thread, never lost
            self._failed(error)
        finally:
            if self._observer is not None:
                _unwatch(self._observer)


def _watch(folder: Path, notify: Callable[[], None]) -> Any:
    """Start a watchdog observer on `folder`; None where the system refuses one."""
    import logging

    from watchdog.events import FileSystemEventHandler
    from watchdog.observers import Observer

    # watchdog logs an error when it is stopped in the middle of an event; without a handler of
    # the application's that would reach stderr.
    logging.getLogger("watchdog").addHandler(logging.NullHandler())

    class _Handler(FileSystemEventHandler):
        def on_any_event(self, event: Any) -> None:
            # Our own status writes move files in this folder several times a second.
            paths = (str(event.src_path), str(getattr(event, "dest_path", "")))
            if any("control" in path for path in paths):
                notify()

    observer: Any = None
    try:
        observer = Observer()
        observer.daemon = True
        observer.schedule(_Handler(), str(folder))
        observer.start()
    except OSError:  # out of inotify instances or watches, or no folder: the poll still sees all
        if observer is not None:
            _unwatch(observer)
        return None
    return observer


def _unwatch(observer: Any) -> None:
    """Stop an observer, waiting for its threads only so long: no run's end hangs on a helper."""
    closer = threading.Thread(target=observer.stop, name="quant-unwatch", daemon=True)
    closer.start()
    closer.join(_UNWATCH_SECONDS)
