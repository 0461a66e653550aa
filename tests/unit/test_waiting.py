from __future__ import annotations

import os
import signal
import threading

import pytest
from _stages import stage_of

from quant_registry.errors import InvalidInput, UnknownRun, WaitTimeout
from quant_registry.record import read_record, records
from quant_registry.request import RunRequest
from quant_registry.runner import run_stage
from quant_registry.waiting import Condition, wait_for
from quant_sdk import QuantSDK


def wait(workspace, run_id, until="terminal", *, timeout=30.0, clock=None, stop=None):
    from quant_registry.clock import SystemClock

    return wait_for(
        workspace, run_id, until, timeout=timeout, clock=clock or SystemClock(), stop=stop
    )


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("terminal", "state", "terminal"),
        ("paused", "state", "paused"),
        ("state=cancel_requested", "state", "cancel_requested"),
        (" phase = complete ", "phase", "complete"),
        ("percent>=50", "percent", 50.0),
        ("percent >= 12.5", "percent", 12.5),
    ],
)
def test_a_condition_is_read(text, field, value):
    condition = Condition.parse(text)
    assert (condition.field, condition.value) == (field, value)


@pytest.mark.parametrize(
    "text",
    ["", "done", "state=finished", "phase=lunch", "percent>50", "percent>=x", "state=", "x" * 9999],
)
def test_a_condition_that_could_never_come_is_refused(workspace, text):
    with pytest.raises(InvalidInput) as caught:
        wait(workspace, "no-run", text)
    assert caught.value.fix
    assert len(caught.value.message) < 200


def test_a_run_nobody_knows_is_not_waited_for(workspace):
    with pytest.raises(UnknownRun):
        wait(workspace, "no-run")


def test_a_run_that_has_ended_is_answered_at_once(workspace, registry):
    record = run_stage(workspace, registry["test.count"], RunRequest())
    waited = wait(workspace, record.run_id, timeout=0)
    assert waited.met
    assert waited.to_dict()["state"] == "succeeded"
    assert waited.to_dict()["exit_code"] == 0
    assert wait(workspace, record.run_id, "percent>=100", timeout=0).met
    assert wait(workspace, record.run_id, "state=succeeded", timeout=0).met


def test_an_end_without_the_condition_is_told(workspace, registry):
    record = run_stage(workspace, registry["test.boom"], RunRequest())
    waited = wait(workspace, record.run_id, "phase=complete", timeout=None)
    assert not waited.met
    assert waited.evidence == "the run ended failed"
    assert waited.to_dict()["error"]["code"] == "run_failed"
    assert waited.to_dict()["exit_code"] == 1


def test_a_pause_is_waited_for(workspace, registry, background):
    run = background(registry["test.hang"])
    run.wait_for_event("at_work")
    QuantSDK(workspace.root, registry=registry).pause(run.run_id)
    assert wait(workspace, run.run_id, "paused").met
    assert wait(workspace, run.run_id, "state=paused").record.state == "paused"


def test_a_phase_and_a_percentage_are_waited_for(workspace, background):
    half, rest = threading.Event(), threading.Event()

    def body(run, params):
        with run.step("one", phase="ingestion"):
            for item in run.track(range(4), total=4):
                if item == 2:
                    half.set()
                    rest.wait(30)

    run = background(stage_of(body))
    assert half.wait(30)
    assert wait(workspace, run.run_id, "phase=ingestion").met
    assert wait(workspace, run.run_id, "percent>=50").status["progress"]["percent"] == 50
    with pytest.raises(WaitTimeout):
        wait(workspace, run.run_id, "percent>=75", timeout=0)
    rest.set()
    assert run.end().state == "succeeded"


