"""Moments in the files, told as people tell them; and the last events of the audit log."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import orjson

from quant_registry.clock import parse_iso

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

# Some hundred events of the usual length.
RECENT_BYTES = 256 * 1024
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


def age(moment: str | None, now: datetime) -> float | None:
    """Return the seconds since a time in RFC 3339, never negative; None where it is no time."""
    try:
        return max((now - parse_iso(str(moment))).total_seconds(), 0.0)
    except ValueError:
        return None


def spell(seconds: float) -> str:
    """Return a duration in its largest fitting unit: ``4 s``, ``12 min``, ``3 h``, ``2 d``."""
    for unit, size in (("d", _DAY), ("h", _HOUR), ("min", _MINUTE)):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds:.0f} s"


def recent_events(path: Path, size: int = RECENT_BYTES) -> list[dict[str, Any]]:
    """Return the whole events in the last `size` bytes of the audit log, oldest first."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return []
    try:
        begin = max(os.fstat(descriptor).st_size - size, 0)
        lines = os.pread(descriptor, size, begin).split(b"\n")
    finally:
        os.close(descriptor)
    # The first line is cut, the last one empty or torn.
    events = (_event(line) for line in (lines[1:-1] if begin else lines[:-1]))
    return [event for event in events if event is not None]


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return event if isinstance(event, dict) else None
