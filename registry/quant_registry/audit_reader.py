"""The audit log's readers: follow it while it is written, and check its chains.

Nothing here needs a run, a lock or the rest of the package: an observer imports this alone.
"""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from .audit import GENESIS, Head
from .errors import InvalidInput

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

# An event is seen at most this late. A poll costs one stat, so that fifty observers on a small
# machine leave it to the run.
POLL_SECONDS = 0.03
# Small enough to come from the allocator: a follower asks for it at every change.
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainReport:
    """What a run's chain of events shows.

    Attributes:
        run_id: whose chain.
        events: how many of its events stand in the log.
        ok: every event follows from the one before, and none recorded as written is missing.
        first_bad_seq: the first event that is missing, altered or out of place.
        reason: why, in one sentence; empty when ok.
    """

    run_id: str
    events: int
    ok: bool
    first_bad_seq: int | None = None
    reason: str = ""


def tail(  # noqa: PLR0913 - each is a filter an observer needs
    path: Path,
    *,
    follow: bool = False,
    run_id: str | None = None,
    since_seq: int | None = None,
    stage_id: str | None = None,
    stop: threading.Event | None = None,
    until: Callable[[dict[str, Any]], bool] | None = None,
    over: Callable[[], bool] | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield the events of the audit log at `path`, oldest first.

    Args:
        path: the log; it may not exist yet.
        follow: go on waiting for events after the last one.
        run_id: only this run's events.
        since_seq: only events after this one of `run_id`'s chain.
        stage_id: only this stage's events.
        stop: ends a following tail.
        until: ends the tail after the first event for which it is true.
        over: asked where a following tail finds nothing new; when true, what stands is the end.

    Lines that are no JSON object (a torn one, before its writer is back) are left out;
    `verify_chain` reports what is missing.

    Raises:
        InvalidInput: `since_seq` without `run_id`; sequence numbers count per run.
    """
    if since_seq is not None and run_id is None:
        raise InvalidInput("since_seq counts within one run", fix="name the run with run_id")
    for line in _lines(path, follow=follow, stop=stop, wanted=run_id, over=over):
        event = _parse(line)
        if (
            event is None
            or (run_id is not None and event.get("run_id") != run_id)
            or (stage_id is not None and event.get("stage_id") != stage_id)
            or (since_seq is not None and not _is_after(event, since_seq))
        ):
            continue
        yield event
        if until is not None and until(event):
            return


def verify_chain(
    path: Path, *, run_id: str | None = None, heads: dict[str, tuple[int, str]] | None = None
) -> list[ChainReport]:
    """Check the chain of `run_id`, or of every run in the log, in the order they began.

    Args:
        path: the log.
        run_id: only this run.
        heads: per run the last event known to be written, from ``run.json``; without it a chain
            that lost its end looks shorter, not broken.
    """
    heads = heads or {}
    chains: dict[str, _Chain] = {}
    for line in _lines(path, follow=False, stop=None, wanted=run_id):
        event = _parse(line)
        name = event.get("run_id") if event else None
        if event is not None and isinstance(name, str) and run_id in {None, name}:
            chains.setdefault(name, _Chain(name)).add(line, event, heads.get(name))
    for name in heads:
        if run_id in {None, name}:
            chains.setdefault(name, _Chain(name))
    return [chain.report(heads.get(name)) for name, chain in chains.items()]


def chain_end(path: Path, run_id: str) -> tuple[Head, dict[str, Any]]:
    """Return the head of a run's chain, and its last event; empty where it has none."""
    last: dict[str, Any] = {}
    for event in tail(path, run_id=run_id):
        last = event
    return (Head(int(last.get("seq", 0)), str(last.get("hash"))) if last else Head()), last


class _Chain:
    """One run's chain, checked link by link."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._seq = 0
        self._hash = GENESIS
        self._count = 0
        self._bad: tuple[int, str] | None = None

    def add(self, line: bytes, event: dict[str, Any], head: tuple[int, str] | None) -> None:
        self._count += 1
        if self._bad is not None:
            return
        expected = self._seq + 1
        if event.get("seq") != expected:
            self._bad = (expected, f"event {expected} is missing: {event.get('seq')} follows")
        elif event.get("prev_hash") != self._hash:
            self._bad = (expected, f"event {expected} does not follow from the one before")
        elif event.get("hash") != _line_hash(line):
            self._bad = (expected, f"event {expected} was altered after it was written")
        elif head is not None and head[0] == expected and head[1] != event["hash"]:
            self._bad = (expected, f"event {expected} is not the one that the run recorded")
        self._seq, self._hash = expected, str(event.get("hash"))

    def report(self, head: tuple[int, str] | None) -> ChainReport:
        bad = self._bad
        if bad is None and head is not None and head[0] > self._seq:
            bad = (self._seq + 1, f"the log ends at event {self._seq}, {head[0]} were written")
        return ChainReport(
            run_id=self._run_id,
            events=self._count,
            ok=bad is None,
            first_bad_seq=bad[0] if bad else None,
            reason=bad[1] if bad else "",
        )


def _line_hash(line: bytes) -> str:
    payload, _, _ = line.rpartition(b',"hash":')
    return hashlib.sha256(payload + b"}").hexdigest()


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return event if isinstance(event, dict) else None


def _is_after(event: dict[str, Any], seq: int) -> bool:
    found = event.get("seq")
    return isinstance(found, int) and found > seq


def _lines(
    path: Path,
    *,
    follow: bool,
    stop: threading.Event | None,
    wanted: str | None,
    over: Callable[[], bool] | None = None,
) -> Iterator[bytes]:
    """Yield whole lines; with `wanted`, only lines in which that text occurs."""
    needle = None if wanted is None else wanted.encode()
    for block in _whole_lines(path, follow=follow, stop=stop, over=over):
        if needle is None or needle in block:
            yield from _matching(block.split(b"\n"), needle)


def _matching(lines: Iterable[bytes], needle: bytes | None) -> Iterator[bytes]:
    return (line for line in lines if line and (needle is None or needle in line))


def _whole_lines(
    path: Path, *, follow: bool, stop: threading.Event | None, over: Callable[[], bool] | None
) -> Iterator[bytes]:
    """Yield blocks that end at a line's end; reopen where the file was replaced or cut."""
    name = os.fspath(path)
    descriptor, inode = _open(name)
    rest = b""
    offset = 0
    last_look = False
    try:
        while stop is None or not stop.is_set():
            chunk = os.pread(descriptor, _CHUNK, offset) if descriptor >= 0 else b""
            if chunk:
                offset += len(chunk)
                block, newline, rest = (rest + chunk).rpartition(b"\n")
                if newline:
                    yield block
                continue
            if not follow or last_look:
                return
            # What was written just before the end is still to be read.
            last_look = _await_change(name, (inode, offset), stop, over)
            found, size = _identity(name)
            if found != inode or size < offset:
                if descriptor >= 0:
                    os.close(descriptor)
                descriptor, inode = _open(name)
                rest, offset = b"", 0
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _await_change(
    name: str,
    seen: tuple[int, int],
    stop: threading.Event | None,
    over: Callable[[], bool] | None,
) -> bool:
    """Wait while the file is as it was seen; tell whether that is over."""
    while True:
        # First, because a log in which others write changes all the time.
        if over is not None and over():
            return True
        if _identity(name) != seen:
            return False
        if stop is None:
            time.sleep(POLL_SECONDS)  # at half the cost of an event that nobody can set
        elif stop.wait(POLL_SECONDS):
            return False


def _identity(name: str) -> tuple[int, int]:
    """Return inode and size; an inode is not given to another file while we hold it open."""
    try:
        state = os.stat(name)  # noqa: PTH116 - asked by every observer, many times a second
    except FileNotFoundError:
        return 0, 0
    return state.st_ino, state.st_size


def _open(name: str) -> tuple[int, int]:
    """Return a descriptor and its inode; -1 and 0 where there is no file."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1, 0
    return descriptor, os.fstat(descriptor).st_ino
