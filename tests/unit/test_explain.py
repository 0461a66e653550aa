from __future__ import annotations

import signal
import threading
from datetime import UTC, datetime, timedelta

import pytest
from _stages import BY_ID, stage_of

from quant_registry import detached, runner
from quant_registry.audit_reader import tail
from quant_registry.clock import SystemClock
from quant_registry.errors import UnknownRun
from quant_registry.record import read_record, write_record
from quant_registry.request import RunRequest
from quant_registry.runner import run_stage, start_stage
from quant_sdk import QuantSDK
from quant_sdk.moments import age, recent_events, spell


@pytest.fixture
def sdk(workspace, registry):
    return QuantSDK(workspace.root, registry=registry, actor="ann")


def standing(sdk, run_id, state):
    sdk.wait(run_id, f"state={state}", timeout=30)
    return sdk.explain(run_id)


class Later(SystemClock):
    """The machine's clock, seen from later."""

    def __init__(self, seconds):
        self._by = timedelta(seconds=seconds)

    def now(self):
        return super().now() + self._by


def explained(workspace, registry, run_id, seconds=0.0):
    return QuantSDK(workspace.root, registry=registry, clock=Later(seconds)).explain(run_id)


def test_a_run_nobody_knows_is_refused(sdk):
    with pytest.raises(UnknownRun):
        sdk.explain("no-run")


def test_a_run_that_moves_tells_its_rate(workspace, registry, sdk, background):
    told, rest = threading.Event(), threading.Event()

    def body(run, params):
        with run.step("count"):
            for item in run.track(range(9), total=9):
                run.emit("tick")
                if item == 5:
                    told.set()
                    rest.wait(30)

    run = background(stage_of(body))
    assert told.wait(30)
    found = sdk.explain(run.run_id)
    rest.set()
    assert "it moves in step count" in found.sentence
    assert "items a second" in found.sentence
    assert found.state == "running"
    assert any(line.startswith("last event: tick") for line in found.evidence)
    assert found.commands == (f"quant run tail {run.run_id} --follow",)


def test_a_pause_names_who_why_and_until_when(sdk, registry, background):
    run = background(registry["test.hang"])
    run.wait_for_event("at_work")
    sdk.pause("test.hang", reason="bandwidth", lasts=timedelta(hours=1))
    found = standing(sdk, run.run_id, "paused")
    assert "it is paused by ann since " in found.sentence
    assert " until " in found.sentence
    assert found.sentence.endswith("(bandwidth)")
    assert found.commands[0] == "quant resume --scope test.hang"


def test_a_standing_pause_is_told_from_one_that_came_later(sdk, registry, background):
    sdk.pause()
    run = background(registry["test.hang"])
    found = standing(sdk, run.run_id, "paused")
    assert found.sentence.startswith("it started under a standing pause by ann")
    assert found.commands[0] == "quant resume"


def test_an_unreadable_control_file_is_named(workspace, registry, sdk, background, monkeypatch):
    monkeypatch.setattr("quant_registry.control_watch.GRACE_SECONDS", 0.0)
    run = background(registry["test.hang"])
    run.wait_for_event("at_work")
    workspace.control.write_text('{"action": "pau')
    found = standing(sdk, run.run_id, "paused")
    assert "the control file is not JSON" in found.sentence
    assert found.commands == ("quant resume",)


@pytest.mark.parametrize(("action", "word"), [("pause", "pause"), ("cancel", "end")])
def test_a_run_that_was_asked_but_publishes_is_told(sdk, background, action, word):
    begun, rest = threading.Event(), threading.Event()

    def publish(_):
        begun.set()
        rest.wait(30)

    def body(run, params):
        run.commit(publish, batch_id="b")
        run.safe_point()

    run = background(stage_of(body))
    assert begun.wait(30)
    getattr(sdk, action)(run.run_id)
    found = standing(sdk, run.run_id, f"{action}_requested")
    rest.set()
    assert found.sentence.startswith(f"it was asked to {word} by ann")
    assert "it publishes a batch" in found.sentence


def test_a_long_commit_is_told(workspace, registry, sdk, background, wait_until):
    rest = threading.Event()

    def body(run, params):
        run.commit(lambda _: rest.wait(30), batch_id="b")

    run = background(stage_of(body))
    wait_until(lambda: sdk.explain(run.run_id).sentence.startswith("it publishes a batch"))
    rest.set()
    assert run.end().state == "succeeded"


def test_silence_is_told_though_the_run_lives(workspace, registry, sdk, background, wait_until):
    run = background(registry["test.hang"])
    run.wait_for_event("at_work")
    [status] = sdk.status(run.run_id)
    status_path = workspace.root / read_record(workspace, run.run_id).status_file
    assert status["heartbeat_at"]
    late = explained(workspace, registry, run.run_id, 60)
    assert late.sentence.startswith("its process lives but has sent no heartbeat for ")
    assert "quant doctor" in late.commands
    run.cancel()
    assert status_path.exists()


