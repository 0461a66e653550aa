"""Runs an agent can hold: detached, keyed, planned, waited for."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

import pytest


@pytest.fixture
def held(quant):
    """A detached run of demo.slow, at work; ended with the test."""
    handle = quant.json("stage", "run", "demo.slow", "--detach", "--actor", "agent-7")
    quant.await_status("demo.slow", state="running", step="count")
    yield handle
    with suppress(ProcessLookupError):
        os.kill(handle["owner"]["pid"], signal.SIGKILL)


def test_a_detached_run_is_answered_with_a_handle(quant, held):
    assert held["state"] == "queued"
    assert held["stage_id"] == "demo.slow"
    assert held["exit_code"] is None
    assert held["next_actions"][0] == f"quant wait {held['run_id']}"
    assert quant.json("run", "show", held["run_id"])["actor"] == "agent-7"


def test_a_handle_is_text_for_people(quant):
    done = quant("stage", "run", "demo.noop", "--detach")
    assert done.returncode == 0
    assert " queued\nnext: quant wait " in done.stdout
    run_id = done.stdout.split()[1]
    assert quant.json("wait", run_id, "--timeout", "20s")["state"] == "succeeded"


def test_wait_is_met_by_the_end(quant, held):
    waiting = quant.start("wait", held["run_id"])
    (quant.root / "finish").touch()
    out, _ = waiting.communicate(timeout=30)
    assert waiting.returncode == 0
    assert out.startswith(f"{held['run_id']}  succeeded")


def test_wait_out_of_time_is_exit_code_7_with_the_handle(quant, held):
    error = quant.json("wait", held["run_id"], "--timeout", "1s", exits=7)["error"]
    assert error["code"] == "wait_timeout"
    assert error["retryable"] is True
    assert error["waited"]["run_id"] == held["run_id"]
    assert error["waited"]["state"] == "running"
    assert quant("wait", held["run_id"], "--timeout", "1s").returncode == 7


def test_wait_for_a_pause(quant, held):
    quant("pause", "--scope", held["run_id"])
    assert quant.json("wait", held["run_id"], "--until", "paused", "--timeout", "20s")["met"]


def test_an_end_without_the_condition_is_exit_code_1(quant):
    run_id = quant.json("stage", "run", "demo.noop")["run_id"]
    answer = quant.json("wait", run_id, "--until", "phase=complete", exits=1)
    assert (answer["met"], answer["evidence"]) == (False, "the run ended succeeded")
    assert "not phase=complete" in quant("wait", run_id, "--until", "phase=complete").stdout


def test_a_dead_process_is_exit_code_1(quant, held):
    os.kill(quant.json("run", "show", held["run_id"])["owner"]["pid"], signal.SIGKILL)
    answer = quant.json("wait", held["run_id"], exits=1)
    assert answer["state"] == "running"
    assert "pid" in answer["evidence"] or "process" in answer["evidence"]


@pytest.mark.parametrize(
    ("args", "exits"),
    [(("--until", "lunch"), 2), (("--until", "state=done"), 2), (("--timeout", "soon"), 2)],
)
def test_a_malformed_wait_is_a_usage_error(quant, args, exits):
    run_id = quant.json("stage", "run", "demo.noop")["run_id"]
    assert quant.json("wait", run_id, *args, exits=exits)["error"]["fix"]


def test_nothing_new_is_answered_as_unchanged(quant):
    quant("stage", "run", "demo.noop")
    [status] = quant.json("status", "demo.noop")["runs"]
    answer = quant.json("status", "demo.noop", "--since-seq", str(status["seq"]))
    assert answer["runs"] == [{"run_id": status["run_id"], "seq": status["seq"], "unchanged": True}]
    assert "unchanged since" in quant("status", "demo.noop", "--since-seq", "2").stdout
    assert "state" in quant.json("status", "demo.noop", "--since-seq", "1")["runs"][0]
    assert quant.json("status", "--since-seq", "1", exits=2)["error"]["code"] == "usage"


def test_a_key_makes_two_calls_one_run(quant, held):
    first = quant.json("stage", "run", "demo.noop", "--idempotency-key", "k1")
    again = quant.json("stage", "run", "demo.noop", "--idempotency-key", "k1")
    assert (again["run_id"], again["exit_code"]) == (first["run_id"], 0)
    other = ("stage", "run", "demo.kinds", "--idempotency-key", "k1", "--detach")
    run_id = quant.json(*other)["run_id"]
    assert quant.json("wait", run_id)["state"] == "succeeded"
    conflict = quant.json(*other, "--share", "0.5", exits=4)
    assert conflict["error"]["code"] == "idempotency_conflict"


def test_a_plan_is_validated_then_run(quant):
    plan_hash = quant.json("stage", "validate", "demo.kinds")["plan_hash"]
    assert plan_hash in quant("stage", "validate", "demo.kinds").stdout
    asked = ("stage", "run", "demo.kinds", "--plan-hash", plan_hash)
    assert quant.json(*asked)["plan_hash"] == plan_hash
    drifted = quant.json(*asked, "--share", "0.5", exits=4)
    assert drifted["error"]["code"] == "plan_drifted"
    assert "quant stage validate demo.kinds" in drifted["error"]["fix"]
