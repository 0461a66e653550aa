"""Upkeep of the lakehouse: compaction, restore, undo, replay of quarantined rows, snapshots."""

from __future__ import annotations

from quant_sdk import Effects, StageSpec

_HOME = "quant_stages.upkeep"

STAGES = (
    StageSpec(
        id="lakehouse.optimize",
        category="lakehouse",
        tags=("upkeep", "lakehouse"),
        title="Turn many small files into few sorted ones, and remove files that nobody needs",
        params=f"{_HOME}.params:OptimizeParams",
        result=f"{_HOME}.params:OptimizeResult",
        body=f"{_HOME}.optimize:optimize",
        checks=f"{_HOME}.checks:CHECKS",
        plan=f"{_HOME}.optimize:plan",
        rehearse=f"{_HOME}.optimize:rehearse",
        effects=Effects(network=False, idempotent=True, destructive=True),
    ),
    StageSpec(
        id="lakehouse.restore",
        category="lakehouse",
        tags=("upkeep", "lakehouse"),
        title="Go back to an earlier version of a table",
        params=f"{_HOME}.params:RestoreParams",
        result=f"{_HOME}.params:RestoreResult",
        body=f"{_HOME}.restore:restore_table",
        checks=f"{_HOME}.checks:CHECKS",
        rehearse=f"{_HOME}.restore:rehearse",
        effects=Effects(network=False, idempotent=True, destructive=True),
    ),
    StageSpec(
        id="lakehouse.undo",
        category="lakehouse",
        tags=("upkeep", "lakehouse"),
        title="Take back what a run published to bars",
        params=f"{_HOME}.params:UndoParams",
        result=f"{_HOME}.params:UndoResult",
        body=f"{_HOME}.undo:undo_run",
        checks=f"{_HOME}.checks:CHECKS",
        rehearse=f"{_HOME}.undo:rehearse",
        effects=Effects(network=False, idempotent=True, destructive=True),
    ),
    StageSpec(
        id="quarantine.replay",
        category="quarantine",
        tags=("upkeep", "lakehouse"),
        title="Check quarantined rows again, and publish those that pass now",
        params=f"{_HOME}.params:ReplayParams",
        result=f"{_HOME}.params:ReplayResult",
        body=f"{_HOME}.replay:replay_rows",
        checks=f"{_HOME}.checks:CHECKS",
        rehearse=f"{_HOME}.replay:rehearse",
        effects=Effects(network=False, idempotent=True, destructive=False),
    ),
    StageSpec(
        id="data.snapshot",
        category="data",
        tags=("snapshot", "lakehouse"),
        title="Keep this state of the tables as a snapshot",
        result=f"{_HOME}.params:SnapshotResult",
        body=f"{_HOME}.snapshot:snapshot",
        checks=f"{_HOME}.checks:CHECKS",
        effects=Effects(network=False, idempotent=True, destructive=False),
    ),
)
