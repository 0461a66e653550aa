from __future__ import annotations

import os
import signal

import jsonschema
import orjson
import pytest
from _stages import BY_ID, stage_of

from quant_registry import lifecycle
from quant_registry.audit_reader import tail, verify_chain
from quant_registry.control_file import ControlFile
from quant_registry.errors import (
    DiskFull,
    InvalidParams,
    OwnershipLost,
    PrerequisitesNotMet,
    RunFailed,
    StageLocked,
)
from quant_registry.files import read_json
from quant_registry.lock import StageLock, view_lock
from quant_registry.record import read_record, records
from quant_registry.request import RunRequest
from quant_registry.runner import run_stage
from quant_registry.schemas import read_schema
from quant_registry.status import read_status


def _run(workspace, spec, **request):
    clock = request.pop("clock", None)
    return run_stage(workspace, spec, RunRequest(**request), clock=clock)


def _events(workspace, run_id):
    return [event["event"] for event in tail(workspace.audit, run_id=run_id)]


def _valid(name, document):
    validator = jsonschema.Draft202012Validator(
        read_schema(name), format_checker=jsonschema.FormatChecker()
    )
    validator.validate(document)


def check_files(workspace, spec, run_id):
    """Hold every file of a run against its schema."""
    folder = workspace.run_dir(run_id)
    _valid("run", read_json(folder / "run.json"))
    _valid("status", read_status(workspace.status_file(spec, run_id)))
    if spec.lock is not None:
        _valid("lock", read_json(workspace.locks / f"{spec.id}.owner.json"))
    if (folder / "checkpoint.json").exists():
        _valid("checkpoint", read_json(folder / "checkpoint.json"))
    if workspace.control.exists():
        _valid("control", orjson.loads(workspace.control.read_bytes()))
    for event in tail(workspace.audit):
        _valid("audit", event)
    record = read_record(workspace, run_id)
    head = (record.audit_head["seq"], record.audit_head["hash"])
    (report,) = verify_chain(workspace.audit, run_id=run_id, heads={run_id: head})
    assert report.ok, report
    return record


def test_a_run_that_succeeds_leaves_every_file_of_the_contract(workspace):
    spec = BY_ID["test.count"]
    record = _run(workspace, spec, params={"items": 4}, lock_id="mine")
    assert (record.state, record.exit_code, record.result) == ("succeeded", 0, {"items": 4})
    assert check_files(workspace, spec, record.run_id) == record
    status = read_status(workspace.status_file(spec, record.run_id))
    assert (status["state"], status["lock_id"], status["can_resume"]) == (
        "succeeded",
        "mine",
        False,
    )
    assert _events(workspace, record.run_id) == ["run_started", *["counted"] * 4, "run_succeeded"]
    last = list(tail(workspace.audit))[-2]["progress"]
    assert (last["current"], last["total"], last["percent"]) == (3, 4, 75.0)


def test_every_state_of_a_run_has_valid_files(workspace, background, wait_until):  # req: states
    spec = BY_ID["test.hang"]
    run = background(spec)
    run.wait_for_event("at_work")
    check_files(workspace, spec, run.run_id)
    workspace.control.write_text('{"action": "pause"}')
    wait_until(lambda: read_status(workspace.status_file(spec, run.run_id))["state"] == "paused")
    check_files(workspace, spec, run.run_id)
    assert run.cancel().state == "cancelled"
    record = check_files(workspace, spec, run.run_id)
    assert record.exit_code == 130
    assert record.paused_seconds > 0
    states = [event.get("status") for event in run.events()]
    assert [state for state in states if state] == [
        "running",
        "pause_requested",
        "paused",
        "cancel_requested",
        "cancelled",
    ]


def test_a_body_that_raises_leaves_a_failed_record_with_its_traceback(workspace):
    # req: terminal-record
    spec = BY_ID["test.boom"]
    record = _run(workspace, spec)
    assert (record.state, record.exit_code) == ("failed", 1)
    assert "ValueError: boom" in record.error["message"]
    check_files(workspace, spec, record.run_id)
    assert "boom" in (workspace.run_dir(record.run_id) / "traceback.txt").read_text()
    assert view_lock(workspace, spec.id).state == "free"


