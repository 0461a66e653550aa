"""``quant status``: where runs stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from quant_cli import documents
from quant_cli.output import cell
from quant_cli.session import Leaf, Session, pass_session

if TYPE_CHECKING:
    from collections.abc import Iterator


@click.command(cls=Leaf)
@click.argument("scope", metavar="[SCOPE]", required=False)
@click.option(
    "--since-seq",
    type=int,
    metavar="N",
    help="Answer `unchanged` where SCOPE has told of nothing since this number.",
)
@pass_session
def status(session: Session, scope: str | None, since_seq: int | None) -> None:
    """Show every live run, or the last one of a stage, or a run: SCOPE is its id."""
    if since_seq is not None and scope is None:
        raise click.UsageError("--since-seq counts within one run: name it as SCOPE")
    session.output.emit(documents.statuses(session.sdk, scope, since_seq=since_seq), _status_text)


def _status_text(document: dict[str, Any]) -> Iterator[str]:
    yield from control_lines(document["control"])
    if not document["runs"]:
        yield "nothing is live"
    for run in document["runs"]:
        if run.get("unchanged"):
            yield f"{run['run_id']}  unchanged since {run['seq']}"
            continue
        yield f"{run['run_id']}  {' '.join(_standing(run))}"
        if run.get("error"):
            yield f"  error: {cell(run['error']['message'], widest=None)}"
        for action in run.get("next_actions") or ():
            yield f"  next: {cell(action, widest=None)}"


def control_lines(control: dict[str, Any]) -> Iterator[str]:
    """Yield what control asks of runs, live or to come, a line each."""
    if control["error"]:
        yield f"warning: {cell(control['error']['message'], widest=None)}"
    for pause in control["pauses"]:
        who = f" by {pause['actor']}" if pause["actor"] else ""
        why = f" ({pause['reason']})" if pause["reason"] else ""
        until = f" until {pause['expires_at']}" if pause["expires_at"] else ""
        scope = "" if pause["scope"] == "*" else f" --scope {pause['scope']}"
        told = f"a pause of {pause['scope']} stands{who}{why}{until}: quant resume{scope}"
        yield cell(told, widest=None)
    for throttle in control["throttles"]:
        who = f" by {throttle['actor']}" if throttle["actor"] else ""
        why = f" ({throttle['reason']})" if throttle["reason"] else ""
        until = f" until {throttle['expires_at']}" if throttle["expires_at"] else ""
        scope = "" if throttle["scope"] == "*" else f" --scope {throttle['scope']}"
        told = (
            f"{throttle['scope']} is throttled to {throttle['max_requests_per_second']:g} requests "
            f"a second{who}{why}{until}: quant throttle --off{scope}"
        )
        yield cell(told, widest=None)


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
