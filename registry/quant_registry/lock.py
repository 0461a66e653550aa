"""The stage lock: a kernel lock, with its owner and a rising epoch beside it.

The kernel frees the lock when its owner dies, so a dead owner needs no recovery and two contenders
cannot both win. That holds on a local file system; on a network file system kernel locks may not
exclude other hosts.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .clock import iso
from .errors import Corrupted, OwnershipLost, StageLocked
from .files import dump_json, make_folder, read_json, write_atomic
from .ids import check_stage_id
from .owner import Owner, liveness

if TYPE_CHECKING:
    from datetime import datetime

    from filelock import BaseFileLock

    from .workspace import Workspace

SCHEMA = "lock/1"
LockState = Literal["alive", "frozen", "free", "unknown"]
# A contender that only just released must not be reported as the holder.
_PATIENCE_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class LockView:
    """What can be seen of a lock without touching it."""

    stage_id: str
    state: LockState
    evidence: str
    lock_id: str | None = None
    run_id: str | None = None
    epoch: int = 0
    acquired_at: str | None = None
    owner: dict[str, Any] | None = None


class StageLock:
    """The lock of one stage in one workspace, as one run sees it."""

    def __init__(self, workspace: Workspace, stage_id: str) -> None:
        self._path = workspace.locks / f"{check_stage_id(stage_id)}.lock"
        self._owner_path = self._path.with_suffix(".owner.json")
        self._stage_id = stage_id
        self._kernel: BaseFileLock | None = None
        self._entry: dict[str, Any] = {}
        self._previous_run_id: str | None = None

    @property
    def epoch(self) -> int:
        """The fencing number of this holding; higher than any before."""
        return int(self._entry["epoch"])

    @property
    def previous_run_id(self) -> str | None:
        """The run that held the lock before this one, whatever became of it."""
        return self._previous_run_id

    def acquire(self, *, run_id: str, lock_id: str, owner: Owner, now: datetime) -> None:
        """Take the lock at once or not at all.

        Raises:
            StageLocked: another live run holds it; the error names lock id, run and evidence.
        """
        from filelock import FileLock, Timeout

        make_folder(self._path.parent)
        kernel = FileLock(self._path, thread_local=False, fallback_to_soft=False)
        try:
            kernel.acquire(timeout=_PATIENCE_SECONDS, poll_interval=0.01)
        except Timeout:
            raise _locked(view_lock_file(self._stage_id, self._path)) from None
        self._kernel = kernel
        try:
            last = _read_entry(self._owner_path)
            self._entry = {
                "schema": SCHEMA,
                "stage_id": self._stage_id,
                "lock_id": lock_id,
                "run_id": run_id,
                "epoch": int(last.get("epoch", 0)) + 1,
                "acquired_at": iso(now),
                "released_at": None,
                "owner": owner.to_dict(),
                "previous_run_id": last.get("run_id") if not last.get("released_at") else None,
            }
            self._previous_run_id = last.get("run_id")
            write_atomic(self._owner_path, dump_json(self._entry))
        except BaseException:
            kernel.release()
            raise

    def verify(self) -> None:
        """Make sure that this run still owns the lock.

        Raises:
            OwnershipLost: the owner file names another holding, or is gone.
        """
        entry = _read_entry(self._owner_path)
        held = self._kernel is not None and self._kernel.is_locked
        if (
            not held
            or entry.get("epoch") != self.epoch
            or entry.get("run_id") != self._entry["run_id"]
        ):
            raise OwnershipLost(
                f"the lock of {self._stage_id} is now held as {entry.get('lock_id')!r}, "
                f"epoch {entry.get('epoch')}",
                fix="this run stops; the new holder continues the work",
                epoch=self.epoch,
            )

    def release(self, now: datetime) -> None:
        """Give the lock back and record when; safe to call twice."""
        if self._kernel is None:
            return
        try:
            if _read_entry(self._owner_path).get("epoch") == self.epoch:
                self._entry["released_at"] = iso(now)
                write_atomic(self._owner_path, dump_json(self._entry))
        finally:
            self._kernel.release()
            self._kernel = None


def view_lock(workspace: Workspace, stage_id: str) -> LockView:
    """Return who holds the lock of a stage, with evidence; takes nothing and waits for nobody."""
    return view_lock_file(stage_id, workspace.locks / f"{check_stage_id(stage_id)}.lock")


def refuse_held(workspace: Workspace, stage_id: str) -> None:
    """Raise StageLocked where a live run holds the lock; takes nothing."""
    view = view_lock(workspace, stage_id)
    if view.state != "free":
        raise _locked(view)


def view_lock_file(stage_id: str, path: Path) -> LockView:
    """Return what the lock file at `path` and the owner beside it show."""
    entry = _read_entry(path.with_suffix(".owner.json"))
    if not entry:
        return LockView(stage_id=stage_id, state="free", evidence="no run has ever held it")
    state, evidence = _state(entry, path)
    return LockView(
        stage_id=stage_id,
        state=state,
        evidence=evidence,
        lock_id=entry.get("lock_id"),
        run_id=entry.get("run_id"),
        epoch=int(entry.get("epoch", 0)),
        acquired_at=entry.get("acquired_at"),
        owner=entry.get("owner"),
    )


def _state(entry: dict[str, Any], path: Path) -> tuple[LockState, str]:
    if entry.get("released_at"):
        return "free", f"released at {entry['released_at']}"
    life, evidence = liveness(Owner.from_dict(entry.get("owner") or {}))
    if life != "dead":
        return life, evidence
    holder = _kernel_holder(path)
    if holder is not None:
        return "unknown", f"{evidence}, yet process {holder} (its child?) holds the kernel lock"
    return "free", f"{evidence}; the kernel has freed the lock"


def _kernel_holder(path: Path) -> int | None:
    """Return the pid that holds a flock on `path`, where the kernel tells (Linux)."""
    if sys.platform != "linux" or not path.exists():
        return None
    inode = path.stat().st_ino
    for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
        fields = line.split()
        if "FLOCK" in fields and fields[5].rpartition(":")[2] == str(inode):
            return int(fields[4])
    return None


def _locked(view: LockView) -> StageLocked:
    return StageLocked(
        f"{view.stage_id} is held by lock {view.lock_id!r} of run {view.run_id} "
        f"({view.state}: {view.evidence})",
        fix=f"wait for it (quant run tail {view.run_id} --follow), or stop it with "
        f"quant cancel --scope {view.run_id}",
        stage_id=view.stage_id,
        lock_id=view.lock_id,
        run_id=view.run_id,
        state=view.state,
    )


def _read_entry(path: Path) -> dict[str, Any]:
    """Return what the owner file says; empty where there is none."""
    try:
        entry = read_json(path)
    except FileNotFoundError:
        return {}
    except Corrupted as error:
        raise _unreadable(path, error.message) from error
    if not isinstance(entry.get("epoch"), int) or not isinstance(entry.get("owner"), dict):
        raise _unreadable(path, "it names no epoch and no owner")
    return entry


def _unreadable(path: Path, why: str) -> Corrupted:
    return Corrupted(
        f"the owner file {path.name} is unreadable: {why}",
        fix=f"make sure that no run is live, then remove {path}",
    )
