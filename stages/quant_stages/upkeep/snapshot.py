"""`data.snapshot`: this state of the tables, kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quant_stages.snapshots import standing_snapshot
from quant_stages.tables import make_whole, written
from quant_stages.upkeep.params import SnapshotResult

if TYPE_CHECKING:
    from quant_sdk import Run


def snapshot(run: Run, _: None) -> SnapshotResult:
    """Link the files of all tables into a snapshot, unless one of this state stands already."""
    with run.step("snapshot"):
        make_whole(run)
        found, reused = standing_snapshot(run, written(run.workspace))
    return SnapshotResult(
        message="the snapshot of this state stands already" if reused else "a snapshot was made",
        snapshot=found["id"],
        reused=reused,
        files=found["files"],
        bytes=found["bytes"],
        table_versions={table["name"]: table["version"] for table in found["tables"]},
    )
