"""Idempotency keys: the same request twice is one piece of work.

A key that is live is attached to, one that succeeded is answered with its record, any other is
continued. The same key with other parameters is a conflict.
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .errors import Conflict, IdempotencyConflict
from .files import dump_json, make_folder, read_json, write_atomic
from .ids import check_label
from .record import find_record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .record import RunRecord
    from .workspace import Workspace

SCHEMA = "key/1"
_LOCK_SECONDS = 30.0


class IdempotencyKey:
    """One caller's key for one stage, in one workspace."""

    def __init__(self, workspace: Workspace, stage_id: str, key: str) -> None:
        self._workspace = workspace
        self._stage_id = stage_id
        self._key = check_label(key, "idempotency key")
        name = hashlib.sha256(f"{stage_id}\0{key}".encode()).hexdigest()
        self._path = workspace.keys / f"{name}.json"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Exclude other callers with this key while one looks it up and binds it.

        Raises:
            Conflict: another holds it for longer than checks and plans should take.
        """
        from filelock import FileLock, Timeout

        make_folder(self._path.parent)
        lock = FileLock(
            self._path.with_suffix(".lock"),
            timeout=_LOCK_SECONDS,
            thread_local=False,
            fallback_to_soft=False,
        )
        try:
            lock.acquire()
        except Timeout:
            raise Conflict(
                f"another caller has been starting {self._stage_id} with the key {self._key!r} "
                f"for {_LOCK_SECONDS:g} s",
                fix="try again; it attaches to the run that is being started",
            ) from None
        try:
            yield
        finally:
            lock.release()

    def bound_run(self, params_digest: str) -> RunRecord | None:
        """Return the run that this key stands for, or None.

        Raises:
            IdempotencyConflict: the key stands for other parameters.
        """
        try:
            entry = read_json(self._path)
        except FileNotFoundError:
            return None
        if entry.get("params_digest") != params_digest:
            raise IdempotencyConflict(
                f"the key {self._key!r} was used for {self._stage_id} with other parameters",
                fix="use another key, or the parameters of run " + str(entry.get("run_id")),
                run_id=entry.get("run_id"),
            )
        return find_record(self._workspace, entry.get("run_id"))

    def bind(self, run_id: str, params_digest: str) -> None:
        """Let the key stand for a run, durably."""
        document: dict[str, Any] = {
            "schema": SCHEMA,
            "stage_id": self._stage_id,
            "key": self._key,
            "run_id": run_id,
            "params_digest": params_digest,
        }
        write_atomic(self._path, dump_json(document))