def test_an_error_of_the_tree_keeps_its_code_and_exit_code(workspace):
    def body(run, params):
        raise OwnershipLost("gone", fix="go")

    record = _run(workspace, stage_of(body))
    assert (record.error["code"], record.exit_code) == ("ownership_lost", 5)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_is_recorded_and_passed_on(workspace, kind):
    def body(run, params):
        raise kind

    spec = stage_of(body)
    with pytest.raises(kind):
        _run(workspace, spec)
    (record,) = records(workspace, spec.id)
    assert (record.state, record.exit_code) == ("cancelled", 130)
    check_files(workspace, spec, record.run_id)


def test_whatever_a_message_or_result_holds_there_is_a_terminal_record(workspace):
    def body(run, params):
        raise ValueError("\udcff.csv")

    record = _run(workspace, stage_of(body))
    assert read_record(workspace, record.run_id).state == "failed"
    spec = stage_of(lambda run, params: {"big": 1 << 80, "name": "\udcff"}, "test.other")
    record = _run(workspace, spec)
    assert read_record(workspace, record.run_id).state == "succeeded"


def test_a_result_that_is_no_mapping_fails_the_run(workspace):
    assert _run(workspace, stage_of(lambda run, params: 5)).state == "failed"


def test_what_the_caller_raises_on_start_ends_the_run_with_a_record(workspace):
    def on_start(record):
        raise BrokenPipeError("nobody listens")

    record = _run(workspace, BY_ID["test.noop"], on_start=on_start)
    assert record.state == "failed"
    assert read_record(workspace, record.run_id).is_terminal


def test_nothing_is_started_with_invalid_params_or_unmet_prerequisites(workspace):
    with pytest.raises(InvalidParams, match="itmes"):
        _run(workspace, BY_ID["test.count"], params={"itmes": 1})
    with pytest.raises(InvalidParams, match="takes no"):
        _run(workspace, BY_ID["test.noop"], params={"x": 1})
    spec = stage_of(lambda run, params: None, checks="_stages:FAILING")
    with pytest.raises(PrerequisitesNotMet, match="it is not there") as caught:
        _run(workspace, spec)
    assert caught.value.fix == "put it there"
    assert not workspace.data.exists()


def test_a_lakehouse_outside_the_workspace_is_refused_before_anything_starts(workspace, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    workspace.data.mkdir()
    workspace.lakehouse.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PrerequisitesNotMet, match="leaves the workspace"):
        _run(workspace, BY_ID["test.noop"])


def test_a_second_run_is_refused_while_one_is_live(workspace, background):
    run = background(BY_ID["test.hang"])
    run.wait_for_event("at_work")
    with pytest.raises(StageLocked) as caught:
        _run(workspace, BY_ID["test.hang"])
    assert caught.value.run_id == run.run_id
    assert len(list(records(workspace))) == 1


def test_a_stage_without_a_lock_runs_beside_itself(workspace, background):
    runs = [background(BY_ID["test.free"]) for _ in range(3)]
    for run in runs:
        run.wait_for_event("at_work")
    assert len({run.run_id for run in runs}) == 3
    for run in runs:
        assert run.cancel().state == "cancelled"
        check_files(workspace, BY_ID["test.free"], run.run_id)


