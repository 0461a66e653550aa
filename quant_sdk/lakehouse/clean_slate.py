"""The clean slate: the tables go, what proves the past stays."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from quant_registry.errors import LiveRun
from quant_registry.steering import live_runs

if TYPE_CHECKING:
    from pathlib import Path

    from quant_registry.workspace import Workspace


def wipe(workspace: Workspace) -> dict[str, Any]:
    """Remove ``data/lakehouse``; locks, epochs, audit, runs and snapshots stay.

    Raises:
        LiveRun: a run is live; nothing was removed.
    """
    folder = workspace.lakehouse
    with ExitStack() as held:
        _exclude_runs(workspace, held)
        if not folder.is_dir():
            return {"removed": False, "path": workspace.display(folder)}
        aside = folder.with_name(".lakehouse.wiped")
        if aside.exists():
            shutil.rmtree(aside)
        folder.replace(aside)
        shutil.rmtree(aside)
    return {"removed": True, "path": workspace.display(folder)}


def _exclude_runs(workspace: Workspace, held: ExitStack) -> None:
    """Hold the lock of every stage and table while they go, so that no run can begin meanwhile."""
    from filelock import FileLock, Timeout

    live = live_runs(workspace)
    if live:
        raise _live_run(live[0].run_id)
    for path in sorted(_lock_files(workspace.locks)):
        lock = FileLock(path, timeout=0.05, fallback_to_soft=False)
        try:
            held.enter_context(lock)
        except Timeout:
            raise _live_run(path.stem) from None


def _lock_files(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*.lock") if path.name != "control.lock"]


def _live_run(name: str) -> LiveRun:
    return LiveRun(
        f"{name} is live, so the lakehouse stays",
        fix=f"wait for it, or cancel it: quant cancel --scope {name}",
    )
