"""Prerequisites: checks that look before a run starts. A check that crashes blocks."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from .errors import OutsideWorkspace, QuantError
from .lock import view_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from .clock import Clock
    from .spec import StageSpec
    from .workspace import Workspace

CheckStatus = Literal["passed", "warning", "failed", "not_applicable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckContext:
    """What a check may look at."""

    workspace: Workspace
    spec: StageSpec
    params: Any
    clock: Clock
    environ: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """One answer; only ``failed`` blocks."""

    name: str
    status: CheckStatus
    detail: str
    fix: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the form answers carry."""
        return {
            "name": self.name,
            "status": self.status,
            "detail": self.detail,
            "fix": self.fix,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A named prerequisite: `look` answers with status, detail and fix."""

    name: str
    look: Callable[[CheckContext], tuple[CheckStatus, str, str]]

    def run(self, context: CheckContext) -> CheckResult:
        """Return what `look` sees; an exception in it is a failed check."""
        try:
            status, detail, fix = self.look(context)
        except QuantError as error:
            return CheckResult(name=self.name, status="failed", detail=error.message, fix=error.fix)
        except Exception as error:  # noqa: BLE001 - a check that crashes blocks, and says how
            return CheckResult(
                name=self.name,
                status="failed",
                detail=f"the check itself crashed: {type(error).__name__}: {error}",
                fix=f"mend the check {self.name!r} of this stage",
            )
        return CheckResult(name=self.name, status=status, detail=detail, fix=fix)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run would do, from headers and sizes alone.

    Attributes:
        steps: names, in order.
        candidates: series to be worked on.
        files: inputs to be read.
        rows: rows in them, null where a header does not tell.
        bytes: their size on disk.
        eta_seconds: from the throughput of earlier runs; null without one.
        readable_share: share of inputs whose header could be read; null without inputs.
        inputs: a digest that names exactly what would be read.
    """

    steps: tuple[str, ...] = ()
    candidates: int = 0
    files: int = 0
    rows: int | None = None
    bytes: int = 0
    eta_seconds: float | None = None
    readable_share: float | None = None
    inputs: str = ""
    notes: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Return the form answers carry."""
        return {
            "steps": list(self.steps),
            "candidates": self.candidates,
            "files": self.files,
            "rows": self.rows,
            "bytes": self.bytes,
            "eta_seconds": self.eta_seconds,
            "inputs": self.inputs,
            "notes": list(self.notes),
        }


def run_checks(checks: Iterable[Check], context: CheckContext) -> list[CheckResult]:
    """Return every check's answer, in order."""
    return [check.run(context) for check in checks]


def _permissions(context: CheckContext) -> tuple[CheckStatus, str, str]:
    workspace = context.workspace
    for folder in (workspace.artifacts, workspace.lakehouse):
        try:
            workspace.inside(folder)
        except OutsideWorkspace as error:
            return "failed", error.message, error.fix
        standing = _nearest_folder(folder)
        if not standing.is_dir():
            return "failed", f"{standing} is not a folder", f"move {standing} away"
        if not os.access(standing, os.W_OK | os.X_OK) or _is_read_only(standing):
            return "failed", f"{standing} is not writable", f"make {standing} writable"
    return "passed", f"{workspace.data} can be written", ""


def _is_read_only(folder: Path) -> bool:
    return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)


def _nearest_folder(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _lock(context: CheckContext) -> tuple[CheckStatus, str, str]:
    if context.spec.lock is None:
        return "not_applicable", "any number of runs may work at once", ""
    view = view_lock(context.workspace, context.spec.id)
    if view.state == "free":
        return "passed", view.evidence, ""
    return (
        "warning",
        f"held by lock {view.lock_id!r} of run {view.run_id} ({view.state}: {view.evidence})",
        (
            f"wait for it (quant run tail {view.run_id} --follow), or quant cancel "
            f"--scope {view.run_id}"
        ),
    )


def free_bytes(workspace: Workspace) -> int:
    """Return the bytes a run may still write on the workspace's file system."""
    return shutil.disk_usage(_nearest_folder(workspace.data)).free


COMMON: tuple[Check, ...] = (
    Check(name="permissions", look=_permissions),
    Check(name="lock", look=_lock),
)