def test_a_killed_run_is_abandoned_with_evidence_and_continued(workspace, child, wait_until):
    # req: continues
    spec = BY_ID["test.remember"]
    process = child(spec.id)
    wait_until(lambda: [e for e in tail(workspace.audit) if e["event"] == "at_work"])
    process.kill()
    process.wait()
    (dead,) = records(workspace)
    assert dead.state == "running"
    finishing = stage_of(lambda run, params: {"inherited": run.continued_state}, spec.id)
    record = _run(workspace, finishing)
    assert record.continues == dead.run_id
    assert record.result == {"inherited": {"done": 1}}
    buried = check_files(workspace, finishing, record.run_id) and read_record(
        workspace, dead.run_id
    )
    assert buried.state == "abandoned"
    assert str(process.pid) in buried.evidence
    _valid("run", read_json(workspace.run_dir(dead.run_id) / "run.json"))
    head = (buried.audit_head["seq"], buried.audit_head["hash"])
    assert verify_chain(workspace.audit, run_id=dead.run_id, heads={dead.run_id: head})[0].ok
    assert _events(workspace, dead.run_id)[-1] == "run_abandoned"


def test_a_checkpoint_survives_a_run_that_died_before_its_own(workspace):
    def first(run, params):
        run.checkpoint({"done": 7})
        raise ValueError("one")

    def second(run, params):
        raise ValueError("before its first checkpoint")

    assert _run(workspace, stage_of(first)).state == "failed"
    assert _run(workspace, stage_of(second)).state == "failed"
    record = _run(workspace, stage_of(lambda run, params: dict(run.continued_state)))
    assert record.result == {"done": 7}


def test_the_newest_run_of_the_same_params_decides_what_is_continued(workspace):
    fail = {"on": True}

    def body(run, params):
        if fail["on"]:
            raise ValueError("x")

    spec = stage_of(body, params="_stages:Params")
    failed = _run(workspace, spec, params={"name": "a"})
    fail["on"] = False
    other = _run(workspace, spec, params={"name": "b"})
    assert other.continues is None
    again = _run(workspace, spec, params={"name": "a"})
    assert again.continues == failed.run_id
    for _ in range(5):
        assert _run(workspace, spec, params={"name": "a"}).continues is None


def test_fresh_starts_over(workspace):
    def body(run, params):
        run.checkpoint({"done": 1})
        raise ValueError("x")

    _run(workspace, stage_of(body))
    record = _run(
        workspace, stage_of(lambda run, params: {"state": run.continued_state}), fresh=True
    )
    assert (record.continues, record.result) == (None, {"state": None})


def test_a_run_that_died_between_audit_and_record_keeps_its_end(workspace, monkeypatch):
    spec = BY_ID["test.noop"]
    monkeypatch.setattr(lifecycle, "write_record", _disk_full)
    with pytest.raises(RunFailed, match="could not be recorded"):
        _run(workspace, spec)
    monkeypatch.undo()
    (before,) = records(workspace)
    assert before.state == "running"
    assert _run(workspace, spec).state == "succeeded"
    assert read_record(workspace, before.run_id).state == "succeeded"
    assert _events(workspace, before.run_id) == ["run_started", "run_succeeded"]


def test_lost_events_are_part_of_the_evidence(workspace, monkeypatch):
    def body(run, params):
        for n in range(5):
            run.commit(lambda commit: None, batch_id=f"b{n}")
        raise ValueError("x")

    monkeypatch.setattr(lifecycle.Lifecycle, "finish", _disk_full)
    with pytest.raises(RunFailed):
        _run(workspace, stage_of(body))
    monkeypatch.undo()
    lines = workspace.audit.read_bytes().splitlines(keepends=True)
    workspace.audit.write_bytes(b"".join(lines[:3]))
    (before,) = records(workspace)
    _run(workspace, stage_of(lambda run, params: None))
    assert "lost its events 4 to 6" in read_record(workspace, before.run_id).evidence


