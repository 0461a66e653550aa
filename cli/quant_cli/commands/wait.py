"""``quant wait``: one blocking call instead of polling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from quant_cli.durations import duration
from quant_cli.output import cell
from quant_cli.session import Leaf, Session, pass_session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta

NOT_MET = 1


@click.command(cls=Leaf)
@click.argument("run_id", metavar="RUN")
@click.option(
    "--until",
    metavar="COND",
    default="terminal",
    show_default=True,
    help="terminal, paused, state=NAME, phase=NAME or percent>=N.",
)
@click.option(
    "--timeout",
    metavar="DURATION",
    callback=duration,
    help="Give up after 45s, 30m, 2h or 1d, with exit code 7.",
)
@pass_session
def wait(session: Session, run_id: str, until: str, timeout: timedelta | None) -> int:
    """Wait until RUN is where it should be; exit code 1 where it cannot come there any more."""
    seconds = None if timeout is None else timeout.total_seconds()
    waited = session.sdk.wait(run_id, until, timeout=seconds)
    session.output.emit(waited.to_dict(), _waited_text)
    return 0 if waited.met else NOT_MET


def _waited_text(document: dict[str, Any]) -> Iterator[str]:
    progress = document["progress"] or {}
    percent = progress.get("percent")
    shown = [
        document["run_id"],
        document["state"],
        f"phase {cell(document['phase'])}" if document["phase"] else "",
        "" if percent is None else f"{percent:g} %",
    ]
    yield "  ".join(text for text in shown if text)
    if not document["met"]:
        yield f"not {document['until']}: {cell(document['evidence'], widest=None)}"
        yield f"next: quant explain {document['run_id']}"
