"""The clean slate: the tables go, what proves the past stays."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

from quant_registry.errors import LiveRun, PrerequisitesNotMet
from quant_registry.steering import live_runs

if TYPE_CHECKING:
    from pathlib import Path

    from quant_registry.workspace import Workspace

_ASIDE: Final = ".lakehouse.wiped"


def wipe(workspace: Workspace) -> dict[str, Any]:
    """Remove ``data/lakehouse``; locks, epochs, audit, runs and snapshots stay.

    Returns:
        ``removed``, whether anything was, be it what a killed wipe had left; and ``path``.

    Raises:
        LiveRun: a run is live; nothing was removed.
        PrerequisitesNotMet: the folder is a symbolic link, or cannot be removed.
    """
    folder = workspace.lakehouse
    aside = folder.with_name(_ASIDE)
    for path in (folder, aside):
        _refuse_link(path)
    try:
        with ExitStack() as held:
            _exclude_runs(workspace, held)
            removed = _remove(aside)
            if folder.is_dir():
                # Renamed first: half a table must not pass for a whole one.
                folder.replace(aside)
                removed = _remove(aside)
    except OSError as error:
        raise PrerequisitesNotMet(
            f"{folder} cannot be removed: {error}",
            fix=f"make {folder.parent} writable, then wipe again: it goes on where this ended",
        ) from error
    return {"removed": removed, "path": workspace.display(folder)}


def _refuse_link(path: Path) -> None:
    if path.is_symlink():
        raise PrerequisitesNotMet(
            f"{path} is a symbolic link; wiping it would leave the tables where they are",
            fix=f"put the folder itself in its place, or remove the tables in {path.resolve()}",
        )


def _remove(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    shutil.rmtree(folder)
    return True


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
