from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from _stages import BY_ID, stage_of

from quant_registry import detached, runner
from quant_registry.audit_reader import verify_chain
from quant_registry.clock import SystemClock
from quant_registry.errors import PlanDrifted, RunFailed, StageLocked
from quant_registry.record import read_record, records
from quant_registry.request import RunRequest
from quant_registry.runner import run_stage, start_stage
from quant_registry.spec import StageSpec
from quant_registry.steering import live_runs
from quant_registry.validate import validate_stage
from quant_registry.waiting import wait_for
from quant_sdk import QuantSDK

PARENT = """
import sys
from _stages import BY_ID
from quant_registry.request import RunRequest
from quant_registry.runner import start_stage
from quant_registry.workspace import Workspace
record = start_stage(Workspace.resolve(sys.argv[1]), BY_ID["test.hang"], RunRequest(actor="ann"))
print(record.run_id, flush=True)
if sys.argv[2] == "stay":
    sys.stdin.read()
"""


@pytest.fixture
def start(workspace):
    """Start detached runs; the end of the test kills what is left of them."""

    def begin(spec, **request):
        return start_stage(workspace, spec, RunRequest(**request))

    yield begin
    for record in live_runs(workspace):
        if record.owner["pid"] != os.getpid():
            os.kill(record.owner["pid"], signal.SIGKILL)


def until(workspace, run_id, condition="terminal"):
    return wait_for(workspace, run_id, condition, timeout=30, clock=SystemClock()).record


def cancel(workspace, registry, run_id):
    QuantSDK(workspace.root, registry=registry).cancel(run_id)
    return until(workspace, run_id)


def test_a_detached_run_is_answered_queued_and_does_the_work(workspace, start):
    record = start(BY_ID["test.count"], params={"items": 2}, actor="ann", lock_id="session-1")
    assert record.state == "queued"
    assert record.owner["pid"] != os.getpid()
    ended = until(workspace, record.run_id)
    assert ended.state == "succeeded"
    assert ended.result == {"items": 2}
    assert (ended.actor, ended.lock_id, ended.epoch) == ("ann", "session-1", 1)
    assert ended.owner == record.owner
    assert all(report.ok for report in verify_chain(workspace.audit))


def test_a_detached_run_outlives_its_parent(workspace, registry, start, child_env):
    done = subprocess.run(
        [sys.executable, "-c", PARENT, str(workspace.root), "leave"],
        env=child_env,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    run_id = done.stdout.strip()
    assert until(workspace, run_id, "state=running").actor == "ann"
    assert cancel(workspace, registry, run_id).state == "cancelled"


def test_a_detached_run_outlives_a_parent_that_is_killed(workspace, registry, start, child_env):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(workspace.root), "stay"],
        env=child_env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    run_id = parent.stdout.readline().strip()
    parent.kill()
    parent.communicate()
    assert until(workspace, run_id, "state=running").owner["pid"] != parent.pid
    assert cancel(workspace, registry, run_id).state == "cancelled"


def test_the_child_is_let_go_only_when_record_and_key_are_durable(workspace, start, monkeypatch):
    seen = []
    let_go = detached._let_go

    def spy(child, order):
        [record] = records(workspace)
        seen.append((record.state, record.owner["pid"], len(list(workspace.keys.glob("*.json")))))
        let_go(child, order)

    monkeypatch.setattr(detached, "_let_go", spy)
    record = start(BY_ID["test.noop"], idempotency_key="k")
    assert seen == [("queued", record.owner["pid"], 1)]


def test_a_child_whose_parent_died_first_does_nothing(workspace, tmp_path):
    child = detached._start(workspace, tmp_path / "output.log")
    child.stdin.close()
    assert child.wait(30) == 1
    assert not workspace.audit.exists()


