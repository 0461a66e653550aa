from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from _stages import BY_ID

from quant_cli.watching.frame import KEYS, draw, fit, plain, widths
from quant_cli.watching.keys import parse
from quant_cli.watching.scene import Row, Scene, Trouble, Watcher
from quant_cli.watching.view import View, Wish
from quant_registry.request import RunRequest
from quant_registry.runner import run_stage
from quant_sdk import QuantSDK

NOW = datetime(2026, 2, 3, 10, tzinfo=UTC)


def row(number=0, **changes):
    base = Row(
        run_id=f"run-{number}",
        stage_id="ops.migration.dataops_v2",
        state="running",
        step="ingest",
        phase="ingestion",
        current=50,
        total=150,
        percent=33.3,
        eta_seconds=75.0,
        actor="agent-session-xyz-123",
        lock_id="lock-1",
        pid=7,
        host="host",
        seen=0.4,
        ended=False,
        directive=None,
        committing=False,
        error=None,
        evidence=None,
        next="quant run tail run-0 --follow",
    )
    return replace(base, **changes)


def scene(*rows, troubles=()):
    return Scene(root="/a/long/way/" * 20, now=NOW, rows=rows, troubles=troubles)


def frame(shown, *, selected=None, told=KEYS, width=80, height=24):
    return plain(draw(shown, selected=selected, told=told, width=width, height=height))


TROUBLES = tuple(
    Trouble(timestamp="2026-02-03T09:59:00Z", run_id="run-0", event="run_failed", message="x" * 300)
    for _ in range(3)
)
HARD = (
    row(0, actor="株式会社" * 20, step="Schritt-" * 9, directive={"action": "pause"}),
    row(1, error="a\x1b[2Jb\nerror: forged" * 30, state="failed", ended=True, percent=None),
    row(2, percent=None, total=None, current=10**12, eta_seconds=1e7, seen=1e6),
    row(3, step=None, phase=None, current=None, percent=None, total=None, pid=None, lock_id=None),
)


@pytest.mark.parametrize(
    ("width", "height", "count"),
    list(itertools.product([20, 40, 80, 81, 100, 120, 250], [1, 3, 8, 24, 60], [0, 1, 4, 40])),
)
def test_no_frame_is_larger_than_its_terminal(width, height, count):
    rows = [replace(item, run_id=f"run-{index}") for index, item in
            zip(range(count), itertools.cycle(HARD), strict=False)]  # fmt: skip
    shown = scene(*rows, troubles=TROUBLES)
    lines = draw(shown, selected="run-1", told="x" * 300, width=max(width, 80), height=height)
    assert len(lines) <= height
    for line in plain(lines):
        assert line.isprintable()
        assert sum(1 + (ord(sign) > 0x2E80) for sign in line) <= max(width, 80)


def test_a_row_tells_state_progress_eta_and_holder():
    [_, header, line, *_] = frame(scene(row()), selected="run-0")
    assert header.split() == ["STATE", "STAGE", "STEP", "PROGRESS", "ETA", "SEEN", "WHO"]
    assert line.startswith("> running    ops.migration.dat… ingest")
    assert "███░░░░░░░  33% 1:15    0s    agent…" in line
    for name, cell in (("STAGE", "ops."), ("STEP", "ingest"), ("ETA", "1:15"), ("WHO", "agent")):
        assert header.index(name) == line.index(cell)


def test_a_wide_terminal_shows_more_of_each_column():
    [_, _, line, *_] = frame(scene(row()), width=160)
    assert "ops.migration.dataops_v2" in line
    assert "agent-session-xyz-123" in line
    assert all(wide >= narrow for wide, narrow in zip(widths(160), widths(80), strict=True))
    for width in range(80, 300):
        assert sum(widths(width)) + len(widths(width)) - 1 + 2 <= width


def test_the_marked_run_is_told_of_in_detail():
    paused = row(
        state="paused", directive={"action": "pause", "actor": "ann", "reason": "bandwidth",
                                   "expires_at": "2026-02-03T11:00:00Z"},
    )  # fmt: skip
    text = "\n".join(frame(scene(paused), selected="run-0"))
    assert "  run    run-0" in text
    assert "  holder agent-session-xyz-123, lock lock-1, pid 7 on host" in text
    assert "  asked  pause by ann until 2026-02-03T11:00:00Z: bandwidth" in text
    assert "  next   quant run tail run-0 --follow" in text


