"""``quant run tail`` and ``quant audit tail``: one command in two places."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from quant_cli.output import cell
from quant_cli.session import Leaf, Session, pass_session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quant_sdk import QuantSDK

TAILED = 200
Event = dict[str, Any]


@click.command(cls=Leaf)
@click.argument("run_id", metavar="[RUN]", required=False)
@click.option(
    "--follow", "-f", is_flag=True, help="Wait for more; a run's end, or its death, ends it."
)
@click.option(
    "--since-seq", type=int, metavar="N", help="All events of RUN after this one of its numbers."
)
@click.option("--stage", "stage_id", metavar="ID", help="Only events of this stage.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=TAILED,
    show_default=True,
    help="Without --since-seq: begin with the last N; with it and without --follow: the first N.",
)
@pass_session
def tail(  # noqa: PLR0913 - an option each
    session: Session,
    *,
    run_id: str | None,
    follow: bool,
    since_seq: int | None,
    stage_id: str | None,
    limit: int,
) -> None:
    """Show the events of a run, or of all; with --json one object a line."""
    sdk = session.sdk
    if run_id is not None:
        sdk.run(run_id)  # a misspelt run would be waited for for ever
    if stage_id is not None:
        stage_id = sdk.registry[stage_id].id
    events = _events(
        sdk, run_id=run_id, follow=follow, since_seq=since_seq, stage_id=stage_id, limit=limit
    )
    for event in events:
        session.output.event(event, _event_text)
    if follow and run_id is not None:
        _tell_death(session, run_id)


def _events(sdk: QuantSDK, *, follow: bool, limit: int, **wanted: Any) -> Iterator[Event]:
    """Yield what `tail` shows; the log only grows, so what was counted stays where it was."""
    if wanted["since_seq"] is not None:
        return islice(sdk.tail(**wanted, follow=follow), None if follow else limit)
    if not follow:
        return iter(deque(sdk.tail(**wanted), maxlen=limit))
    standing = sum(1 for _ in sdk.tail(**wanted))
    return islice(sdk.tail(**wanted, follow=True), max(standing - limit, 0), None)


def _tell_death(session: Session, run_id: str) -> None:
    """Say why there is no more to follow where no end of the run was shown."""
    if not session.sdk.run(run_id).is_terminal:
        found = session.sdk.explain(run_id)
        session.output.warn(f"nothing more will come of {run_id}: {found.sentence}")
        session.output.warn(f"fix: {found.commands[0]}")


def _event_text(event: Event) -> str:
    progress = event.get("progress") or {}
    percent = progress.get("percent")
    shown = [
        str(event.get("timestamp", ""))[:23],
        str(event.get("run_id", ""))[-6:],
        str(event.get("event", "")),
        *(
            f"{name}={cell(event[name])}"
            for name in ("step", "symbol", "rows", "status")
            if event.get(name) is not None
        ),
        f"{percent:g} %" if isinstance(percent, (int, float)) else "",
    ]
    return cell(" ".join(text for text in shown if text), widest=None)
