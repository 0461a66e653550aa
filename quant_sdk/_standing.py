"""Where runs stand: their status files, or their records where a status tells of another run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quant_registry.control_file import ControlFile
from quant_registry.errors import Corrupted
from quant_registry.record import RunRecord, read_record, records
from quant_registry.status import read_status
from quant_registry.steering import live_runs

if TYPE_CHECKING:
    from datetime import datetime

    from quant_registry.registry import StageRegistry
    from quant_registry.workspace import Workspace


def standing(
    workspace: Workspace, registry: StageRegistry, scope: str | None, since_seq: int | None
) -> list[dict[str, Any]]:
    """Return the status of live runs, or of the last run of a stage, or of one run."""
    if scope is None:
        runs = live_runs(workspace)
    elif scope in registry:
        runs = list(records(workspace, scope, limit=1))
    else:
        runs = [read_record(workspace, scope)]
    return [_since(_status_of(workspace, registry, run), since_seq) for run in runs]


def standing_control(workspace: Workspace, now: datetime) -> dict[str, Any]:
    """Return the levels that stand, and why the control file cannot be read, if it cannot."""
    control = ControlFile(workspace).read()
    standing = [item for item in control.directives if item.holds and not item.is_expired(now)]
    return {
        "pauses": [item.to_dict() for item in standing if item.action == "pause"],
        "throttles": [item.to_dict() for item in standing if item.action == "throttle"],
        "error": control.error.to_dict() if control.error else None,
    }


def _status_of(workspace: Workspace, registry: StageRegistry, run: RunRecord) -> dict[str, Any]:
    broken = None
    if run.stage_id in registry:
        try:
            status = read_status(workspace.status_file(registry[run.stage_id], run.run_id))
        except Corrupted as error:
            broken = error.to_dict()
        else:
            if status is not None and status["run_id"] == run.run_id:
                return status
    return {
        "run_id": run.run_id,
        "stage_id": run.stage_id,
        "state": run.state,
        "lock_id": run.lock_id,
        "owner": run.owner,
        "error": run.error or broken,
    }


def _since(status: dict[str, Any], seq: int | None) -> dict[str, Any]:
    if seq is None or status.get("seq") != seq:
        return status
    return {"run_id": status["run_id"], "seq": seq, "unchanged": True}
