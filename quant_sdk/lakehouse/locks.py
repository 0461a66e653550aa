"""The file locks of the tables: one writer at a time, whatever process or thread it is in."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from filelock import FileLock, Timeout

from quant_registry.errors import Conflict
from quant_registry.files import make_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK_SECONDS: Final = 600.0
_TOGETHER: Final = {
    "bars": ("bars", "quarantine", "corrections"),
    "holes": ("verified_empty", "unfilled"),
}
"""Tables that one publication writes share a lock."""
_LOCK_OF: Final = {table: lock for lock, tables in _TOGETHER.items() for table in tables}


@contextmanager
def writing(locks: Path, table: str, *, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold the lock that every writer of `table` holds; it is not reentrant.

    Args:
        locks: the workspace's folder of lock files.
        table: the table's name.
        seconds: how long to wait for it.

    Raises:
        Conflict: another writer held it all that time.
    """
    make_folder(locks)
    path = locks / f"table-{_LOCK_OF.get(table, table)}.lock"
    try:
        lock = FileLock(path, timeout=seconds, fallback_to_soft=False).acquire()
    except Timeout:
        raise Conflict(
            f"another run has been writing to the table {table} for {seconds:g} s",
            fix="see what is live: quant status; then run the stage again",
        ) from None
    with lock:
        yield
