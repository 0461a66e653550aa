from __future__ import annotations

import subprocess
import sys

import pytest
from _stages import STAGES, stage_of

from quant_registry.audit_reader import verify_chain
from quant_registry.errors import (
    BrokenPlugin,
    Conflict,
    InvalidParams,
    NoData,
    RunFailed,
    UnknownName,
    UnknownStage,
)
from quant_registry.lifecycle import Lifecycle
from quant_registry.run import Run
from quant_registry.spec import StageSpec
from quant_sdk.testing import (
    POINTS,
    BackgroundRun,
    FakeClock,
    FaultPoints,
    StageRunner,
    fault_points,
    stage_runner,
    workspace_stages,
)

BODY = """
from pathlib import Path


def publish(run, params):
    done = (run.continued_state or {}).get("done", 0)
    for number in run.track(range(done, 3), total=3 - done):
        run.commit(lambda commit: put(run, number), batch_id=f"b{number}")
        run.checkpoint({"done": number + 1})
    return {"done": 3, "began_at": done}


def put(run, number):
    (run.workspace.root / f"{number}.txt").write_text("there")
"""
SPEC = StageSpec(id="test.publish", category="test", title="Publish three", body="_body:publish")
STAY = StageSpec(id="test.hang", category="test", title="Stay", body="_stages:hang")


@pytest.fixture(scope="module")
def importable(tmp_path_factory):
    """A body that another process can import too."""
    folder = tmp_path_factory.mktemp("bodies")
    (folder / "_body.py").write_text(BODY)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder


@pytest.fixture
def runner(tmp_path, importable):
    with StageRunner(tmp_path / "ws", [SPEC, *STAGES]) as made:
        yield made


def written(runner):
    return sorted(path.name for path in runner.root.glob("*.txt"))


def test_nothing_heavy_is_loaded():
    code = "import quant_sdk.testing.plugin, sys; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"polars", "pyarrow", "deltalake", "pydantic", "watchdog", "httpx"}
    assert "quant_sdk.sdk" not in done.stdout.split()


def test_a_run_has_its_record_its_events_and_its_own_workspace(runner, tmp_path):
    record = runner.run("test.count", items=2)
    assert (record.state, record.actor, record.result) == ("succeeded", "test", {"items": 2})
    assert len(runner.events("counted")) == 2
    assert runner.events()[0]["event"] == "run_started"
    assert runner.workspace.root == tmp_path / "ws"
    assert repr(runner).startswith("<StageRunner: ")


def test_only_the_given_stages_are_known(tmp_path):
    with stage_runner(tmp_path, STAGES) as made, pytest.raises(UnknownStage):
        made.run("ops.migration.dataops_v2")


def test_what_keeps_a_run_from_starting_is_raised(runner):
    with pytest.raises(InvalidParams):
        runner.run("test.count", items="many")
    run = runner.start("test.count", items="many")
    with pytest.raises(InvalidParams):
        run.run_id  # noqa: B018
    with pytest.raises(InvalidParams):
        run.end()


def test_a_live_run_is_paused_resumed_and_cancelled(runner):
    run = runner.start("test.hang")
    assert isinstance(run, BackgroundRun)
    assert run.wait_for_event("at_work")["run_id"] == run.run_id
    run.pause("to look at it")
    assert run.state == "paused"
    assert run.events("paused")[0]["directive"]["reason"] == "to look at it"
    run.resume()
    assert run.wait_for_event("resumed")
    assert run.cancel().state == "cancelled"


def test_waiting_for_an_event_ends_with_the_run(runner):
    run = runner.start("test.noop")
    with pytest.raises(AssertionError, match="ended with 0 of 1 'at_work'"):
        run.wait_for_event("at_work")


def test_pausing_a_run_that_has_ended_is_told(runner):
    run = runner.start("test.noop")
    run.end()
    with pytest.raises(AssertionError, match="ended succeeded before it was paused"):
        run.pause()


def test_the_end_of_the_context_ends_what_still_runs(tmp_path):
    with StageRunner(tmp_path, [STAY]) as made:
        run = made.start("test.hang")
        run.wait_for_event("at_work")
    assert made.sdk.run(run.run_id).state == "cancelled"


def test_the_control_file_is_written_as_an_editor_would(runner):
    run = runner.start("test.hang")
    run.wait_for_event("at_work")
    runner.write_control("{torn")
    run.wait_for_event("control_unreadable")
    path = runner.write_control({"action": "pause"})
    assert path == runner.workspace.control
    run.wait_for_event("paused")
    runner.write_control(b'{"action": "resume"}')
    run.wait_for_event("resumed")


