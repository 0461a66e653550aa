"""Run records: ``run.json``, what was asked, who did it, how it ended."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

import orjson

from .audit import GENESIS
from .errors import Corrupted, UnknownRun
from .files import dump_json, read_json, write_atomic
from .ids import stage_of_run_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from .workspace import Workspace

SCHEMA = "run/1"
# Among so many of the newest runs an unknown one is compared with.
_NEAR = 200
RunState = Literal[
    "queued",
    "running",
    "pause_requested",
    "paused",
    "cancel_requested",
    "succeeded",
    "failed",
    "cancelled",
    "abandoned",
]
TERMINAL: frozenset[str] = frozenset({"succeeded", "failed", "cancelled", "abandoned"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One run; a terminal record never changes again. Times are RFC 3339 in UTC.

    `status_file` is where the run shows its status, as seen from the workspace.
    """

    run_id: str
    stage_id: str
    stage_version: str
    state: RunState
    actor: str
    created_at: str
    params: dict[str, Any] = field(default_factory=dict)
    params_digest: str = ""
    lock_id: str | None = None
    epoch: int = 0
    owner: dict[str, Any] = field(default_factory=dict)
    idempotency_key: str | None = None
    plan_hash: str | None = None
    parent_run_id: str | None = None
    status_file: str | None = None
    continues: str | None = None
    finished_at: str | None = None
    active_seconds: float = 0.0
    paused_seconds: float = 0.0
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    evidence: str | None = None
    audit_head: dict[str, Any] = field(default_factory=lambda: {"seq": 0, "hash": GENESIS})
    schema: str = SCHEMA

    @property
    def is_terminal(self) -> bool:
        """Whether the run has ended."""
        return self.state in TERMINAL

    @property
    def exit_code(self) -> int:
        """The exit code that tells this outcome to a shell."""
        if self.state == "succeeded":
            return 0
        return 130 if self.state == "cancelled" else int((self.error or {}).get("exit_code", 1))

    def changed(self, **changes: Any) -> RunRecord:
        """Return a copy with `changes`."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Return the form of ``run.json``."""
        return {name: getattr(self, name) for name in _FIELDS}


_FIELDS = tuple(item.name for item in fields(RunRecord))


def params_digest(params: Mapping[str, Any]) -> str:
    """Return the SHA-256 of parameters, whatever the order of their keys."""
    return hashlib.sha256(orjson.dumps(params, option=orjson.OPT_SORT_KEYS)).hexdigest()


def write_record(workspace: Workspace, record: RunRecord) -> None:
    """Write a run's record durably; a result stands in ``result.json`` and is written first."""
    document = record.to_dict()
    result = document.pop("result")
    path = _path(workspace, record.run_id)
    if result is not None:
        write_atomic(path.with_name("result.json"), dump_json(result))
    write_atomic(path, dump_json(document))


def read_record(workspace: Workspace, run_id: str) -> RunRecord:
    """Return the record of a run.

    Raises:
        UnknownRun: no such run in this workspace.
        Corrupted: its record is malformed.
    """
    path = _path(workspace, run_id)
    try:
        document = read_json(path)
    except FileNotFoundError:
        raise UnknownRun(run_id, run_ids(workspace)[:_NEAR]) from None
    if document.get("state") == "succeeded":
        with suppress(FileNotFoundError):
            document["result"] = read_json(path.with_name("result.json"))
    try:
        return RunRecord(**document)
    except TypeError as error:
        raise Corrupted(
            f"the record of run {run_id} has other fields: {error}",
            fix="it was written by another version; read it with that one",
        ) from error


def find_record(workspace: Workspace, run_id: str | None) -> RunRecord | None:
    """Return the record of a run, or None where there is none."""
    try:
        return None if run_id is None else read_record(workspace, run_id)
    except UnknownRun:
        return None


def run_ids(workspace: Workspace, stage_id: str | None = None) -> list[str]:
    """Return the ids of recorded runs, newest first, of one stage or of all."""
    try:
        names = [name for name in os.listdir(workspace.runs) if name[0] != "."]  # noqa: PTH208 - histories grow long
    except FileNotFoundError:
        return []
    return sorted(
        (name for name in names if stage_id is None or stage_of_run_id(name) == stage_id),
        reverse=True,
    )


def records(
    workspace: Workspace,
    stage_id: str | None = None,
    *,
    limit: int | None = 50,
    before: str | None = None,
) -> Iterator[RunRecord]:
    """Yield the newest records, newest first; folders without a record are passed over.

    Args:
        workspace: where to look.
        stage_id: only runs of this stage.
        limit: how many at most; None for all.
        before: only runs that come after this run id in that order, for the next page.
    """
    recorded = (
        run_id
        for run_id in run_ids(workspace, stage_id)
        if (before is None or run_id < before) and _path(workspace, run_id).is_file()
    )
    for run_id in islice(recorded, limit):
        yield read_record(workspace, run_id)


def _path(workspace: Workspace, run_id: str) -> Path:
    return workspace.run_dir(run_id) / "run.json"
