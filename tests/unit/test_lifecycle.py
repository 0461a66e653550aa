from __future__ import annotations

import shutil
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise

import orjson
import pytest
from _stages import BY_ID, stage_of, stay

from quant_registry import control_watch, status
from quant_registry.clock import SystemClock
from quant_registry.control import Directive, dump_control
from quant_registry.request import RunRequest
from quant_registry.runner import run_stage
from quant_registry.status import read_status


def _control(workspace, text: str) -> None:
    workspace.lakehouse.mkdir(parents=True, exist_ok=True)
    aside = workspace.lakehouse / ".edited"
    aside.write_text(text)
    aside.replace(workspace.control)


def _state(run, spec) -> str:
    return (read_status(run.workspace.status_file(spec, run.run_id)) or {}).get("state", "")


def test_a_pause_holds_and_a_resume_goes_on(workspace, background, wait_until):
    # req: seed-control-pause
    spec = BY_ID["test.hang"]
    run = background(spec)
    run.wait_for_event("at_work")
    _control(workspace, '{"action": "pause"}')
    wait_until(lambda: _state(run, spec) == "paused")
    _control(workspace, '{"action": "resume"}')
    wait_until(lambda: _state(run, spec) == "running")
    assert run.cancel().state == "cancelled"


def test_nothing_is_committed_after_paused(workspace, background, wait_until):
    # req: paused-is-stopped
    def body(run, params):
        for n in run.map(lambda n: n, iter(range(10**9)), workers=2):
            run.commit(lambda commit: None, batch_id=f"b{n}")

    spec = stage_of(body)
    run = background(spec)
    run.wait_for_event("batch_committed", times=5)
    _control(workspace, '{"action": "pause"}')
    wait_until(lambda: _state(run, spec) == "paused")
    before = workspace.audit.read_bytes()
    heartbeat = read_status(workspace.status_file(spec, run.run_id))["heartbeat_at"]
    wait_until(
        lambda: read_status(workspace.status_file(spec, run.run_id))["heartbeat_at"] > heartbeat
    )
    assert workspace.audit.read_bytes() == before
    assert run.events()[-1]["event"] == "paused"
    run.cancel()


def test_a_run_under_a_standing_pause_starts_paused(workspace, background, wait_until):
    _control(workspace, '{"action": "pause"}')
    spec = BY_ID["test.hang"]
    run = background(spec)
    wait_until(lambda: _state(run, spec) == "paused")
    assert run.events("at_work") == []
    _control(workspace, '{"action": "resume"}')
    run.wait_for_event("at_work")
    run.cancel()


def test_an_expired_pause_resumes(workspace, background, wait_until, clock):
    now = clock.now()
    pause = Directive(
        scope="*", action="pause", issued_at=now, expires_at=now + timedelta(minutes=30)
    )
    _control(workspace, dump_control([pause]).decode())
    run = background(BY_ID["test.hang"], clock=clock)
    wait_until(lambda: _state(run, BY_ID["test.hang"]) == "paused")
    clock.advance(31 * 60)
    run.wait_for_event("at_work")
    record = run.cancel()
    assert record.paused_seconds == pytest.approx(31 * 60)
    assert record.active_seconds == pytest.approx(0, abs=0.001)


def test_deleting_the_control_file_leaves_a_paused_run_paused(workspace, background, wait_until):
    spec = BY_ID["test.hang"]
    run = background(spec)
    run.wait_for_event("at_work")
    _control(workspace, '{"action": "pause"}')
    wait_until(lambda: _state(run, spec) == "paused")
    workspace.control.unlink()
    path = workspace.status_file(spec, run.run_id)
    wait_until(lambda: read_status(path)["control"]["digest"] == "absent")
    assert _state(run, spec) == "paused"
    run.cancel()


def test_cancel_reaches_a_paused_run(workspace, background, wait_until):
    spec = BY_ID["test.hang"]
    run = background(spec)
    run.wait_for_event("at_work")
    _control(workspace, '{"action": "pause"}')
    wait_until(lambda: _state(run, spec) == "paused")
    _control(workspace, '{"action": "cancel", "reason": "enough"}')
    record = run.end()
    assert record.state == "cancelled"
    assert "enough" in record.error["message"]