def test_the_marked_row_stays_in_sight():
    rows = [row(index) for index in range(100)]
    for chosen in (0, 1, 50, 98, 99):
        lines = frame(scene(*rows), selected=f"run-{chosen}", height=12)
        assert sum(line.startswith("> ") for line in lines) == 1


def test_nothing_live_is_said():
    assert "nothing is live" in "\n".join(frame(scene()))


def test_a_low_terminal_gives_up_the_errors_before_the_details():
    shown = scene(*(row(index) for index in range(9)), troubles=TROUBLES)
    text = "\n".join(frame(shown, selected="run-0", height=12))
    assert "last errors" not in text
    assert "  holder" in text
    assert "last errors" in "\n".join(frame(shown, selected="run-0", height=30))


@pytest.mark.parametrize(
    ("text", "width", "fitted"),
    [("abc", 5, "abc  "), ("abcdef", 4, "abc…"), ("株式会社", 5, "株式…"), ("株式会社", 4, "株… "),
     ("a\nb", 4, "a b "), ("", 2, "  "), ("abc", 1, "…"), ("abc", 0, "")],
)  # fmt: skip
def test_text_is_fitted_to_cells(text, width, fitted):
    assert fit(text, width) == fitted


@pytest.mark.parametrize(
    ("sent", "keys"),
    [(b"\x1b[A", ["up"]), (b"\x1bOB", ["down"]), (b"jkQ", ["down", "up", "q"]),
     (b"\x1b[A\x1b[Bp", ["up", "down", "p"]), (b"\x1b[15~", []), (b"\xff", ["ÿ"]), (b"", [])],
)  # fmt: skip
def test_keys_are_told_apart(sent, keys):
    assert list(parse(sent)) == keys


def test_the_mark_moves_and_stops_at_the_ends():
    shown = scene(row(0), row(1))
    view = View().settled(shown)
    assert view.selected == "run-0"
    for key, selected in (("up", "run-0"), ("down", "run-1"), ("down", "run-1"), ("up", "run-0")):
        view, wish = view.press(key, shown)
        assert (view.selected, wish) == (selected, None)
    assert view.settled(scene(row(1))).selected == "run-1"
    assert view.settled(scene()).selected is None


def test_a_cancel_asks_first():
    shown = scene(row())
    view, wish = View(selected="run-0").press("c", shown)
    assert (view.told, wish) == ("cancel run-0? y/n", None)
    assert view.press("y", shown)[1] == Wish("cancel", "run-0")
    for key in ("n", "q", "p", "up"):
        after, wish = view.press(key, shown)
        assert (after.told, wish) == (KEYS, None)


def test_keys_ask_for_what_they_say():
    shown = scene(row(), row(1, ended=True, state="failed"))
    assert View(selected="run-0").press("p", shown)[1] == Wish("pause", "run-0")
    assert View(selected="run-0").press("r", shown)[1] == Wish("resume", "run-0")
    assert View(selected="run-0").press("q", shown)[1] == Wish("quit")
    view, wish = View(selected="run-1").press("p", shown)
    assert (view.told, wish) == ("it has ended: failed", None)
    assert View().press("p", scene()) == (View(), None)


def test_the_watcher_sees_live_runs_before_ended_ones(workspace, registry, background):
    run = background(BY_ID["test.hang"])
    run.wait_for_event("at_work")
    ended = run_stage(workspace, BY_ID["test.boom"], RunRequest())
    watcher = Watcher(QuantSDK(workspace.root, registry=registry))
    seen = watcher.look()
    assert [item.run_id for item in seen.rows] == [run.run_id, ended.run_id]
    assert [item.state for item in seen.rows] == ["running", "failed"]
    assert [item.event for item in seen.troubles] == ["run_failed"]
    only = Watcher(QuantSDK(workspace.root, registry=registry), "test.boom").look()
    assert [item.run_id for item in only.rows] == [ended.run_id]


def test_a_dead_run_is_shown_as_dead(workspace, registry, child, wait_until):
    process = child("test.hang")
    watcher = Watcher(QuantSDK(workspace.root, registry=registry))
    wait_until(lambda: [item.state for item in watcher.look().rows] == ["running"])
    process.kill()
    process.wait()
    [dead] = watcher.look().rows
    assert (dead.state, dead.ended) == ("dead", True)
    assert dead.next == f"quant explain {dead.run_id}"
    assert dead.evidence
