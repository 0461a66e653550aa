"""The cycle: what it hands on of its steps, and what it asks for before it begins."""

from __future__ import annotations

import json

import pytest
from _stages import noop, stage_of

from quant_sdk.errors import ParityFailed, PrerequisitesNotMet, SourceError, SourceRefused
from quant_sdk.testing import StageRunner
from quant_stages import STAGES as BUILT_IN
from quant_stages.flows.cycle import STAGES
from quant_stages.flows.cycle.body import STEPS

CYCLE = "ops.flow_data"
REAL = {spec.id: spec for spec in BUILT_IN}
ENTRY = {
    "symbol": "BINANCE:BTCUSDT",
    "exchange": "BINANCE",
    "asset_type": "crypto",
    "ingest": [{"timeframe": "1h"}],
}


@pytest.fixture
def cycle(tmp_path):
    """Return a function that opens a cycle whose steps do nothing, but for those given."""
    opened = []

    def open_it(**bodies):
        bodies = {name.replace("_", ".", 1): body for name, body in bodies.items()}
        steps = [
            stage_of(bodies.get(name, noop), name, params=REAL[name].params)
            for name in (step.stage_id for step in STEPS)
        ]
        runner = StageRunner(tmp_path, (*STAGES, *steps))
        opened.append(runner)
        (tmp_path / "data").mkdir(exist_ok=True)
        document = {"schema": "candidates/1", "meta": {}, "data": [ENTRY]}
        (tmp_path / "data/mine.json").write_text(json.dumps(document))
        (tmp_path / "quant.yml").write_text("sources: {market: embedded}")
        return runner.__enter__()

    yield open_it
    for runner in opened:
        runner.__exit__(None, None, None)


def raising(error):
    def body(run, params):
        raise error

    return body


@pytest.mark.parametrize(
    ("error", "exit_code", "retryable"),
    [
        (ParityFailed("a row is gone", fix="see parity.json"), 1, False),
        (SourceRefused("denied", fix="check QUANT_BINANCE_API_KEY"), 6, False),
        (SourceError("an outage", fix="later"), 6, True),
    ],
)
def test_the_error_of_a_step_is_the_cycles(cycle, error, exit_code, retryable):
    runner = cycle(data_verify=raising(error))
    record = runner.run(CYCLE, candidates="data/mine.json")
    assert (record.state, record.exit_code) == ("failed", exit_code)
    assert record.error["code"] == error.code
    assert (record.error["fix"], record.error["retryable"]) == (error.fix, retryable)
    assert "data.verify failed" in record.error["message"]


def test_a_step_that_crashes_is_not_to_be_tried_again(cycle):
    runner = cycle(data_ingest=raising(RuntimeError("boom")))
    record = runner.run(CYCLE, candidates="data/mine.json")
    assert (record.error["code"], record.exit_code) == ("run_failed", 1)


def test_validation_refuses_an_empty_folder(cycle):
    found = cycle().sdk.validate_stage(CYCLE)
    checks = {check.name: check for check in found.checks}
    assert not found.ok
    assert checks["manifest"].status == "failed"


def test_validation_refuses_a_manifest_without_scanners(cycle):
    runner = cycle()
    document = {"default_profile": "a", "profiles": {"a": {"discovery": {"strategies": {}}}}}
    (runner.root / "data/manifest.json").write_text(json.dumps(document))
    with pytest.raises(PrerequisitesNotMet, match="scanner"):
        runner.run(CYCLE)
    assert not runner.sdk.runs(CYCLE)


@pytest.mark.parametrize("named", [{}, {"candidates": "data/mine.json"}])
def test_validation_refuses_a_market_that_there_is_not(cycle, named):
    runner = cycle()
    (runner.root / "quant.yml").write_text("sources: {market: embeded}")
    found = runner.sdk.validate_stage(CYCLE, named)
    assert any(check.status == "failed" and "embeded" in check.detail for check in found.checks)


def test_with_candidates_no_scanner_is_needed_and_their_file_is_looked_at(cycle):
    runner = cycle()
    found = runner.sdk.validate_stage(CYCLE, {"candidates": "data/mine.json"})
    assert found.ok
    lost = runner.sdk.validate_stage(CYCLE, {"candidates": "data/other.json"})
    assert not lost.ok