def test_out_of_time_carries_the_handle(workspace, registry, background, clock):
    run = background(registry["test.hang"])
    run.wait_for_event("at_work")
    with pytest.raises(WaitTimeout) as caught:
        wait(workspace, run.run_id, timeout=5, clock=clock)
    error = caught.value
    assert (error.exit_code, error.retryable) == (7, True)
    assert error.waited["run_id"] == run.run_id
    assert error.waited["state"] == "running"
    assert error.waited["met"] is False
    assert f"quant explain {run.run_id}" in error.fix
    assert "after 5 s" in error.message


def test_a_dead_process_ends_the_wait(workspace, child, wait_until):
    process = child("test.hang")
    [record] = wait_until(lambda: list(records(workspace)))
    threading.Timer(0, os.kill, (process.pid, signal.SIGKILL)).start()
    waited = wait(workspace, record.run_id, timeout=None)
    assert not waited.met
    assert str(process.pid) in waited.evidence
    assert not read_record(workspace, record.run_id).is_terminal


def test_a_wait_can_be_stopped_and_the_run_goes_on(workspace, registry, background):
    run = background(registry["test.hang"])
    stop = threading.Event()
    stop.set()
    waited = wait(workspace, run.run_id, timeout=None, stop=stop)
    assert not waited.met
    assert waited.evidence == "the wait was stopped"
    assert not read_record(workspace, run.run_id).is_terminal


def test_nothing_new_is_answered_in_a_few_bytes(workspace, registry):
    sdk = QuantSDK(workspace.root, registry=registry)
    run_id = sdk.run_stage("test.count").run_id
    [status] = sdk.status(run_id)
    assert sdk.status(run_id, since_seq=status["seq"]) == [
        {"run_id": run_id, "seq": status["seq"], "unchanged": True}
    ]
    assert sdk.status(run_id, since_seq=status["seq"] - 1) == [status]


def test_a_child_obeys_the_directives_for_its_parent(workspace, registry, background, wait_until):
    sdk = QuantSDK(workspace.root, registry=registry)

    def body(run, params):
        run.run_stage("test.hang")

    parent = background(stage_of(body, "test.parent"), registry=registry)
    child = wait_until(lambda: sdk.runs("test.hang"))[0].run_id
    assert sdk.run(child).parent_run_id == parent.run_id
    for scope in (parent.run_id, "test.parent"):
        sdk.pause(scope) if scope == parent.run_id else _pause_file(workspace, scope)
        assert wait(workspace, child, "paused").met
        _pause_file(workspace, None)
        assert wait(workspace, child, "state=running").met
    sdk.cancel(parent.run_id)
    assert wait(workspace, child).record.state == "cancelled"
    assert parent.end().state == "cancelled"


def _pause_file(workspace, scope):
    """Write the control file as an editor would; None takes every directive back."""
    import orjson

    listed = [] if scope is None else [{"scope": scope, "action": "pause"}]
    workspace.control.write_bytes(orjson.dumps({"directives": listed}))


def test_a_following_tail_ends_when_the_process_is_dead(workspace, registry, child, wait_until):
    process = child("test.hang")
    sdk = QuantSDK(workspace.root, registry=registry)
    [record] = wait_until(lambda: list(records(workspace)))
    names = []
    for event in sdk.tail(record.run_id, follow=True):
        names.append(event["event"])
        if event["event"] == "at_work":
            process.kill()
    assert names == ["run_started", "at_work"]


def test_following_a_run_behind_its_last_event_ends(workspace, registry):
    sdk = QuantSDK(workspace.root, registry=registry)
    run_id = sdk.run_stage("test.noop").run_id
    assert list(sdk.tail(run_id, follow=True, since_seq=99)) == []


def test_whoever_waited_for_the_end_may_start_the_stage_at_once(workspace, registry):
    sdk = QuantSDK(workspace.root, registry=registry)
    for _ in range(10):
        first = sdk.run_stage("test.count", detach=True)
        assert sdk.wait(first.run_id, timeout=30.0).met
        assert sdk.run_stage("test.count").state == "succeeded"
