"""``quant run``: list, show and follow runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from quant_cli.commands.tail import tail
from quant_cli.output import facts, table
from quant_cli.session import Leaf, Session, pass_session

if TYPE_CHECKING:
    from collections.abc import Iterator

LISTED = 50


@click.group()
def run() -> None:
    """List, show and follow runs."""


@run.command("list", cls=Leaf)
@click.option("--stage", "stage_id", metavar="ID", help="Only runs of this stage.")
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=LISTED, show_default=True, help="At most."
)
@click.option("--cursor", metavar="RUN", help="Go on after this run: the answer's next_cursor.")
@pass_session
def list_runs(session: Session, stage_id: str | None, limit: int, cursor: str | None) -> None:
    """List runs, newest first."""
    sdk = session.sdk
    if stage_id is not None:
        stage_id = sdk.registry[stage_id].id
    found = sdk.runs(stage_id, limit=limit + 1, before=cursor)
    more = len(found) > limit
    document = {
        "runs": [_summary(record.to_dict()) for record in found[:limit]],
        "truncated": more,
        "next_cursor": found[limit - 1].run_id if more else None,
    }
    session.output.emit(document, _runs_text)


def _summary(record: dict[str, Any]) -> dict[str, Any]:
    from quant_sdk import Owner, liveness

    names = ("run_id", "stage_id", "state", "actor", "created_at", "finished_at", "continues")
    error = record["error"] or {}
    over = record["finished_at"] is not None
    process = None if over else liveness(Owner.from_dict(record["owner"]))[0]
    summary = {name: record[name] for name in names}
    return {**summary, "process": process, "error_code": error.get("code")}


def _runs_text(document: dict[str, Any]) -> Iterator[str]:
    yield from table(
        document["runs"],
        ("run_id", "state", "process", "actor", "created_at", "error_code"),
        empty="no runs",
    )
    if document["truncated"]:
        yield f"more: --cursor {document['next_cursor']}"


@run.command("show", cls=Leaf)
@click.argument("run_id", metavar="RUN")
@pass_session
def show_run(session: Session, run_id: str) -> None:
    """Show what was asked of a run, who did it and how it ended."""
    session.output.emit(session.sdk.run(run_id).to_dict(), facts)


run.add_command(tail)
