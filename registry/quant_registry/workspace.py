"""The workspace: one root, and where each file of the contract stands under it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import InvalidInput, OutsideWorkspace
from .ids import check_run_id, check_stage_id
from .spec import CONTROL_NAME

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .spec import StageSpec

ENVIRONMENT = "QUANT_WORKSPACE"


@dataclass(frozen=True, slots=True)
class Workspace:
    """Paths under `root`; nothing is created by asking for one."""

    root: Path

    @classmethod
    def resolve(
        cls, root: str | os.PathLike[str] | None = None, environ: Mapping[str, str] | None = None
    ) -> Workspace:
        """Return the workspace at `root`, else at ``QUANT_WORKSPACE``, else in this folder.

        Raises:
            InvalidInput: the folder does not exist.
        """
        environ = os.environ if environ is None else environ
        folder = Path(root or environ.get(ENVIRONMENT) or Path.cwd()).expanduser()
        if not folder.is_dir():
            raise InvalidInput(
                f"the workspace {str(folder)!r} is not a folder",
                fix=f"create it, or name another with --workspace or {ENVIRONMENT}",
            )
        return cls(folder.resolve())

    @property
    def data(self) -> Path:
        """The folder of inputs and of everything a run writes."""
        return self.root / "data"

    @property
    def lakehouse(self) -> Path:
        """The tables, the status files and the control file."""
        return self.data / "lakehouse"

    @property
    def artifacts(self) -> Path:
        """What outlives a wiped lakehouse: audit, locks, run records."""
        return self.data / "artifacts"

    @property
    def audit(self) -> Path:
        """The audit log, one JSON object a line, append only."""
        return self.artifacts / "audit.jsonl"

    @property
    def control(self) -> Path:
        """The desired state, written by people and agents."""
        return self.lakehouse / CONTROL_NAME

    @property
    def last_control(self) -> Path:
        """The last directives that could be read."""
        return self.artifacts / "control.json"

    @property
    def locks(self) -> Path:
        """Lock files and their owners."""
        return self.artifacts / "locks"

    @property
    def keys(self) -> Path:
        """What idempotency keys stand for."""
        return self.artifacts / "keys"

    @property
    def runs(self) -> Path:
        """One folder a run."""
        return self.artifacts / "runs"

    @property
    def snapshots(self) -> Path:
        """One folder a snapshot."""
        return self.data / "snapshots"

    @property
    def settings(self) -> Path:
        """The workspace's own settings: ``quant.yml``."""
        return self.root / "quant.yml"

    def run_dir(self, run_id: str) -> Path:
        """The folder of a run's record, checkpoint, result and reports."""
        return self.runs / check_run_id(run_id)

    def export_dir(self, run_id: str) -> Path:
        """The folder of what a run hands to people and later stages."""
        return self.data / "export" / check_run_id(run_id)

    def status_file(self, spec: StageSpec, run_id: str) -> Path:
        """Where the runs of a stage keep their observed state."""
        if spec.lock is None:
            return self.run_dir(run_id) / "status.json"
        if spec.status_file is not None:
            return self.inside(self.lakehouse / spec.status_file)
        return self.lakehouse / "status" / f"{check_stage_id(spec.id)}.json"

    def inside(self, path: Path) -> Path:
        """Return `path`, resolved, if it stays under the root.

        Raises:
            OutsideWorkspace: it leaves the workspace, by ``..`` or by a symbolic link.
        """
        full = (self.root / path).resolve()
        if not full.is_relative_to(self.root):
            raise OutsideWorkspace(
                f"{str(path)!r} leaves the workspace", fix=f"name a path under {self.root}"
            )
        return full

    def display(self, path: Path) -> str:
        """Return `path` relative to the root where it can be."""
        return (
            path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)
        )
