"""The keyboard: single keys from a terminal, which gets its old manners back whatever happens."""

from __future__ import annotations

import os
import select
import signal
import termios
import tty
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

UP, DOWN, QUIT = "up", "down", "q"
# Terminals say an arrow in one of two ways, by their keypad mode.
_ARROWS = {b"\x1b[A": UP, b"\x1bOA": UP, b"\x1b[B": DOWN, b"\x1bOB": DOWN}
_LETTERS = {"k": UP, "j": DOWN}
_ENDING = (signal.SIGTERM, signal.SIGHUP)


class Keys:
    """Reads keys in cbreak mode, without echo, as a context.

    SIGTERM and SIGHUP become KeyboardInterrupt inside it, so that the terminal is restored; a
    process that was stopped and goes on takes cbreak mode again.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._manners: list[Any] = []
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._manners = termios.tcgetattr(self._descriptor)
        for number in _ENDING:
            self._handlers[number] = signal.signal(number, _end)
        self._handlers[signal.SIGCONT] = signal.signal(signal.SIGCONT, self._go_on)
        tty.setcbreak(self._descriptor)
        return self

    def __exit__(self, *_: object) -> None:
        termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._manners)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def read(self, seconds: float) -> list[str]:
        """Return the keys that were pressed, waiting at most `seconds` for the first.

        A terminal that has gone away is `QUIT`.
        """
        if not select.select([self._descriptor], [], [], seconds)[0]:
            return []
        try:
            content = os.read(self._descriptor, 256)
        except OSError:
            content = b""
        return list(parse(content)) if content else [QUIT]

    def _go_on(self, *_: object) -> None:
        tty.setcbreak(self._descriptor)


def parse(content: bytes) -> Iterator[str]:
    """Yield the names of the keys in what a terminal sent; unknown sequences are left out."""
    while content:
        arrow = next((code for code in _ARROWS if content.startswith(code)), None)
        if arrow is not None:
            yield _ARROWS[arrow]
            content = content[len(arrow) :]
        elif content[:1] == b"\x1b":
            return  # another function key: nothing behind it can be told apart
        else:
            letter = chr(content[0]).lower()
            yield _LETTERS.get(letter, letter)
            content = content[1:]


def _end(*_: object) -> None:
    raise KeyboardInterrupt
