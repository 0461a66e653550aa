"""``quant status``: where runs stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from quant_cli.output import cell, listing
from quant_cli.session import Leaf, Session, pass_session

if TYPE_CHECKING:
    from collections.abc import Iterator


@click.command(cls=Leaf)
@click.argument("scope", metavar="[SCOPE]", required=False)
@pass_session
def status(session: Session, scope: str | None) -> None:
    """Show every live run, or the last one of a stage, or a run: SCOPE is its id."""
    session.output.emit(listing("runs", session.sdk.status(scope)), _status_text)


def _status_text(document: dict[str, Any]) -> Iterator[str]:
    if not document["runs"]:
        yield "nothing is live"
    for run in document["runs"]:
        yield f"{run['run_id']}  {' '.join(_standing(run))}"
        if run.get("error"):
            yield f"  error: {cell(run['error']['message'], widest=None)}"
        for action in run.get("next_actions") or ():
            yield f"  next: {cell(action, widest=None)}"


def _standing(run: dict[str, Any]) -> Iterator[str]:
    yield run["state"]
    yield from (
        f"{name} {cell(run[name])}" for name in ("step", "phase", "health_check") if run.get(name)
    )
    progress = run.get("progress") or {}
    if progress.get("total") is not None:
        yield f"{progress['current']}/{progress['total']}"
    if progress.get("eta_seconds") is not None:
        yield f"eta {progress['eta_seconds']:g} s"
