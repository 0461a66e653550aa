"""The status file: a run's observed state, for observers that gate other work on it."""

from __future__ import annotations

from types import NoneType
from typing import TYPE_CHECKING, Any

from .errors import Corrupted, InvalidInput
from .files import dump_json, read_json, write_atomic

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SCHEMA = "status/1"
# The seed's own fields, which a body may set.
REPORTED = ("phase", "health_check", "candidate_count")
PHASES = ("ingestion", "verification", "complete")
HEALTH_CHECKS = ("pending", "passed", "degraded", "failed")
# What readers rest on; a file of another shape is not ours.
_SHAPE: dict[str, tuple[type, ...]] = {
    "run_id": (str,),
    "state": (str,),
    "seq": (int, NoneType),
    "progress": (dict, NoneType),
    "owner": (dict, NoneType),
    "control": (dict, NoneType),
}
# Observers may rely on a heartbeat at least this often.
HEARTBEAT_SECONDS = 1.0
MIN_SECONDS_BETWEEN_WRITES = 0.25


def write_status(path: Path, document: Mapping[str, Any]) -> None:
    """Replace the status file durably."""
    write_atomic(path, dump_json({"schema": SCHEMA, **document}))


def check_reported(fields: Mapping[str, Any]) -> None:
    """Refuse what the status must not say; observers gate on these fields.

    Raises:
        InvalidInput: another field than `REPORTED`, or another value than its own.
    """
    for name, value in fields.items():
        allowed = {"phase": PHASES, "health_check": HEALTH_CHECKS}.get(name)
        if name not in REPORTED:
            raise InvalidInput(
                f"the status has no field {name!r}", fix=f"use one of {', '.join(REPORTED)}"
            )
        if value is not None and allowed is not None and value not in allowed:
            raise InvalidInput(
                f"{name} of the status is {value!r}", fix=f"use one of {', '.join(allowed)}"
            )


def read_status(path: Path) -> dict[str, Any] | None:
    """Return the status at `path`, or None where no run has written one.

    Raises:
        Corrupted: the file is no status; our writers never leave one that is not.
    """
    try:
        document = read_json(path)
    except FileNotFoundError:
        return None
    for name, kinds in _SHAPE.items():
        if not isinstance(document.get(name), kinds):
            raise Corrupted(
                f"{path.name} is no status: {name} is {str(document.get(name))[:40]!r}",
                fix=f"remove {path}; the next run of the stage writes it anew",
            )
    return document


def next_actions(state: str, *, run_id: str, stage_id: str, scope: str | None) -> list[str]:
    """Return the commands that make sense in `state`, most helpful first.

    Args:
        state: the run's state.
        run_id: the run.
        stage_id: its stage.
        scope: of the directive that the run obeys, where there is one.
    """
    follow = f"quant run tail {run_id} --follow"
    # Without a scope a resume is for every run; a bare * would be the shell's.
    resume = "quant resume" if scope == "*" else f"quant resume --scope {scope or run_id}"
    again = f"quant stage run {stage_id}"
    return {
        "queued": [f"quant wait {run_id}", follow, f"quant cancel --scope {run_id}"],
        "running": [follow, f"quant pause --scope {run_id}", f"quant cancel --scope {run_id}"],
        "pause_requested": [follow, resume],
        "paused": [resume, f"quant cancel --scope {run_id}"],
        "cancel_requested": [follow],
        "succeeded": [f"quant run show {run_id}"],
    }.get(state, [f"quant run show {run_id}", again])
