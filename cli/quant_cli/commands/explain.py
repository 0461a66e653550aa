"""``quant explain``: why a run is not moving, and the command that helps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from quant_cli.output import cell
from quant_cli.session import Leaf, Session, pass_session

if TYPE_CHECKING:
    from collections.abc import Iterator


@click.command(cls=Leaf)
@click.argument("run_id", metavar="RUN")
@pass_session
def explain(session: Session, run_id: str) -> None:
    """Say in one sentence why RUN is not moving, and which command helps."""
    session.output.emit(session.sdk.explain(run_id).to_dict(), _explained)


def _explained(document: dict[str, Any]) -> Iterator[str]:
    yield f"{document['run_id']} {document['state']}: {cell(document['sentence'], widest=None)}"
    for line in document["evidence"]:
        yield f"  {cell(line, widest=None)}"
    for command in document["commands"]:
        yield f"next: {cell(command, widest=None)}"