def _disk_full(*_args, **_more):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        OSError("Generic LocalFileSystem error: No space left on device (os error 28)"),
        ValueError("No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_told_whoever_met_it(error, workspace):
    def body(run, params):
        raise error

    record = _run(workspace, stage_of(body))
    assert (record.error["code"], record.exit_code) == ("disk_full", 3)


def test_a_disk_too_full_for_the_runs_own_files_is_told(workspace, monkeypatch):
    release = StageLock.release

    def full(lock, now):
        release(lock, now)
        _disk_full()

    monkeypatch.setattr(StageLock, "release", full)
    with pytest.raises(DiskFull):
        _run(workspace, BY_ID["test.noop"])


def test_a_removed_record_is_written_again_at_the_end(workspace):
    def body(run, params):
        (workspace.run_dir(run.run_id) / "run.json").unlink()

    record = _run(workspace, stage_of(body))
    assert read_record(workspace, record.run_id).state == "succeeded"


def test_a_terminal_record_never_changes(workspace):
    def body(run, params):
        path = workspace.run_dir(run.run_id) / "run.json"
        document = read_json(path) | {"state": "abandoned", "evidence": "another said so"}
        path.write_bytes(orjson.dumps(document))

    record = _run(workspace, stage_of(body))
    assert record.state == "abandoned"
    assert "run_succeeded" not in _events(workspace, record.run_id)


def test_another_stage_may_run_within_a_body(workspace):
    def body(run, params):
        inner = _run(workspace, BY_ID["test.count"])
        with pytest.raises(StageLocked):
            _run(workspace, spec)
        return {"inner": inner.state}

    spec = stage_of(body)
    record = _run(workspace, spec)
    assert record.result == {"inner": "succeeded"}
    check_files(workspace, spec, record.run_id)


def test_a_commit_after_lost_ownership_raises_and_publishes_nothing(workspace):
    published = []

    def body(run, params):
        run.commit(lambda commit: published.append(commit.epoch), batch_id="b1")
        path = workspace.locks / "test.stage.owner.json"
        path.write_bytes(orjson.dumps(read_json(path) | {"epoch": 9, "run_id": "other"}))
        run.commit(lambda commit: published.append(commit.epoch), batch_id="b2")

    record = _run(workspace, stage_of(body))
    assert published == [1]
    assert (record.state, record.exit_code) == ("failed", 5)
    assert _events(workspace, record.run_id).count("batch_committed") == 1


def test_a_commit_that_fails_records_no_event(workspace):
    def body(run, params):
        run.commit(_disk_full, batch_id="b1")

    record = _run(workspace, stage_of(body))
    assert record.state == "failed"
    assert "batch_committed" not in _events(workspace, record.run_id)


def test_a_changed_total_is_an_event(workspace):
    def body(run, params):
        run.expect(3)
        run.expect(3)
        run.expect(5)

    record = _run(workspace, stage_of(body))
    (event,) = [e for e in tail(workspace.audit) if e["event"] == "total_revised"]
    assert (event["before"], event["total"], event["run_id"]) == (3, 5, record.run_id)


def test_the_body_may_write_only_below_its_own_folders(workspace):
    def body(run, params):
        run.write_report("parity", {"a": 1})
        run.export("../../../../../x", {"a": 1})

    record = _run(workspace, stage_of(body))
    assert record.error["code"] == "outside_workspace"
    assert not (workspace.root.parent / "x.json").exists()
    assert read_json(workspace.run_dir(record.run_id) / "parity.json") == {"a": 1}


def test_a_run_counts_among_the_newest_however_long_the_history(workspace, clock):
    spec = BY_ID["test.noop"]
    for _ in range(60):
        clock.advance(1)
        assert _run(workspace, spec, clock=clock).state == "succeeded"
    assert len(list(records(workspace, spec.id))) == 50


def test_one_of_many_dead_runs_gets_one_end(workspace, child, wait_until, background):
    process = child("test.free")
    wait_until(lambda: [e for e in tail(workspace.audit) if e["event"] == "at_work"])
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    (dead,) = records(workspace)
    runs = [background(BY_ID["test.free"]) for _ in range(6)]
    for run in runs:
        run.wait_for_event("at_work")
    assert _events(workspace, dead.run_id).count("run_abandoned") == 1
    assert verify_chain(workspace.audit, run_id=dead.run_id)[0].ok
    assert ControlFile(workspace).read().error is None