def test_a_cancel_before_the_start_is_not_for_this_run(workspace):
    moment = SystemClock().now() - timedelta(seconds=5)
    cancel = Directive(scope="*", action="cancel", issued_at=moment)
    _control(workspace, dump_control([cancel]).decode())
    assert run_stage(workspace, BY_ID["test.count"], RunRequest()).state == "succeeded"


def test_nothing_takes_a_cancel_back(workspace, background, wait_until):
    held = threading.Event()

    def body(run, params):
        run.emit("at_work")
        held.wait(30)
        run.safe_point()

    spec = stage_of(body)
    run = background(spec)
    run.wait_for_event("at_work")
    _control(workspace, '{"action": "cancel"}')
    wait_until(lambda: _state(run, spec) == "cancel_requested")
    _control(workspace, '{"action": "resume"}')
    path = workspace.status_file(spec, run.run_id)
    digest = read_status(path)["control"]["digest"]
    wait_until(lambda: read_status(path)["control"]["digest"] != digest)
    held.set()
    assert run.end().state == "cancelled"


def test_a_thousand_flaps_leave_a_sane_run(workspace, background, wait_until, monkeypatch):
    monkeypatch.setattr("quant_registry.attendant.POLL_SECONDS", 0.0)
    spec = BY_ID["test.hang"]
    run = background(spec)
    run.wait_for_event("at_work")
    for n in range(1000):
        _control(workspace, '{"action": "%s"}' % ("resume" if n % 2 else "pause"))
    path = workspace.status_file(spec, run.run_id)
    wait_until(lambda: read_status(path)["state"] == "running")
    assert run.cancel().state == "cancelled"
    moves = [event["event"] for event in run.events() if event["event"] in _FOLLOWS]
    for before, after in pairwise(moves):
        assert after in _FOLLOWS[before], Counter(moves)


_FOLLOWS = {
    "pause_requested": {"paused", "resumed", "cancel_requested"},
    "paused": {"resumed", "cancel_requested"},
    "resumed": {"pause_requested", "cancel_requested"},
    "cancel_requested": {"run_cancelled"},
    "run_cancelled": set(),
}


def test_an_unreadable_control_file_is_told_then_pauses_the_run(
    workspace, background, wait_until, clock
):
    spec = BY_ID["test.hang"]
    run = background(spec, clock=clock)
    run.wait_for_event("at_work")
    _control(workspace, '{"action": ')
    path = workspace.status_file(spec, run.run_id)
    clock.advance(1)
    wait_until(lambda: clock.advance(0.05) or run.events("control_unreadable"))
    wait_until(lambda: clock.advance(0.5) or read_status(path)["state"] == "paused")
    assert len(run.events("control_unreadable")) == 1
    _control(workspace, '{"action": "resume"}')
    wait_until(lambda: _state(run, spec) == "running")
    run.cancel()


def test_an_attendant_that_cannot_write_fails_the_run_at_its_next_safe_point(
    workspace, background, monkeypatch
):
    spec = BY_ID["test.hang"]
    run = background(spec)
    run.wait_for_event("at_work")
    calls = []
    real = status.write_atomic

    def full_once(path, content):
        if not calls:
            calls.append(path)
            raise OSError(28, "No space left on device")
        return real(path, content)

    monkeypatch.setattr(status, "write_atomic", full_once)
    record = run.end()
    assert record.state == "failed"
    assert "No space left" in record.error["message"]


def test_a_removed_status_file_comes_back_with_the_next_heartbeat(
    workspace, background, wait_until
):
    spec = BY_ID["test.hang"]
    run = background(spec)
    run.wait_for_event("at_work")
    path = workspace.status_file(spec, run.run_id)
    path.unlink()
    wait_until(lambda: _state(run, spec) == "running")
    run.cancel()


def test_a_lakehouse_removed_under_a_live_run_is_made_again(workspace, background, wait_until):
    spec = BY_ID["test.hang"]
    run = background(spec)
    run.wait_for_event("at_work")
    path = workspace.status_file(spec, run.run_id)
    for _ in range(5):
        shutil.rmtree(workspace.lakehouse, ignore_errors=True)
        wait_until(lambda: path.exists() and _state(run, spec) == "running")
    _control(workspace, '{"action": "pause"}')
    wait_until(lambda: _state(run, spec) == "paused")
    assert run.cancel().state == "cancelled"


