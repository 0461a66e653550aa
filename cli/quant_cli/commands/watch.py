"""``quant watch``: all runs, live, with keys to pause, resume and cancel."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Any

import click

from quant_cli.session import Leaf, Session, actor_option, pass_session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quant_cli.watching.scene import Scene


class _Watch(Leaf):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(actor_option())


@click.command(cls=_Watch)
@click.option("--stage", "stage_id", metavar="ID", help="Only runs of this stage.")
@click.option("--once", is_flag=True, help="Print one frame and end.")
@pass_session
def watch(session: Session, stage_id: str | None, *, once: bool) -> None:
    """Watch live runs, and those that ended lately; p pauses, r resumes, c cancels, q quits."""
    from quant_cli.watching.scene import Watcher

    sdk = session.sdk
    if stage_id is not None:
        stage_id = sdk.registry[stage_id].id
    watcher = Watcher(sdk, stage_id)
    if once:
        scene = watcher.look()
        session.output.emit(scene.to_dict(), lambda _: _frame(scene))
        return
    if session.output.json or not _on_terminal():
        raise click.UsageError("the live view needs a terminal; for one frame add --once")
    from quant_cli.watching.live import watch as watch_live

    watch_live(sdk, watcher)


def _frame(scene: Scene) -> Iterator[str]:
    from quant_cli.watching.frame import draw, plain

    width = shutil.get_terminal_size().columns
    yield from plain(draw(scene, selected=None, told="", width=width, height=None))


def _on_terminal() -> bool:
    streams = (sys.stdin, sys.__stdout__)
    return all(stream is not None and stream.isatty() for stream in streams)