def test_the_fixtures_come_with_the_distribution(stage_runner, fault_points, tmp_path):
    made = stage_runner(STAGES)
    assert made.run("test.noop").state == "succeeded"
    assert made.root == tmp_path / "workspace"
    assert isinstance(fault_points, FaultPoints)


def test_a_fake_clock_moves_when_told_or_waited_on(stage_runner):
    def rest(run, params):
        began = run.clock.monotonic()
        run.clock.wait(stop, 3600)
        return {"seconds": run.clock.monotonic() - began}

    from threading import Event

    stop = Event()
    record = stage_runner([stage_of(rest)], clock=FakeClock()).run("test.stage")
    assert record.result == {"seconds": 3600}
    assert record.active_seconds >= 3600


def test_two_readings_of_a_fake_clock_differ():
    clock = FakeClock()
    assert clock.now() < clock.now()
    assert clock.monotonic() == clock.monotonic()


@pytest.mark.parametrize(
    ("point", "files", "commits"),
    [
        ("before_commit", ["0.txt"], 1),
        ("after_commit", ["0.txt", "1.txt"], 2),
        ("before_checkpoint", ["0.txt", "1.txt"], 2),
    ],
)
def test_an_error_at_a_point_fails_the_run_and_the_next_one_continues(
    runner, fault_points, point, files, commits
):
    fault_points.raise_at(point, OSError("no space left"), occurrence=2)
    record = runner.run("test.publish")
    assert record.state == "failed"
    assert "no space left" in record.error["message"]
    assert written(runner) == files
    assert len(runner.events("batch_committed")) == commits
    again = runner.run("test.publish")
    assert (again.state, again.continues) == ("succeeded", record.run_id)
    assert again.result["began_at"] == 1


def test_an_error_before_the_terminal_record_leaves_that_to_the_next_run(runner, fault_points):
    fault_points.raise_at("before_terminal_record", OSError("no space left"))
    with pytest.raises(RunFailed) as caught:
        runner.run("test.publish")
    assert runner.sdk.run(caught.value.run_id).state == "running"


def test_a_gate_holds_the_run_until_it_is_released(runner, fault_points):
    gate = fault_points.pause_at("before_commit", occurrence=3)
    run = runner.start("test.publish")
    gate.wait_until_reached()
    assert written(runner) == ["0.txt", "1.txt"]
    gate.release()
    assert run.end().state == "succeeded"
    assert len(written(runner)) == 3


@pytest.mark.parametrize("point", POINTS)
def test_a_run_killed_at_a_point_is_continued_to_the_same_end(runner, point):
    assert runner.run_killed_at(point, "test.publish") == -9
    record = runner.run("test.publish")
    assert record.state == "succeeded"
    assert written(runner) == ["0.txt", "1.txt", "2.txt"]
    dead = runner.sdk.run(record.continues)
    assert (dead.state, dead.actor) == ("abandoned", "test-child")
    assert all(chain.ok for chain in verify_chain(runner.workspace.audit))


def test_a_child_that_never_comes_to_the_point_ends_by_itself(runner):
    assert runner.run_killed_at("before_commit", "test.count", items=1) == 0
    assert runner.run_killed_at("before_commit", "test.publish", occurrence=4) == 0


def test_the_process_of_the_tests_is_never_killed(fault_points):
    with pytest.raises(Conflict, match="tests run in this process"):
        fault_points.kill_at("before_commit")


def test_an_unknown_point_answers_with_the_nearest(runner, fault_points):
    with pytest.raises(UnknownName) as caught:
        fault_points.raise_at("before_comit", OSError())
    assert caught.value.near[0] == "before_commit"
    with pytest.raises(UnknownName):
        runner.run_killed_at("nowhere", "test.noop")


def test_everything_is_as_before_when_the_context_ends():
    methods = [Run.commit, Run.checkpoint, Lifecycle.finish]
    with fault_points() as outer:
        with fault_points():
            assert Run.commit is not methods[0]
        gate = outer.pause_at("before_commit")
    assert [Run.commit, Run.checkpoint, Lifecycle.finish] == methods
    gate()  # open


def test_stages_of_a_workspace_are_found_from_a_file_in_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "quant.yml").write_text('stages: ["_stages:STAGES"]\n')
    (tmp_path / "deep").mkdir()
    found = workspace_stages(tmp_path / "deep")
    assert set(STAGES) <= set(found)
    (tmp_path / "quant.yml").write_text('stages: ["_gone:STAGES"]\n')
    with pytest.raises(BrokenPlugin, match="_gone"):
        workspace_stages(tmp_path)


def test_stages_without_a_workspace_are_told(tmp_path):
    with pytest.raises(NoData, match=r"no quant\.yml"):
        workspace_stages(tmp_path)
