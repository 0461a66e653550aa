"""``quant snapshot``: what was published, and whether it still is what it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from quant_cli.commands.stage import StageLeaf, carry_out
from quant_cli.output import facts, listing
from quant_cli.output import table as table_of
from quant_cli.session import Leaf, Session, pass_session

if TYPE_CHECKING:
    from collections.abc import Iterator

LISTED = 50
ROWS = 100
CORRUPTED = 1


@click.group()
def snapshot() -> None:
    """Make, list, verify and read snapshots."""


@snapshot.command("create", cls=StageLeaf)
@pass_session
def create_snapshot(session: Session, *, dry_run: bool) -> int:
    """Keep this state of the tables, unless a snapshot of it stands; runs data.snapshot."""
    return carry_out(session, "data.snapshot", {}, dry_run=dry_run)


@snapshot.command("read", cls=Leaf)
@click.argument("snapshot_id", metavar="ID")
@click.option("--table", default="bars", show_default=True, help="The table.")
@click.option("--symbol", metavar="SYMBOL", help="Only rows of this symbol.")
@click.option("--timeframe", metavar="TIMEFRAME", help="Only rows of this bar length.")
@click.option(
    "--limit", type=click.IntRange(1), default=ROWS, show_default=True, help="Rows at most."
)
@pass_session
def read_snapshot(  # noqa: PLR0913 - an option each
    session: Session,
    *,
    snapshot_id: str,
    table: str,
    symbol: str | None,
    timeframe: str | None,
    limit: int,
) -> None:
    """Show rows of a table as a snapshot keeps it."""
    from quant_sdk.lakehouse import snapshot as snapshots

    frame = snapshots.read_snapshot(
        session.sdk.workspace,
        snapshot_id,
        table,
        where={"symbol": symbol, "timeframe": timeframe},
        limit=limit + 1,
    )
    session.output.emit(listing("rows", frame.to_dicts(), limit), _rows_text)


def _rows_text(document: dict[str, Any]) -> Iterator[str]:
    rows = document["rows"]
    yield from table_of(rows, list(rows[0]) if rows else (), empty="no rows")
    if document["truncated"]:
        yield "more: raise --limit, or name a --symbol"


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
    return table_of(rows, ("id", "created_at", "files", "bytes", "tables"), empty="no snapshots")


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
    yield from table_of(document["snapshots"], ("id", "ok", "files"), empty="no snapshots")
    for report in document["snapshots"]:
        for problem in report["problems"]:
            yield f"{report['id']}: {problem}"


@snapshot.command("remove", cls=Leaf)
@click.argument("snapshot_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_session
def remove_snapshot(session: Session, snapshot_id: str, *, yes: bool) -> None:
    """Remove a snapshot; the tables keep their files."""
    from quant_sdk.lakehouse import snapshot as snapshots

    if not yes:
        session.output.confirm(
            f"Remove the snapshot {snapshot_id}?", otherwise="a snapshot would be gone"
        )
    session.output.emit(snapshots.remove_snapshot(session.sdk.workspace, snapshot_id), facts)
