from __future__ import annotations

import os
import signal
import sys

import pytest

from quant_registry.clock import SystemClock
from quant_registry.errors import Corrupted, OwnershipLost, StageLocked
from quant_registry.lock import StageLock, view_lock
from quant_registry.owner import Owner, liveness, this_process

NOW = SystemClock().now()


def _take(workspace, run_id="r1", lock_id="mine"):
    lock = StageLock(workspace, "a.b")
    lock.acquire(run_id=run_id, lock_id=lock_id, owner=this_process("t"), now=NOW)
    return lock


def test_one_holds_and_the_other_is_told_who(workspace):  # req: seed-status-lock
    lock = _take(workspace, lock_id="agent-session-xyz-123")
    with pytest.raises(StageLocked, match="agent-session-xyz-123") as caught:
        _take(workspace, "r2")
    assert (caught.value.run_id, caught.value.state) == ("r1", "alive")
    lock.release(NOW)
    _take(workspace, "r2").release(NOW)


def test_the_epoch_rises_with_every_holding(workspace):  # req: lock-epoch
    epochs = []
    for n in range(4):
        lock = _take(workspace, f"r{n}")
        epochs.append(lock.epoch)
        lock.release(NOW)
    assert epochs == [1, 2, 3, 4]


def test_the_run_before_is_known_whatever_became_of_it(workspace):
    first = _take(workspace, "r1")
    assert first.previous_run_id is None
    first.release(NOW)
    assert _take(workspace, "r2").previous_run_id == "r1"


def test_looking_takes_nothing_and_creates_nothing(workspace):
    assert view_lock(workspace, "a.b").state == "free"
    assert not workspace.data.exists()
    lock = _take(workspace)
    for _ in range(3):
        assert view_lock(workspace, "a.b").state == "alive"
    lock.verify()
    lock.release(NOW)
    lock.release(NOW)
    view = view_lock(workspace, "a.b")
    assert (view.state, view.epoch) == ("free", 1)
    assert "released" in view.evidence


def test_a_live_process_excludes_and_a_killed_one_does_not(workspace, child, wait_until):
    # req: lock-dead-owner
    process = child("test.hang")
    wait_until(lambda: view_lock(workspace, "test.hang").state == "alive")
    lock = StageLock(workspace, "test.hang")
    claim = {"run_id": "r2", "lock_id": "l", "owner": this_process("t"), "now": NOW}
    with pytest.raises(StageLocked):
        lock.acquire(**claim)
    process.kill()
    process.wait()
    view = view_lock(workspace, "test.hang")
    assert view.state == "free", view
    lock.acquire(**claim)
    assert lock.epoch == view.epoch + 1
    lock.release(NOW)


def test_a_stopped_process_shows_frozen_and_keeps_its_lock(workspace, child, wait_until):
    process = child("test.hang")
    wait_until(lambda: view_lock(workspace, "test.hang").state == "alive")
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: view_lock(workspace, "test.hang").state == "frozen")
    with pytest.raises(StageLocked, match="frozen"):
        _ = StageLock(workspace, "test.hang").acquire(
            run_id="r2", lock_id="l", owner=this_process("t"), now=NOW
        )
    process.send_signal(signal.SIGCONT)
    wait_until(lambda: view_lock(workspace, "test.hang").state == "alive")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists the holders of locks")
def test_a_child_that_outlives_its_owner_is_evidence_not_a_free_lock(workspace):
    lock = _take(workspace)
    path = workspace.locks / "a.b.owner.json"
    path.write_text(path.read_text().replace(f'"pid": {os.getpid()}', '"pid": 4000000'))
    view = view_lock(workspace, "a.b")
    assert view.state == "unknown"
    assert str(os.getpid()) in view.evidence
    with pytest.raises(StageLocked):
        _take(workspace, "r2")
    del lock


def test_ownership_is_lost_when_another_holding_stands_in_the_file(workspace):
    lock = _take(workspace)
    (workspace.locks / "a.b.lock").unlink()
    other = _take(workspace, "r2")
    with pytest.raises(OwnershipLost, match="epoch 2"):
        lock.verify()
    other.verify()
    lock.release(NOW)
    assert view_lock(workspace, "a.b").run_id == "r2"
    other.verify()
    other.release(NOW)


def test_ownership_is_lost_when_the_owner_file_is_gone_or_the_lock_released(workspace):
    lock = _take(workspace)
    lock.release(NOW)
    with pytest.raises(OwnershipLost):
        lock.verify()
    lock = _take(workspace)
    (workspace.locks / "a.b.owner.json").unlink()
    with pytest.raises(OwnershipLost):
        lock.verify()
    lock.release(NOW)


def test_an_unreadable_owner_file_is_told_and_the_kernel_lock_given_back(workspace):
    _take(workspace).release(NOW)
    path = workspace.locks / "a.b.owner.json"
    path.write_text("{")
    for _ in range(2):
        with pytest.raises(Corrupted, match="owner file"):
            _take(workspace)
    path.unlink()
    _take(workspace).release(NOW)


def test_liveness_tells_a_reused_pid_another_boot_and_another_host():
    mine = this_process("t")
    assert liveness(mine)[0] == "alive"
    document = mine.to_dict()
    cases = {
        ("start_token", "1"): "dead",
        ("boot_id", "another"): "dead",
        ("host", "another"): "unknown",
        ("pid", 4_000_000): "dead",
    }
    for (key, value), expected in cases.items():
        assert liveness(Owner.from_dict(document | {key: value}))[0] == expected
    assert liveness(Owner.from_dict({}))[0] == "unknown"
