"""Runs from outside: listed, followed, paused, resumed, cancelled, and stopped by signals."""

from __future__ import annotations

import json
import os
import pty
import signal

import pytest
from _quant import until


def finish(quant, process):
    (quant.root / "finish").touch()
    out, _ = process.communicate(timeout=30)
    return process.returncode, out


def run_id_of(quant, stage_id="demo.slow"):
    return quant.status(stage_id)["run_id"]


def events(quant, *args):
    return [json.loads(line) for line in quant("run", "tail", *args, "--json").stdout.splitlines()]


def test_a_live_run_is_paused_and_resumed_from_another_shell(quant, slow):
    paused = quant.json("pause", "--reason", "a look at it", "--actor", "ann")
    assert paused["outcome"] in {"pausing", "paused"}
    quant.await_status("demo.slow", state="paused")
    [run] = quant.json("status")["runs"]
    assert run["state"] == "paused"
    assert run["control"]["directive"]["actor"] == "ann"
    assert "paused" in quant("status").stdout
    assert quant.json("pause")["outcome"] == "already_paused"
    assert quant.json("resume")["outcome"] == "resumed"
    assert quant.json("resume")["outcome"] == "already_running"
    code, out = finish(quant, slow)
    assert code == 0
    assert "succeeded" in out


def test_a_pause_may_last_for_a_time(quant, slow):
    quant.json("pause", "--for", "2s", "--scope", "demo.slow")
    quant.await_status("demo.slow", state="paused")
    quant.await_status("demo.slow", state="running")
    assert finish(quant, slow)[0] == 0


def test_a_run_under_a_standing_pause_starts_paused(quant):
    assert quant("pause").stdout == "not_running; it holds for later runs\n"
    process = quant.start("stage", "run", "demo.slow")
    quant.await_status("demo.slow", state="paused")
    quant("resume")
    assert finish(quant, process)[0] == 0


def test_cancel_ends_a_run_with_130(quant, slow):
    assert quant.json("cancel", "--scope", run_id_of(quant))["outcome"] in {
        "cancelling",
        "cancelled",
    }
    out, said = slow.communicate(timeout=30)
    assert slow.returncode == 130
    assert "cancelled in" in out
    assert "fix: continue with: quant stage run demo.slow" in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_a_run_at_its_next_safe_point(quant, slow, number):
    slow.send_signal(number)
    slow.communicate(timeout=30)
    assert slow.returncode == 130
    record = quant.json("run", "show", run_id_of(quant))
    assert record["state"] == "cancelled"
    assert record["error"]["code"] == "run_cancelled"
    assert quant.status("demo.slow")["state"] == "cancelled"
    assert events(quant, run_id_of(quant))[-1]["event"] == "run_cancelled"


def test_a_signal_in_json_mode_leaves_the_record_on_stdout(quant):
    process = quant.start("stage", "run", "demo.slow", "--json")
    quant.await_status("demo.slow", state="running", step="count")
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=30)
    assert json.loads(out)["state"] == "cancelled"
    assert json.loads(out)["exit_code"] == process.returncode == 130


def test_a_second_interrupt_stops_a_run_that_reaches_no_safe_point(quant):
    process = quant.start("stage", "run", "demo.stuck")
    quant.await_status("demo.stuck", state="running", step="hang")
    process.send_signal(signal.SIGINT)
    quant.await_status("demo.stuck", state="cancel_requested")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert quant.json("run", "show", run_id_of(quant, "demo.stuck"))["state"] == "cancelled"


def test_a_locked_stage_is_exit_code_4_and_names_the_holder(quant, slow):
    answer = quant.json("stage", "run", "demo.slow", exits=4)
    assert answer["error"]["code"] == "stage_locked"
    assert answer["error"]["retryable"] is True
    assert run_id_of(quant) in answer["error"]["message"]
    [view] = quant.json("lock", "show", "demo.slow")["locks"]
    assert view["state"] == "alive"


def test_the_lakehouse_stays_beside_a_live_run(quant, slow):
    assert quant.json("lakehouse", "wipe", "--yes", exits=4)["error"]["code"] == "live_run"


def test_a_followed_run_ends_the_tail(quant, slow):
    follower = quant.start("run", "tail", run_id_of(quant), "--follow", "--json")
    first = json.loads(follower.stdout.readline())
    assert first["event"] == "run_started"
    finish(quant, slow)
    seen = [first, *map(json.loads, follower.stdout)]
    follower.communicate(timeout=30)
    assert follower.returncode == 0
    assert seen[-1]["event"] == "run_succeeded"
    assert [event["seq"] for event in seen] == list(range(1, len(seen) + 1))


def test_following_all_runs_begins_with_the_last_events(quant):
    for _ in range(3):
        quant("stage", "run", "demo.noop")
    follower = quant.start("run", "tail", "--follow", "--limit", "1", "--json")
    assert json.loads(follower.stdout.readline())["event"] == "run_succeeded"
    quant("stage", "run", "demo.noop")
    assert json.loads(follower.stdout.readline())["event"] == "run_started"
    follower.send_signal(signal.SIGINT)
    follower.communicate(timeout=30)
    assert follower.returncode == 130


def test_tail_is_bounded_and_goes_on_from_a_number(quant):
    run_id = quant.json("stage", "run", "demo.noop")["run_id"]
    quant("stage", "run", "demo.fail")
    assert [event["event"] for event in events(quant, "--limit", "3")] == [
        "run_succeeded", "run_started", "run_failed",
    ]  # fmt: skip
    assert [event["seq"] for event in events(quant, run_id, "--since-seq", "1")] == [2]
    assert [
        event["seq"] for event in events(quant, run_id, "--since-seq", "0", "--limit", "1")
    ] == [1]
    assert {event["stage_id"] for event in events(quant, "--stage", "demo.fail")} == {"demo.fail"}
    assert len(quant("run", "tail").stdout.splitlines()) == 4


def test_runs_are_listed_newest_first_page_by_page(quant):
    made = [quant.json("stage", "run", "demo.noop")["run_id"] for _ in range(3)]
    quant("stage", "run", "demo.fail")
    page = quant.json("run", "list", "--stage", "demo.noop", "--limit", "2")
    assert page["truncated"] is True
    rest = quant.json(
        "run", "list", "--stage", "demo.noop", "--limit", "2", "--cursor", page["next_cursor"]
    )
    listed = [run["run_id"] for run in page["runs"] + rest["runs"]]
    assert listed == sorted(made, reverse=True)
    assert (rest["truncated"], rest["next_cursor"]) == (False, None)
    assert "more: --cursor" in quant("run", "list", "--limit", "1").stdout


def test_what_a_file_brought_cannot_drive_the_terminal(quant, slow):
    control = quant.root / "data" / "lakehouse" / "migration_control.json"
    control.write_text(json.dumps({"action": "cancel", "reason": "\x1b[2Jgone\nerror: forged"}))
    slow.communicate(timeout=30)
    shown = quant("status", "demo.slow").stdout
    assert "gone" in shown
    assert "\x1b" not in shown
    assert "\nerror: forged" not in shown


def test_a_live_bar_is_drawn_on_a_terminal_only(quant):
    leader, follower = pty.openpty()
    process = quant.start("stage", "run", "demo.slow", stderr=follower)
    os.close(follower)
    drawn = bytearray()

    def shows(word: bytes) -> bool:
        drawn.extend(os.read(leader, 65536))
        return word in drawn

    until(lambda: shows(b"count"))
    quant("pause")
    until(lambda: shows(b"paused count"))
    quant("resume")
    code, out = finish(quant, process)
    os.close(leader)
    assert code == 0
    assert "succeeded" in out
