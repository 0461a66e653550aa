"""The audit log's writer: one JSON object a line, chained per run, appended by any process.

Each line is one ``os.write`` on ``O_APPEND``, so writers never mix within a line. A line's `hash`
is the SHA-256 of its bytes before ``,"hash":`` closed by ``}``; they hold `prev_hash`, the hash of
the run's event before. The chain shows corruption and truncation; it does not stop a forger.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from .errors import OwnershipLost
from .files import make_folder, sync_path, to_json, write_all

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .clock import Clock

SCHEMA = "audit/1"
GENESIS = "0" * 64
# Longer lines would make tailing and torn-tail recovery expensive for every observer.
MAX_LINE_BYTES = 64 * 1024
_MAX_FIELD_BYTES = 1024
_MAX_NAME = 64
# How long a tail must stay torn; a write in flight is over in microseconds.
_TORN_SECONDS = 0.05
_JSON = orjson.OPT_UTC_Z | orjson.OPT_SERIALIZE_NUMPY


class Head(NamedTuple):
    """The last event of a run's chain."""

    seq: int = 0
    hash: str = GENESIS


class AuditLog:
    """Appends the events of one run; safe to share between the run's threads."""

    def __init__(  # noqa: PLR0913 - what stands in every line
        self,
        path: Path,
        *,
        run_id: str,
        stage_id: str,
        actor: str,
        clock: Clock,
        head: Head | None = None,
    ) -> None:
        self._path = path
        self._common = {"schema": SCHEMA, "stage_id": stage_id, "actor": actor}
        self._run_id = run_id
        self._clock = clock
        self._head = head or Head()
        self._lock = threading.Lock()
        self._descriptor = -1
        self._file = (0, 0)
        self._pid = os.getpid()

    @property
    def head(self) -> Head:
        """The last event that was appended."""
        return self._head

    def append(self, event: str, fields: Mapping[str, Any], *, durable: bool = False) -> Head:
        """Append one event; with `durable`, return only when the disk has it."""
        if os.getpid() != self._pid:
            raise OwnershipLost(
                "a forked child tried to write the audit log of its parent's run",
                fix="fork only workers that never touch Run, or use run.map",
            )
        with self._lock:
            if self._tail_is_torn() and self._close_off_tail():
                self._write("audit_torn_tail", {"status": "closed"})
            self._write(event, fields)
            if durable:
                os.fsync(self._descriptor)
            return self._head

    def close(self) -> None:
        """Give back the file descriptor; a later append opens the file again."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def _write(self, event: str, fields: Mapping[str, Any]) -> None:
        seq = self._head.seq + 1
        first = {"timestamp": self._clock.now(), "event": event, "run_id": self._run_id}
        last = {**self._common, "seq": seq, "prev_hash": self._head.hash}
        # Named twice: first to stand first in the line, and last so that no field replaces them.
        payload = to_json({**first, **fields, **first, **last}, _JSON)
        if len(payload) > MAX_LINE_BYTES:
            payload = to_json({**first, **_bounded(fields), **first, **last}, _JSON)
        digest = hashlib.sha256(payload).hexdigest()
        write_all(self._descriptor, b'%b,"hash":"%b"}\n' % (payload[:-1], digest.encode()))
        self._head = Head(seq, digest)

    def _tail_is_torn(self) -> bool:
        """Open the file where needed, and tell whether its last byte is not a newline."""
        if self._descriptor >= 0:
            try:
                state = self._path.stat()
            except FileNotFoundError:
                state = None
            if state is not None and (state.st_dev, state.st_ino) == self._file:
                return self._ends_torn(state.st_size)
            # The file was removed or moved away: go on where observers look.
            os.close(self._descriptor)
            self._descriptor = -1
        self._descriptor = self._open()
        opened = os.fstat(self._descriptor)
        self._file = (opened.st_dev, opened.st_ino)
        return self._ends_torn(opened.st_size)

    def _ends_torn(self, size: int) -> bool:
        return size > 0 and os.pread(self._descriptor, 1, size - 1) != b"\n"

    def _close_off_tail(self) -> bool:
        """End a torn line, unless it is one that another writer is in the middle of.

        The kernel shows the size of a long write before all of it is there, so only a tail that
        stays torn is taken for one. Of several runs that see it, the lock lets one write the end.
        """
        deadline = time.monotonic() + _TORN_SECONDS
        while self._ends_torn(os.fstat(self._descriptor).st_size):
            if time.monotonic() > deadline:
                return self._end_line()
            time.sleep(_TORN_SECONDS / 20)
        return False

    def _end_line(self) -> bool:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            torn = self._ends_torn(os.fstat(self._descriptor).st_size)
            if torn:
                write_all(self._descriptor, b"\n")
            return torn
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
        try:
            return os.open(self._path, flags)
        except FileNotFoundError:
            make_folder(self._path.parent)
            descriptor = os.open(self._path, flags | os.O_CREAT, 0o644)
            sync_path(self._path.parent)
            return descriptor


def _bounded(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the large fields, and what is too much in all, and name them."""
    kept: dict[str, Any] = {}
    dropped: list[str] = []
    room = MAX_LINE_BYTES // 2
    for key, value in fields.items():
        size = len(to_json([key, value], _JSON))
        if size > min(_MAX_FIELD_BYTES, room):
            dropped.append(str(key)[:_MAX_NAME])
        else:
            kept[key] = value
            room -= size
    return kept | {"dropped_fields": dropped[:64]}
