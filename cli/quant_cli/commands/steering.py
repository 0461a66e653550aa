"""``quant pause``, ``resume``, ``cancel``, ``throttle``: they answer with what really happened."""

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


@click.command(cls=_Steering)
@click.argument("rate", metavar="RATE", type=float, required=False)
@click.option("--off", is_flag=True, help="Lift the throttle of the scope.")
@scope_option
@reason_option
@click.option(
    "--for",
    "lasts",
    metavar="DURATION",
    callback=duration,
    help="Lift it by itself after 45s, 30m, 2h or 1d.",
)
@pass_session
def throttle(  # noqa: PLR0913, PLR0917 - click's parameters
    session: Session,
    rate: float | None,
    off: bool,  # noqa: FBT001 - click's flag
    scope: str,
    reason: str,
    lasts: timedelta | None,
) -> None:
    """Let runs ask each venue at most RATE times a second; it holds for later runs too."""
    if (rate is None) == (not off):
        raise click.UsageError("name requests a second, such as 2 or 0.5, or --off")
    answer = session.sdk.throttle(rate, scope, reason=reason, lasts=lasts)
    session.output.emit(answer.to_dict(), _answer_text)


def _answer_text(document: dict[str, Any]) -> Iterator[str]:
    for run in document["runs"]:
        yield f"{run['run_id']}  {cell(run['outcome'])}"
    level = "throttle" if document["action"] == "throttle" else "pause"
    held = document["action"] == level and document["scope"] in document["standing"]
    if not document["runs"]:
        yield f"{document['outcome']}{'; it holds for later runs' if held else ''}"
    for scope in document["lifted"]:
        yield f"the standing {level} of {cell(scope)} is lifted"
    if not held and document["action"] != "cancel":
        for scope in document["standing"]:
            yield f"a {level} of {cell(scope)} still stands for other runs"
