"""``quant pause``, ``resume`` and ``cancel``: they answer with what really happened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from quant_cli.durations import duration
from quant_cli.output import cell
from quant_cli.session import Leaf, Session, actor_option, pass_session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta

scope_option = click.option(
    "--scope", metavar="SCOPE", default="*", show_default=True, help="A stage id, a run id or *."
)
reason_option = click.option(
    "--reason", metavar="TEXT", default="", help="For people who find it so."
)


class _Steering(Leaf):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(actor_option())


@click.command(cls=_Steering)
@scope_option
@reason_option
@click.option(
    "--for",
    "lasts",
    metavar="DURATION",
    callback=duration,
    help="Resume by itself after 45s, 30m, 2h or 1d.",
)
@pass_session
def pause(session: Session, scope: str, reason: str, lasts: timedelta | None) -> None:
    """Ask runs to stop at their next safe point; it holds for later runs too."""
    answer = session.sdk.pause(scope, reason=reason, lasts=lasts)
    session.output.emit(answer.to_dict(), _answer_text)


@click.command(cls=_Steering)
@scope_option
@reason_option
@pass_session
def resume(session: Session, scope: str, reason: str) -> None:
    """Let paused runs go on."""
    session.output.emit(session.sdk.resume(scope, reason=reason).to_dict(), _answer_text)


@click.command(cls=_Steering)
@scope_option
@reason_option
@pass_session
def cancel(session: Session, scope: str, reason: str) -> None:
    """End the runs that are live now at their next safe point."""
    session.output.emit(session.sdk.cancel(scope, reason=reason).to_dict(), _answer_text)


def _answer_text(document: dict[str, Any]) -> Iterator[str]:
    for run in document["runs"]:
        yield f"{run['run_id']}  {cell(run['outcome'])}"
    if not document["runs"]:
        standing = "; it holds for later runs" if document["action"] == "pause" else ""
        yield f"{document['outcome']}{standing}"
    for scope in document["lifted"]:
        yield f"the standing pause of {cell(scope)} is lifted"
    if document["action"] == "resume":
        for scope in document["standing"]:
            yield f"a pause of {cell(scope)} still stands for other runs"
