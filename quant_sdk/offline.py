"""A guard under which this process reaches no network.

While it is active every socket of Python's that would connect, bind, send or resolve a name fails,
in all threads; only sockets within the machine's file system (``AF_UNIX``) work. It is an audit
hook: Python calls it before the system is asked, so nothing has left the process.

What it does not see: native code that opens sockets of its own (the object stores of deltalake and
polars, libcurl), other processes that this one starts, and connections that stood before. Where
that matters, cut the network off from outside: ``unshare -n`` on Linux.
"""

from __future__ import annotations

import socket
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from quant_registry.errors import NetworkForbidden

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_ADDRESSES: Final = 20
_OF_SOCKETS: Final = frozenset({"socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg"})
_OF_NAMES: Final = frozenset(
    {
        "socket.getaddrinfo",
        "socket.gethostbyname",
        "socket.gethostbyaddr",
        "socket.getnameinfo",
    }
)


class NetworkGuard:
    """What a guard has refused so far."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._attempts = 0
        self._addresses: list[str] = []

    @property
    def attempts(self) -> int:
        """How many attempts to reach the network were refused."""
        return self._attempts

    @property
    def addresses(self) -> tuple[str, ...]:
        """What the first of them, at most 20, wanted to reach."""
        return tuple(self._addresses)

    def count(self, address: str) -> None:
        """Count an attempt to reach `address`."""
        with self._lock:
            self._attempts += 1
            if len(self._addresses) < _MOST_ADDRESSES:
                self._addresses.append(address)


class _Hook:
    """The process's one audit hook: it cannot be removed, and is inert without a guard."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._guards: tuple[NetworkGuard, ...] = ()
        self._installed = False

    def add(self, guard: NetworkGuard) -> None:
        with self._lock:
            if not self._installed:
                sys.addaudithook(self)
                self._installed = True
            self._guards = (*self._guards, guard)

    def remove(self, guard: NetworkGuard) -> None:
        with self._lock:
            self._guards = tuple(item for item in self._guards if item is not guard)

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        guards = self._guards
        if not guards or not event.startswith("socket."):
            return
        address = _forbidden(event, args)
        if address is None:
            return
        for guard in guards:
            guard.count(address)
        raise NetworkForbidden(
            f"the network is cut off here: {event.partition('.')[2]} of {address} was refused",
            fix="read what was fetched before; fetch in a run of its own: quant stage run "
            "ops.flow_data",
            address=address,
        )


# A hook belongs to the process, as the network does.
_HOOK: Final = _Hook()


@contextmanager
def no_network() -> Iterator[NetworkGuard]:
    """Refuse the network to this whole process, other threads included, while the block runs.

    May be nested, and entered in several threads at once: the network is back when the last block
    has ended, and each guard counts what was refused during its own.

    Yields:
        The guard, which counts.

    Raises:
        NetworkForbidden: in the code that tries, naming the address.
    """
    guard = NetworkGuard()
    _HOOK.add(guard)
    try:
        yield guard
    finally:
        _HOOK.remove(guard)


def _forbidden(event: str, args: tuple[Any, ...]) -> str | None:
    """Return the address that an event would reach beyond the file system, or None."""
    if event in _OF_NAMES:
        named = args[0]
        return _address(named if isinstance(named, tuple) else args[:2])
    if event in _OF_SOCKETS and args[0].family != socket.AF_UNIX:
        return _address(args[1])
    return None


def _address(given: Any) -> str:
    """Return ``host:port`` of what an audit event calls an address."""
    if not isinstance(given, tuple) or not given:
        return "a connected peer" if given is None else _text(given)
    host = _text(given[0])
    port = given[1] if len(given) > 1 else None
    return host if port is None else f"{f'[{host}]' if ':' in host else host}:{_text(port)}"


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
