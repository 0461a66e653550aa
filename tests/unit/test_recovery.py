from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace

import orjson
import pytest
from _stages import BY_ID

from quant_registry import recovery
from quant_registry.audit_reader import tail, verify_chain
from quant_registry.errors import Conflict, InvalidInput, StageLocked
from quant_registry.lock import view_lock
from quant_registry.owner import Owner, liveness, process_owner
from quant_registry.record import read_record
from quant_registry.request import RunRequest
from quant_registry.runner import run_stage
from quant_sdk import QuantSDK

HANG = "test.hang"


@pytest.fixture
def sdk(workspace, registry):
    return QuantSDK(workspace.root, registry=registry, actor="oncall")


@pytest.fixture
def frozen(workspace, child, wait_until):
    """A run whose process was stopped while it holds the lock."""
    process = child(HANG)
    wait_until(lambda: list(tail(workspace.audit)) and _at_work(workspace))
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: view_lock(workspace, HANG).state == "frozen")
    return process


def _at_work(workspace):
    return any(event["event"] == "at_work" for event in tail(workspace.audit))


def test_a_frozen_owner_is_ended_and_its_run_gets_its_end(workspace, sdk, frozen):
    view = sdk.lock(HANG)
    answer = sdk.recover_lock(HANG, view.lock_id)
    assert frozen.wait(30) == -signal.SIGKILL
    assert answer["run_id"] == view.run_id
    assert answer["pid"] == frozen.pid
    assert answer["epoch"] == view.epoch + 1
    assert answer["abandoned"] == [view.run_id]
    assert sdk.lock(HANG).state == "free"
    assert read_record(workspace, view.run_id).state == "abandoned"
    events = list(tail(workspace.audit, run_id=view.run_id))
    assert [event["event"] for event in events][-2:] == ["lock_recovered", "run_abandoned"]
    assert events[-2]["actor"] == "oncall"
    assert all(report.ok for report in verify_chain(workspace.audit))


def test_the_next_run_continues_the_work_with_a_higher_epoch(workspace, sdk, frozen, background):
    view = sdk.lock(HANG)
    sdk.recover_lock(HANG, view.lock_id)
    heir = background(BY_ID[HANG])
    heir.wait_for_event("at_work")
    assert heir.first.continues == view.run_id
    assert heir.first.epoch > view.epoch + 1


def test_another_lock_id_recovers_nothing(sdk, frozen):
    with pytest.raises(InvalidInput) as caught:
        sdk.recover_lock(HANG, "somebody-else")
    assert "quant lock show" in caught.value.fix
    assert sdk.lock(HANG).state == "frozen"
    assert frozen.poll() is None


def test_an_owner_that_lives_is_left_alone(workspace, sdk, child, wait_until):
    process = child(HANG)
    wait_until(lambda: _at_work(workspace))
    view = sdk.lock(HANG)
    with pytest.raises(Conflict) as caught:
        sdk.recover_lock(HANG, view.lock_id)
    assert view.run_id in caught.value.fix
    assert process.poll() is None


def test_a_free_lock_needs_no_recovery(workspace, sdk):
    run_stage(workspace, BY_ID["test.noop"], RunRequest(lock_id="mine"))
    with pytest.raises(InvalidInput) as caught:
        sdk.recover_lock("test.noop", "mine")
    assert "free" in caught.value.message


def test_an_owner_on_another_host_is_not_judged(workspace, sdk, frozen):
    view = sdk.lock(HANG)
    path = workspace.locks / f"{HANG}.owner.json"
    entry = orjson.loads(path.read_bytes())
    entry["owner"]["host"] = "elsewhere"
    path.write_bytes(orjson.dumps(entry))
    with pytest.raises(Conflict):
        sdk.recover_lock(HANG, view.lock_id)
    assert frozen.poll() is None


@pytest.fixture
def bystander():
    process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"],
                               stdin=subprocess.PIPE)  # fmt: skip
    yield process
    process.kill()
    process.communicate()


def test_a_process_that_took_the_pid_meanwhile_is_left_alone(bystander, wait_until):
    os.kill(bystander.pid, signal.SIGSTOP)
    owner = process_owner(bystander.pid, "x")
    wait_until(lambda: liveness(owner)[0] == "frozen")
    recovery._end(replace(owner, start_token="1"))
    assert liveness(owner)[0] == "frozen"


def test_an_owner_that_woke_meanwhile_is_left_alone(bystander):
    owner = process_owner(bystander.pid, "x")
    with pytest.raises(Conflict):
        recovery._end(owner)
    assert bystander.poll() is None


def test_a_process_that_is_gone_needs_no_end(bystander):
    owner = process_owner(bystander.pid, "x")
    bystander.kill()
    bystander.wait()
    recovery._end(owner)
    recovery._end(Owner(pid=2**22 + 1, start_token="1", boot_id="", host="", actor=""))


def test_two_recoverers_make_one_recovery(workspace, sdk, frozen):
    view = sdk.lock(HANG)
    sdk.recover_lock(HANG, view.lock_id)
    with pytest.raises((InvalidInput, Conflict, StageLocked)):
        sdk.recover_lock(HANG, view.lock_id)
    names = [event["event"] for event in tail(workspace.audit, run_id=view.run_id)]
    assert names.count("lock_recovered") == names.count("run_abandoned") == 1
