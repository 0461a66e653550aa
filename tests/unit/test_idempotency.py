from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from _stages import BY_ID, stage_of
from filelock import FileLock

from quant_registry import idempotency
from quant_registry.errors import Conflict, IdempotencyConflict, InvalidIdentifier, RunCancelled
from quant_registry.record import records
from quant_registry.request import RunRequest
from quant_registry.runner import run_stage, start_stage

STARTERS = 20


def run(workspace, spec, **request):
    return run_stage(workspace, spec, RunRequest(idempotency_key="job-7", **request))


def test_a_run_that_succeeded_is_returned(workspace):
    first = run(workspace, BY_ID["test.count"], params={"items": 2})
    again = run(workspace, BY_ID["test.count"], params={"items": 2})
    assert (again.run_id, again.result) == (first.run_id, {"items": 2})
    assert len(list(records(workspace))) == 1


def test_a_live_run_is_attached_to(workspace, background):
    live = background(BY_ID["test.hang"], idempotency_key="job-7")
    live.wait_for_event("at_work")
    detached = start_stage(workspace, BY_ID["test.hang"], RunRequest(idempotency_key="job-7"))
    assert detached.run_id == live.run_id
    attached = background(BY_ID["test.hang"], idempotency_key="job-7")
    live.cancel()
    assert attached.end().run_id == live.run_id
    assert attached.end().state == "cancelled"


def test_whoever_is_attached_can_stop_waiting(workspace, background):
    live = background(BY_ID["test.hang"], idempotency_key="job-7")
    live.wait_for_event("at_work")
    stop = threading.Event()
    stop.set()
    with pytest.raises(RunCancelled) as caught:
        run(workspace, BY_ID["test.hang"], stop=stop)
    assert f"quant wait {live.run_id}" in caught.value.fix
    assert live.cancel().state == "cancelled"


def test_a_run_that_dies_under_those_attached_is_continued_by_one_of_them(
    workspace, background, wait_until
):
    spec = BY_ID["test.remember"]
    dying = start_stage(workspace, spec, RunRequest(idempotency_key="job-7"))
    wait_until((workspace.run_dir(dying.run_id) / "checkpoint.json").exists)
    attached = [background(spec, idempotency_key="job-7") for _ in range(2)]
    os.kill(dying.owner["pid"], signal.SIGKILL)
    heir = wait_until(lambda: next(iter(records(workspace, limit=1))).run_id != dying.run_id) and (
        next(iter(records(workspace, limit=1)))
    )
    assert heir.continues == dying.run_id
    for one in attached:
        one.stop.set()
    wait_until(lambda: next(iter(records(workspace, limit=1))).is_terminal)
    assert len(list(records(workspace))) == 2


@pytest.mark.parametrize("stage_id", ["test.boom", "test.free"])
def test_any_other_run_is_continued(workspace, background, stage_id):
    first = background(BY_ID[stage_id], idempotency_key="job-7")
    first.cancel()
    second = background(BY_ID[stage_id], idempotency_key="job-7")
    assert second.first is not None or second.run_id
    second.cancel()
    assert second.record.run_id != first.record.run_id
    assert second.record.continues == first.record.run_id


def test_the_same_key_with_other_parameters_is_a_conflict(workspace):
    first = run(workspace, BY_ID["test.count"], params={"items": 1})
    with pytest.raises(IdempotencyConflict) as caught:
        run(workspace, BY_ID["test.count"], params={"items": 2})
    assert caught.value.run_id == first.run_id
    assert caught.value.exit_code == 4


def test_keys_count_within_a_stage(workspace):
    first = run(workspace, BY_ID["test.noop"])
    other = run(workspace, stage_of(lambda *_: None, "test.other"))
    assert first.run_id != other.run_id


def test_a_key_that_could_leave_its_folder_is_refused(workspace):
    with pytest.raises(InvalidIdentifier):
        run_stage(workspace, BY_ID["test.noop"], RunRequest(idempotency_key="../../x"))
    assert not workspace.artifacts.exists()


def test_what_could_not_start_leaves_the_key_free(workspace, background):
    holder = background(BY_ID["test.hang"])
    holder.wait_for_event("at_work")
    with pytest.raises(Conflict):
        run(workspace, BY_ID["test.hang"])
    holder.cancel()
    heir = background(BY_ID["test.hang"], idempotency_key="job-7")
    heir.wait_for_event("at_work")
    assert heir.cancel().idempotency_key == "job-7"


def test_a_starter_that_never_comes_to_an_end_is_a_conflict(workspace, monkeypatch):
    run(workspace, BY_ID["test.noop"])
    [entry] = workspace.keys.glob("*.json")
    monkeypatch.setattr(idempotency, "_LOCK_SECONDS", 0.01)
    with FileLock(entry.with_suffix(".lock")), pytest.raises(Conflict) as caught:
        run(workspace, BY_ID["test.noop"])
    assert "job-7" in caught.value.message


def test_simultaneous_starters_with_one_key_make_one_run(workspace):
    barrier = threading.Barrier(STARTERS)

    def start(_):
        barrier.wait(30)
        return start_stage(workspace, BY_ID["test.free"], RunRequest(idempotency_key="job-7"))

    with ThreadPoolExecutor(STARTERS) as pool:
        found = list(pool.map(start, range(STARTERS)))
    assert len({record.run_id for record in found}) == 1
    assert len(list(records(workspace))) == 1
    os.kill(found[0].owner["pid"], signal.SIGKILL)
