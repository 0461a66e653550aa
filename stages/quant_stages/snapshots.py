"""The snapshot of a state of the tables: made once, whichever stage asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quant_sdk.lakehouse.snapshot import create_snapshot, find_snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable

    from quant_sdk import Run
    from quant_sdk.lakehouse.table import Table


def standing_snapshot(run: Run, tables: Iterable[Table]) -> tuple[dict[str, Any], bool]:
    """Return the manifest of this state's snapshot, made where none stands, and whether one did."""
    linked = list(tables)
    found = find_snapshot(run.workspace, linked)
    if found is not None:
        return found, True
    made = run.commit(
        lambda _: create_snapshot(run.workspace, run.run_id, linked, now=run.clock.now()),
        batch_id=f"snapshot-{run.run_id}",
        event="snapshot_created",
        describe=_describe,
    )
    return made, False


def _describe(manifest: dict[str, Any]) -> dict[str, Any]:
    return {
        "status": "success",
        "snapshot": manifest["id"],
        "files": manifest["files"],
        "bytes": manifest["bytes"],
    }