def test_a_child_that_loses_the_lock_gets_its_end(workspace, start, background, monkeypatch):
    holder = background(BY_ID["test.hang"])
    holder.wait_for_event("at_work")
    with pytest.raises(StageLocked):
        start(BY_ID["test.hang"])
    monkeypatch.setattr(runner, "refuse_held", lambda *_: None)
    ended = until(workspace, start(BY_ID["test.hang"]).run_id)
    assert ended.state == "failed"
    assert ended.error["code"] == "stage_locked"
    assert ended.exit_code == 4
    assert ended.finished_at
    [report] = verify_chain(workspace.audit, run_id=ended.run_id)
    assert (report.ok, report.events) == (True, 1)


def test_a_child_that_dies_at_once_is_recorded_as_failed(workspace, start, monkeypatch):
    def stillborn(workspace, output):
        child = subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.PIPE)
        child.wait()
        return child

    monkeypatch.setattr(detached, "_start", stillborn)
    with pytest.raises(RunFailed) as caught:
        start(BY_ID["test.noop"])
    [record] = records(workspace)
    assert caught.value.run_id == record.run_id
    assert (record.state, record.error["code"]) == ("failed", "run_failed")


def test_a_run_that_never_began_does_not_hide_the_one_to_be_continued(
    workspace, start, background, monkeypatch
):
    first = background(BY_ID["test.remember"])
    first.wait_for_event("at_work")
    assert first.cancel().state == "cancelled"
    holder = background(BY_ID["test.remember"], params={}, fresh=True)
    holder.wait_for_event("at_work")
    with monkeypatch.context() as patch:
        patch.setattr(runner, "refuse_held", lambda *_: None)
        loser = until(workspace, start(BY_ID["test.remember"]).run_id)
    assert loser.epoch == 0
    assert holder.cancel().state == "cancelled"
    last = background(BY_ID["test.remember"])
    last.wait_for_event("at_work")
    assert last.first.continues == holder.run_id
    assert last.events("at_work")[0]["done"] == 2


def test_a_queued_run_that_died_gets_its_end_from_the_next(workspace, start, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(detached, "_let_go", lambda child, _: (child.kill(), child.communicate()))
        dead = start(BY_ID["test.noop"])
    assert read_record(workspace, dead.run_id).state == "queued"
    assert until(workspace, start(BY_ID["test.noop"]).run_id).state == "succeeded"
    buried = read_record(workspace, dead.run_id)
    assert buried.state == "abandoned"
    assert buried.evidence


def test_a_file_of_the_workspace_does_not_stand_in_for_the_standard_library(workspace, start):
    (workspace.root / "signal.py").write_text("raise RuntimeError('not the standard library')")
    assert until(workspace, start(BY_ID["test.noop"]).run_id).state == "succeeded"


def test_sigterm_ends_a_detached_run_at_a_safe_point(workspace, start):
    record = start(BY_ID["test.hang"])
    until(workspace, record.run_id, "state=running")
    os.kill(record.owner["pid"], signal.SIGTERM)
    assert until(workspace, record.run_id).state == "cancelled"


def test_what_a_detached_body_prints_is_kept(workspace, start):
    def body(run, params):
        raise AssertionError("never called: the child has its own module")

    record = start(stage_of(body))  # the child's _stages has no such body
    ended = until(workspace, record.run_id)
    assert (ended.state, ended.error["code"]) == ("failed", "broken_plugin")
    assert (workspace.run_dir(record.run_id) / "output.log").exists()


@pytest.mark.parametrize("begin", [run_stage, start_stage])
def test_a_plan_that_has_drifted_is_refused(workspace, begin):
    spec = StageSpec(
        id="test.planned", category="test", title="t", body="_stages:noop", plan="_stages:plan"
    )
    validation = validate_stage(workspace, spec, {})
    assert validation.plan_hash == validate_stage(workspace, spec, {}).plan_hash
    with pytest.raises(PlanDrifted):
        begin(workspace, spec, RunRequest(plan_hash="0" * 64))
    assert not list(records(workspace))
    record = begin(workspace, spec, RunRequest(plan_hash=validation.plan_hash))
    ended = until(workspace, record.run_id)
    assert (ended.state, ended.plan_hash) == ("succeeded", validation.plan_hash)
