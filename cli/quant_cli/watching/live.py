"""The live view on a terminal: look, draw what has changed, obey a key."""

from __future__ import annotations

import os
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from quant_cli.watching.frame import Line, draw
from quant_cli.watching.keys import Keys
from quant_cli.watching.view import View, Wish
from quant_sdk import QuantError

if TYPE_CHECKING:
    from quant_cli.watching.scene import Watcher
    from quant_sdk import QuantSDK

PERIOD_SECONDS = 0.25


def watch(sdk: QuantSDK, watcher: Watcher) -> None:
    """Show the runs until ``q`` is pressed."""
    console = Console(file=sys.__stdout__)
    live = Live(console=console, screen=True, auto_refresh=False,
                redirect_stdout=False, redirect_stderr=False)  # fmt: skip
    # Steering waits up to a second for the run to hear it; the view goes on meanwhile.
    with Keys(sys.stdin.fileno()) as keys, ThreadPoolExecutor(1, "quant-watch") as hand, live:
        _loop(sdk, watcher, keys, hand, live)


def _loop(
    sdk: QuantSDK, watcher: Watcher, keys: Keys, hand: ThreadPoolExecutor, live: Live
) -> None:
    view = View()
    asked: Future[str] | None = None
    shown: list[Line] = []
    while True:
        scene = watcher.look()
        if asked is not None and asked.done():
            view, asked = replace(view, answer=asked.result()), None
        view = view.settled(scene)
        size = os.get_terminal_size(sys.stdin.fileno())
        lines = draw(
            scene,
            selected=view.selected,
            told=view.told,
            width=size.columns,
            height=size.lines,
        )
        if lines != shown:
            shown = lines
            live.update(_text(lines), refresh=True)
        for key in keys.read(PERIOD_SECONDS):
            view, wish = view.press(key, scene)
            if wish is not None and wish.action == "quit":
                return
            if wish is not None:
                asked = hand.submit(_steer, sdk, wish)


def _steer(sdk: QuantSDK, wish: Wish) -> str:
    steer: Any = {"pause": sdk.pause, "resume": sdk.resume, "cancel": sdk.cancel}[wish.action]
    try:
        answer = steer(wish.run_id)
    except (QuantError, OSError) as error:
        return f"{wish.action} failed: {error}"
    wider = "; a pause of * still stands" if "*" in answer.standing else ""
    return f"{wish.action} of {wish.run_id}: {answer.outcome}{wider}"


def _text(lines: list[Line]) -> Text:
    text = Text(no_wrap=True, overflow="crop", end="")
    for index, line in enumerate(lines):
        if index:
            text.append("\n")
        for span in line:
            text.append(span.text, span.style or None)
    return text