def test_map_keeps_the_order_and_bounds_what_is_in_hand(workspace):
    taken, most = [], []

    def source():
        for n in range(50):
            taken.append(n)
            yield n

    def body(run, params):
        out = []
        for n in run.map(lambda n: n * n, source(), workers=3, ahead=4):
            out.append(n)
            most.append(len(taken) - len(out))
        assert out == [n * n for n in range(50)]

    assert run_stage(workspace, stage_of(body), RunRequest()).state == "succeeded"
    assert max(most) <= 4


def test_map_drains_before_paused(workspace, background, wait_until):
    busy, gate = Counter(), threading.Event()

    def slow(n):
        busy["now"] += 1
        gate.wait(0.02)
        busy["now"] -= 1
        return n

    def body(run, params):
        run.emit("at_work")
        for _ in run.map(slow, range(10**9), workers=4):
            pass

    spec = stage_of(body)
    run = background(spec)
    run.wait_for_event("at_work")
    _control(workspace, '{"action": "pause"}')
    wait_until(lambda: run.events("paused"))
    assert busy["now"] == 0
    run.cancel()


def test_an_exception_in_map_is_the_bodys_and_leaves_no_thread(workspace):
    def body(run, params):
        with ThreadPoolExecutor(2) as pool:
            list(run.map(lambda n: 1 // n, [1, 1, 0, 1], executor=pool))

    before = set(threading.enumerate())  # some of which may end meanwhile
    record = run_stage(workspace, stage_of(body), RunRequest())
    assert "ZeroDivisionError" in record.error["message"]
    assert not set(threading.enumerate()) - before


def test_track_counts_an_item_after_its_turn(workspace):
    seen = []

    def body(run, params):
        seen.extend(run._life.progress.current for _ in run.track("abc", total=3))

    run_stage(workspace, stage_of(body), RunRequest())
    assert seen == [0, 1, 2]


def test_steps_are_events_and_set_the_phase(workspace):
    def body(run, params):
        with run.step("ingest", phase="ingestion"):
            run.report(candidate_count=3)
        with run.step("verify", phase="verification"):
            run.report(health_check="passed")

    spec = stage_of(body)
    record = run_stage(workspace, spec, RunRequest())
    document = read_status(workspace.status_file(spec, record.run_id))
    assert (document["phase"], document["health_check"], document["candidate_count"]) == (
        "verification",
        "passed",
        3,
    )
    events = [orjson.loads(line)["event"] for line in workspace.audit.read_bytes().splitlines()]
    assert events[1:-1] == ["step_started", "step_finished"] * 2


@pytest.mark.parametrize(
    "fields", [{"phase": "done"}, {"health_check": "fine"}, {"phases": "complete"}]
)
def test_the_status_says_only_what_observers_know(workspace, fields):
    record = run_stage(workspace, stage_of(lambda run, params: run.report(**fields)), RunRequest())
    assert record.error["code"] == "invalid_input"


def test_a_stop_while_paused_cancels_at_once(workspace, background, wait_until):
    spec = stage_of(lambda run, params: stay(run))
    _control(workspace, '{"action": "pause"}')
    run = background(spec)
    wait_until(lambda: _state(run, spec) == "paused")
    record = run.cancel()
    assert record.state == "cancelled"
    assert "asked to stop" in record.error["message"]


def test_a_control_change_is_heard_within_the_promised_time(workspace, background):
    run = background(BY_ID["test.hang"])
    run.wait_for_event("at_work")
    assert control_watch.SAVING_SECONDS < control_watch.GRACE_SECONDS
    written = SystemClock().now()
    _control(workspace, '{"action": "pause"}')
    run.wait_for_event("pause_requested")
    (event,) = run.events("pause_requested")
    heard = SystemClock().now().fromisoformat(event["timestamp"])
    assert heard - written < timedelta(seconds=2)  # 0.3 s is measured by the benchmark
    run.cancel()


def test_a_run_whose_lock_was_taken_stops_and_leaves_the_status_to_the_new_holder(
    workspace, background
):
    spec = BY_ID["test.hang"]
    run = background(spec)
    run.wait_for_event("at_work")
    (workspace.locks / f"{spec.id}.lock").unlink()  # somebody tidied up: the kernel lock is gone
    winner = background(spec)
    winner.wait_for_event("at_work")
    record = run.end()
    assert record.state == "abandoned"
    assert read_status(workspace.status_file(spec, ""))["run_id"] == winner.run_id
    winner.cancel()
