"""Who works on which shard: the seam at which workers are kept out of each other's way.

A lease keeps work from being done twice. It does not make publishing safe: that is the tables' own
business, which take the same bar from two workers once.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from quant_sdk.seamless.shard import Shard


class BackfillCoordinator(Protocol):
    """Grants shards to workers."""

    def claim(self, shard: Shard) -> bool:
        """Take a lease on a shard; False where another worker holds it or has completed it."""

    def complete(self, shard: Shard) -> None:
        """End the lease: the shard's bars are published, and nobody need do it again."""

    def fail(self, shard: Shard, reason: str) -> None:
        """End the lease: the shard may be claimed again."""

    def completion_ratio(self) -> float:
        """Return the share of claimed shards that are completed, 1.0 where none was claimed."""


class InMemoryBackfillCoordinator:
    """The coordinator of the threads of one process; it forgets everything with the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: set[str] = set()
        self._done: set[str] = set()
        self.failed: dict[str, str] = {}
        """Why shards failed, by id; those claimed again are left out."""

    def claim(self, shard: Shard) -> bool:
        """Take a lease on a shard, unless a thread of this process holds it or has completed it."""
        with self._lock:
            if shard.id in self._held or shard.id in self._done:
                return False
            self._held.add(shard.id)
            self.failed.pop(shard.id, None)
            return True

    def complete(self, shard: Shard) -> None:
        """End the lease, for good."""
        with self._lock:
            self._held.discard(shard.id)
            self._done.add(shard.id)

    def fail(self, shard: Shard, reason: str) -> None:
        """End the lease; another thread may claim the shard."""
        with self._lock:
            self._held.discard(shard.id)
            self.failed[shard.id] = reason

    def completion_ratio(self) -> float:
        """Return completed shards over those claimed, completed or failed."""
        with self._lock:
            seen = len(self._held) + len(self._done) + len(self.failed)
            return len(self._done) / seen if seen else 1.0
