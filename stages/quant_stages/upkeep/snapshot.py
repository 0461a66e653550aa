"""`data.snapshot`: this state of the tables, kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quant_sdk.lakehouse.snapshot import create_snapshot, find_snapshot
from quant_stages.upkeep.params import SnapshotResult
from quant_stages.upkeep.tables import make_whole, written

if TYPE_CHECKING:
    from quant_sdk import Run


def snapshot(run: Run, _: None) -> SnapshotResult:
    """Link the files of all tables into a snapshot, unless one of this state stands already."""
    workspace = run.workspace
    with run.step("snapshot"):
        make_whole(run)
        tables = written(workspace)
        found = find_snapshot(workspace, tables)
        reused = found is not None
        if found is None:
            found = run.commit(
                lambda _: create_snapshot(workspace, run.run_id, tables, now=run.clock.now()),
                batch_id=f"snapshot-{run.run_id}",
                event="snapshot_created",
                describe=_describe,
            )
    return SnapshotResult(
        message="the snapshot of this state stands already" if reused else "a snapshot was made",
        snapshot=found["id"],
        reused=reused,
        files=found["files"],
        bytes=found["bytes"],
        table_versions={table["name"]: table["version"] for table in found["tables"]},
    )


def _describe(manifest: dict[str, Any]) -> dict[str, Any]:
    return {
        "status": "success",
        "snapshot": manifest["id"],
        "files": manifest["files"],
        "bytes": manifest["bytes"],
    }
