"""``quant snapshot``: what was published, and whether it still is what it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from quant_cli.output import listing, table
from quant_cli.session import Leaf, Session, pass_session

if TYPE_CHECKING:
    from collections.abc import Iterator

LISTED = 50
CORRUPTED = 1


@click.group()
def snapshot() -> None:
    """List and verify snapshots."""


@snapshot.command("list", cls=Leaf)
@pass_session
def list_snapshots(session: Session) -> None:
    """List the snapshots, newest first."""
    from quant_sdk.lakehouse import snapshot as snapshots

    found = snapshots.list_snapshots(session.sdk.workspace)
    session.output.emit(listing("snapshots", found[::-1], LISTED), _list_text)


def _list_text(document: dict[str, Any]) -> Iterator[str]:
    rows = [
        {**item, "tables": [f"{entry['name']} v{entry['version']}" for entry in item["tables"]]}
        for item in document["snapshots"]
    ]
    return table(rows, ("id", "created_at", "files", "bytes", "tables"), empty="no snapshots")


@snapshot.command("verify", cls=Leaf)
@click.argument("snapshot_id", metavar="[ID]", required=False)
@pass_session
def verify_snapshot(session: Session, snapshot_id: str | None) -> int:
    """Read every file of a snapshot, or of all, again; exit code 1 where one has changed."""
    from quant_sdk.lakehouse import snapshot as snapshots

    workspace = session.sdk.workspace
    ids = (
        [item["id"] for item in snapshots.list_snapshots(workspace)]
        if snapshot_id is None
        else [snapshot_id]
    )
    reports = [snapshots.verify_snapshot(workspace, name) for name in ids]
    ok = all(report["ok"] for report in reports)
    session.output.emit({**listing("snapshots", reports), "ok": ok}, _verified_text)
    return 0 if ok else CORRUPTED


def _verified_text(document: dict[str, Any]) -> Iterator[str]:
    yield from table(document["snapshots"], ("id", "ok", "files"), empty="no snapshots")
    for report in document["snapshots"]:
        for problem in report["problems"]:
            yield f"{report['id']}: {problem}"
