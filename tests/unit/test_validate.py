from __future__ import annotations

import pytest
from _stages import BY_ID, stage_of

from quant_registry.errors import InvalidParams
from quant_registry.request import RunRequest
from quant_registry.runner import run_stage
from quant_registry.validate import validate_stage


def _tree(workspace):
    return {
        str(path): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in workspace.root.rglob("*")
    }


def _noop(run, params):
    return None


def test_a_sound_stage_is_ok_and_says_what_its_probability_rests_on(workspace):
    found = validate_stage(workspace, stage_of(_noop, plan="_stages:plan"), {})
    assert found.ok  # req: seed-validate
    factors = {factor.name: factor.value for factor in found.factors}
    assert set(factors) == {"disk_headroom", "readable_sources"}
    assert factors["readable_sources"] == 0.5
    assert found.success_probability == pytest.approx(0.5 * factors["disk_headroom"], abs=1e-4)
    assert found.plan.candidates == 4
    document = found.to_dict()
    assert {"ok", "checks", "plan", "success_probability", "factors"} <= set(document)


@pytest.mark.parametrize("checks", ["FAILING", "CRASHING"])
def test_a_check_that_fails_or_crashes_blocks(workspace, checks):  # req: seed-success-probability
    found = validate_stage(workspace, stage_of(_noop, checks=f"_stages:{checks}"), {})
    assert not found.ok
    assert found.success_probability == 0
    (check,) = [check for check in found.checks if check.status == "failed"]
    assert check.name == "thing"
    assert check.fix


def test_the_history_is_smoothed(workspace):
    spec = BY_ID["test.boom"]
    for _ in range(2):
        run_stage(workspace, spec, RunRequest())
    found = validate_stage(workspace, spec, {})
    (history,) = [factor for factor in found.factors if factor.name == "history"]
    assert history.value == 0.25  # (0 + 1) / (2 + 2)


def test_a_held_lock_is_a_warning(workspace, background):
    run = background(BY_ID["test.hang"])
    run.wait_for_event("at_work")
    found = validate_stage(workspace, BY_ID["test.hang"], {})
    assert found.ok
    (lock,) = [check for check in found.checks if check.name == "lock"]
    assert lock.status == "warning"
    assert run.run_id in lock.detail


def test_wrong_params_are_all_named(workspace):
    with pytest.raises(InvalidParams) as caught:
        validate_stage(workspace, BY_ID["test.count"], {"items": "x", "nmae": 1})
    assert len(caught.value.problems) == 2


def test_validating_writes_nothing(workspace):
    spec = stage_of(_noop, plan="_stages:plan")
    validate_stage(workspace, spec, {}, rehearse=True)
    assert _tree(workspace) == {}
    run_stage(workspace, spec, RunRequest())
    before = _tree(workspace)
    validate_stage(workspace, spec, {}, rehearse=True)
    assert _tree(workspace) == before