def test_silence_between_heartbeats_is_told(workspace, registry, background, monkeypatch):
    run = background(registry["test.hang"])
    run.wait_for_event("at_work")
    monkeypatch.setattr("quant_sdk.explain._STALE_SECONDS", 1e9)
    found = explained(workspace, registry, run.run_id, 600)
    assert "has told of nothing for 10 min" in found.sentence


def test_a_queued_run_names_who_holds_the_lock(workspace, sdk, registry, background, monkeypatch):
    holder = background(registry["test.hang"])
    holder.wait_for_event("at_work")
    children = []
    monkeypatch.setattr(runner, "refuse_held", lambda *_: None)
    monkeypatch.setattr(detached, "_let_go", lambda child, _: children.append(child))
    queued = start_stage(workspace, registry["test.hang"], RunRequest())
    try:
        found = sdk.explain(queued.run_id)
        assert f"of run {holder.run_id} holds the lock (alive: " in found.sentence
        assert f"quant explain {holder.run_id}" in found.commands
        holder.cancel()
        assert "its process is starting" in sdk.explain(queued.run_id).sentence
    finally:
        for process in children:
            process.communicate()
    assert "its process is dead" in sdk.explain(queued.run_id).sentence


@pytest.mark.parametrize(
    ("number", "state", "sentence"),
    [
        (signal.SIGSTOP, "frozen", "its process is frozen"),
        (signal.SIGKILL, "dead", "its process is dead"),
    ],
)
def test_a_process_that_is_frozen_or_dead_is_told(
    workspace, sdk, child, wait_until, *, number, state, sentence
):
    process = child("test.hang")
    wait_until(lambda: any(event["event"] == "at_work" for event in tail(workspace.audit)))
    process.send_signal(number)
    view = sdk.lock("test.hang")
    wait_until(lambda: sentence in sdk.explain(view.run_id).sentence)
    found = sdk.explain(view.run_id)
    if state == "frozen":
        assert found.commands == (
            f"kill -CONT {process.pid}",
            f"quant lock recover test.hang {view.lock_id}",
        )
    else:
        assert found.commands == ("quant stage run test.hang", "quant doctor --bury")


def test_an_end_is_told_with_its_reason(workspace, sdk, registry, background):
    done = sdk.run_stage("test.noop")
    assert sdk.explain(done.run_id).sentence.startswith("it succeeded 0 s ago")
    failed = sdk.run_stage("test.boom")
    found = sdk.explain(failed.run_id)
    assert "boom" in found.sentence
    assert any(line.startswith("fix: ") for line in found.evidence)
    assert found.commands[-1] == "quant stage run test.boom"
    run = background(registry["test.hang"])
    run.wait_for_event("at_work")
    sdk.cancel(run.run_id, reason="enough")
    assert "it was cancelled by ann: enough" in standing(sdk, run.run_id, "cancelled").sentence
    buried = run_stage(workspace, BY_ID["test.noop"], RunRequest())
    write_record(workspace, buried.changed(state="abandoned", evidence="no process has pid 7"))
    assert "no process has pid 7" in sdk.explain(buried.run_id).sentence


def test_an_explanation_has_one_form(sdk):
    document = sdk.explain(sdk.run_stage("test.noop").run_id).to_dict()
    assert list(document) == ["run_id", "state", "sentence", "evidence", "commands"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h"), (2e5, "2 d")],
)
def test_durations_are_spelt_in_their_unit(seconds, text):
    assert spell(seconds) == text


def test_ages_are_never_negative_and_nonsense_has_none():
    now = datetime(2026, 2, 3, 10, tzinfo=UTC)
    assert age("2026-02-03T09:59:58Z", now) == 2
    assert age("2026-02-03T10:00:02Z", now) == 0
    assert age("yesterday", now) is None
    assert age(None, now) is None


def test_recent_events_are_the_whole_ones_of_the_last_bytes(tmp_path):
    log = tmp_path / "audit.jsonl"
    assert recent_events(log) == []
    lines = [b'{"seq":%d}' % number for number in range(100)]
    log.write_bytes(b"\n".join([*lines, b"no json", b'["no object"]', b'{"torn']))
    assert [event["seq"] for event in recent_events(log)] == list(range(100))
    assert [event["seq"] for event in recent_events(log, 60)][-2:] == [98, 99]
    assert len(recent_events(log, 60)) < 5


def test_a_run_that_others_have_written_past_is_known_by_its_own_last_event(sdk):
    quiet = sdk.run_stage("test.count")

    def chatter(run, params):
        for _ in range(2_000):
            run.emit("chatter", status="success")

    run_stage(sdk.workspace, stage_of(chatter), RunRequest())
    assert all(event["run_id"] != quiet.run_id for event in recent_events(sdk.workspace.audit))
    assert any("run_succeeded" in told for told in sdk.explain(quiet.run_id).evidence)
