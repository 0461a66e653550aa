from __future__ import annotations

import importlib
import threading
from datetime import timedelta

import pytest
from _stages import stage_of

from quant_registry.control_file import ControlFile
from quant_registry.errors import InvalidInput, UnknownRun, UnknownStage
from quant_registry.registry import StageRegistry
from quant_sdk import QuantSDK
from quant_sdk import sdk as sdk_module


@pytest.fixture
def sdk(workspace, registry):
    return QuantSDK(workspace.root, registry=registry, actor="agent")


def _paused(sdk, run):
    return sdk.status(run.run_id)[0]["state"] == "paused"


def test_the_class_works_in_the_workspace_of_the_environment(workspace, registry, monkeypatch):
    # req: seed-run-stage
    monkeypatch.setenv("QUANT_WORKSPACE", str(workspace.root))
    monkeypatch.setattr(StageRegistry, "discover", classmethod(lambda _cls, _ws: registry))
    assert QuantSDK.run_stage("test.noop").state == "succeeded"
    assert QuantSDK.validate_stage("test.noop").ok
    assert [run.stage_id for run in QuantSDK.runs()] == ["test.noop"]
    assert QuantSDK(workspace.root).run_stage("test.noop").state == "succeeded"
    assert "Run a stage" in QuantSDK.run_stage.__doc__


def test_the_migration_is_a_stage_of_category_ops():  # req: seed-stage-id
    found = StageRegistry(importlib.import_module("quant_stages").STAGES)
    assert "ops.migration.dataops_v2" in [spec.id for spec in found.find(category="ops")]


def test_an_instance_keeps_to_the_registry_it_was_given(workspace):
    empty = StageRegistry()
    assert QuantSDK(workspace.root, registry=empty).registry is empty


def test_stages_are_listed_and_described(sdk):
    assert [spec.id for spec in sdk.stages(tag="counting")] == ["test.count"]
    described = sdk.describe("test.count")
    assert set(described["params_schema"]["properties"]) == {"items", "name"}
    assert sdk.describe("test.noop")["params_schema"]["additionalProperties"] is False


def test_unknown_names_are_refused(sdk):
    with pytest.raises(UnknownStage):
        sdk.run_stage("test.nop")
    with pytest.raises(UnknownRun):
        sdk.run("none")
    with pytest.raises(InvalidInput):
        sdk.pause("none")
    with pytest.raises(InvalidInput):
        sdk.pause(lasts=timedelta(0))


def test_pause_resume_and_cancel_answer_with_what_happened(sdk, registry, background, wait_until):
    run = background(registry["test.hang"])
    run.wait_for_event("at_work")
    assert sdk.pause("test.hang", reason="bandwidth").outcome in {"pausing", "paused"}
    wait_until(lambda: _paused(sdk, run))
    assert sdk.pause("test.hang").outcome == "already_paused"
    assert sdk.resume("test.hang").outcome == "resumed"
    assert sdk.resume("test.hang").outcome == "already_running"
    assert sdk.cancel(run.run_id).outcome in {"cancelling", "cancelled"}
    assert run.end().state == "cancelled"
    for answer in (sdk.pause(), sdk.resume(), sdk.cancel()):
        assert (answer.outcome, answer.runs) == ("not_running", ())


def test_every_resume_of_a_paused_run_is_told_as_resumed(sdk, registry, background, wait_until):
    run = background(registry["test.hang"])
    run.wait_for_event("at_work")
    for _ in range(5):
        sdk.pause(run.run_id)
        wait_until(lambda: _paused(sdk, run))
        assert sdk.resume(run.run_id).outcome == "resumed"


def test_a_resume_under_a_narrower_pause_says_still_paused(sdk, registry, background, wait_until):
    run = background(registry["test.hang"])
    run.wait_for_event("at_work")
    sdk.pause("test.hang")
    wait_until(lambda: _paused(sdk, run))
    assert sdk.resume().outcome == "still_paused"


def test_a_cancel_of_everything_reaches_a_run_that_is_paused_by_name(
    sdk, registry, background, wait_until
):
    run = background(registry["test.hang"])
    run.wait_for_event("at_work")
    sdk.pause(run.run_id)
    wait_until(lambda: _paused(sdk, run))
    sdk.cancel()
    assert run.end().state == "cancelled"


def test_a_pause_while_publishing_says_committing(sdk, workspace, background):
    gate = threading.Event()

    def body(run, params):
        run.commit(lambda commit: run.emit("publishing") or gate.wait(30), batch_id="b")
        run.safe_point()

    spec = stage_of(body)
    sdk.registry.register((spec,))
    run = background(spec)
    run.wait_for_event("publishing")
    assert sdk.pause().outcome == "committing"
    gate.set()
    run.wait_for_event("paused")
    run.cancel()


def test_directives_of_ended_runs_do_not_pile_up(sdk, workspace, registry, background):
    for _ in range(3):
        run = background(registry["test.hang"])
        run.wait_for_event("at_work")
        sdk.cancel(run.run_id)
        run.end()
    assert len(ControlFile(workspace).read().directives) == 1


def test_status_shows_live_runs_or_the_last_one(sdk, registry, background):
    assert sdk.status() == []
    run = background(registry["test.hang"])
    run.wait_for_event("at_work")
    (live,) = sdk.status()
    assert (live["run_id"], live["state"]) == (run.run_id, "running")
    run.cancel()
    assert sdk.status() == []
    assert sdk.status("test.hang")[0]["state"] == "cancelled"


def test_a_followed_run_ends_its_tail_with_its_end(sdk, registry, background):
    run = background(registry["test.hang"])
    run.wait_for_event("at_work")
    run.stop.set()
    events = [event["event"] for event in sdk.tail(run.run_id, follow=True)]
    assert events[-1] == "run_cancelled"
    since = [event["seq"] for event in sdk.tail(run.run_id, since_seq=1)]
    assert since[0] == 2


def test_an_actor_whose_name_is_no_label_can_run(workspace, registry, monkeypatch):
    monkeypatch.delenv("QUANT_ACTOR", raising=False)
    monkeypatch.setattr(sdk_module.getpass, "getuser", lambda: "DOMAIN\\jörg b")
    sdk = QuantSDK(workspace.root, registry=registry)
    assert sdk.run_stage("test.noop").actor == "DOMAIN-j-rg-b"
