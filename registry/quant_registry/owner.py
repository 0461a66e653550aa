"""Who holds something: a process, named so that a reused pid is not mistaken for it."""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

Liveness = Literal["alive", "frozen", "dead", "unknown"]

# Field positions in /proc/<pid>/stat, counted after the command's closing bracket (proc(5)).
_STATE, _START_TIME = 0, 19


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A process on a host, since a boot; `start_token` tells it from a later one of its pid."""

    pid: int
    start_token: str
    boot_id: str
    host: str
    actor: str

    def to_dict(self) -> dict[str, Any]:
        """Return the form that status and lock files carry."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Owner:
        """Return the owner a file names; a missing field becomes empty, and so unknown."""
        return cls(
            pid=_whole(document.get("pid")),
            **{
                key: str(document.get(key) or "")
                for key in ("start_token", "boot_id", "host", "actor")
            },
        )


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def this_process(actor: str) -> Owner:
    """Return the owner that this process is."""
    return process_owner(os.getpid(), actor)


def process_owner(pid: int, actor: str) -> Owner:
    """Return the owner that a live process of this host is."""
    return Owner(
        pid=pid,
        start_token=_process(pid)[1],
        boot_id=boot_id(),
        host=socket.gethostname(),
        actor=actor,
    )


def liveness(owner: Owner) -> tuple[Liveness, str]:
    """Return whether `owner` lives, and the evidence in one sentence."""
    if owner.host != socket.gethostname():
        return "unknown", f"it ran on host {owner.host!r}, which cannot be seen from here"
    if owner.boot_id != boot_id():
        return "dead", "the machine has been booted since"
    return _life_of(owner.pid, owner.start_token)


def _life_of(pid: int, start_token: str) -> tuple[Liveness, str]:
    state, token = _process(pid)
    if not token:
        if _is_hidden(pid):
            return "unknown", f"process {pid} belongs to another user and is hidden from this one"
        return "dead", f"no process has pid {pid}"
    if token != start_token:
        return "dead", f"pid {pid} belongs to a process that was started later"
    if state in {"Z", "X"}:
        return "dead", f"process {pid} has ended (state {state})"
    if state in {"T", "t"}:
        return "frozen", f"process {pid} is stopped (state {state})"
    return "alive", f"process {pid} runs (state {state})"


@lru_cache(maxsize=1)
def boot_id() -> str:
    """Return what changes at every boot of this machine."""
    if sys.platform == "linux":
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    import psutil

    return str(int(psutil.boot_time()))


def _is_hidden(pid: int) -> bool:
    """Tell whether a process exists that /proc does not show, as under ``hidepid``."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def _process(pid: int) -> tuple[str, str]:
    """Return the state letter and the start token of a process; empty when there is none."""
    if sys.platform == "linux":
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return "", ""
        fields = stat.rpartition(")")[2].split()
        return fields[_STATE], fields[_START_TIME]
    import psutil

    try:
        process = psutil.Process(pid)
        state = "T" if process.status() == psutil.STATUS_STOPPED else process.status()[:1].upper()
        return state, repr(process.create_time())
    except psutil.NoSuchProcess:
        return "", ""
