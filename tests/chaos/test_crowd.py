"""Many at once: starters, observers, and a control file that never stands still."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from _continuing import PATIENCE, await_record, copy, start
from _legacy import STAGE

from quant_sdk import QuantSDK, StageRegistry, StageSpec, tail, verify_chain

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

LONG = os.environ.get("QUANT_CHAOS") == "long"
STARTERS = 200 if LONG else 24
REWRITES = 10_000 if LONG else 1_000
OBSERVERS, WRITERS, EVENTS = 50, 8, 400 if LONG else 100


def work(run, _params):
    for index in run.track(range(EVENTS), EVENTS):
        run.emit("worked", index=index, status="success")
    return {}


def stand(run, _params):
    """Work until cancelled, counting safe points."""
    pause = threading.Event()
    while True:
        run.safe_point()
        pause.wait(0.0005)


SPECS = (
    StageSpec(id="crowd.work", category="crowd", title="Work", body="test_crowd:work", lock=None),
    StageSpec(id="crowd.stand", category="crowd", title="Stand", body="test_crowd:stand"),
)


def test_of_many_simultaneous_starts_exactly_one_works(undisturbed, tmp_path):
    workspace = copy(undisturbed[0], tmp_path)
    sdk = QuantSDK(workspace)
    sdk.pause()  # the winner waits, so that every other one meets it
    command = [sys.executable, "-m", "quant_cli.main", "stage", "run", STAGE, "--json"]

    def begin(_):
        process = subprocess.Popen(
            [*command, "--workspace", str(workspace)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        return process, process.stdout

    started = [begin(index) for index in range(STARTERS)]
    losers = []
    with ThreadPoolExecutor(STARTERS) as pool:
        answers = [pool.submit(process.communicate) for process, _ in started]
        halt = threading.Event()
        while sum(answer.done() for answer in answers) < STARTERS - 1:
            halt.wait(0.05)
        sdk.resume()
        for (process, _), answer in zip(started, answers, strict=True):
            output = json.loads(answer.result()[0])
            if process.returncode:
                losers.append((process.returncode, output["error"]["code"]))
    assert losers == [(4, "stage_locked")] * (STARTERS - 1)
    (record,) = sdk.runs()
    assert record.state == "succeeded"


def test_every_observer_sees_every_event_of_every_writer_in_order(tmp_path):
    sdk = QuantSDK(tmp_path, registry=StageRegistry(SPECS))
    seen = [{} for _ in range(OBSERVERS)]

    def observe(mine):
        ended = 0
        for event in tail(sdk.workspace.audit, follow=True):
            mine.setdefault(event["run_id"], []).append(event["seq"])
            ended += event["event"] == "run_succeeded"
            if ended == WRITERS:
                return

    with ThreadPoolExecutor(OBSERVERS + WRITERS) as pool:
        watching = [pool.submit(observe, mine) for mine in seen]
        runs = [pool.submit(sdk.run_stage, "crowd.work") for _ in range(WRITERS)]
        records = [run.result(PATIENCE * 5) for run in runs]
        for watcher in watching:
            watcher.result(PATIENCE)
    expected = {record.run_id: list(range(1, EVENTS + 3)) for record in records}
    assert all(mine == expected for mine in seen)
    assert all(report.ok for report in verify_chain(sdk.workspace.audit))


def test_a_control_file_rewritten_without_rest_leaves_the_run_where_the_last_word_puts_it(tmp_path):
    sdk = QuantSDK(tmp_path, registry=StageRegistry(SPECS))
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(sdk.run_stage, "crowd.stand")
        halt = threading.Event()
        while not sdk.status():
            halt.wait(0.01)
        control = sdk.workspace.control
        for index in range(REWRITES):
            word = "pause" if index % 2 else "resume"
            control.write_text(json.dumps({"action": word, "reason": f"{index}"}))
        assert sdk.wait(sdk.runs()[0].run_id, "paused", timeout=PATIENCE).met
        control.write_text('{"action": "resume"}')
        assert sdk.wait(sdk.runs()[0].run_id, "state=running", timeout=PATIENCE).met
        assert sdk.cancel().outcome in {"cancelling", "cancelled"}
        record = run.result(PATIENCE)
    assert record.state == "cancelled"
    assert all(report.ok for report in verify_chain(sdk.workspace.audit))
    assert len(list(sdk.tail(record.run_id))) > 4


def test_a_frozen_run_is_recovered_by_its_lock_id_and_continued(undisturbed, tmp_path):
    import signal

    workspace = copy(undisturbed[0], tmp_path)
    process = start(workspace)
    await_record(workspace, process)
    process.send_signal(signal.SIGSTOP)
    sdk = QuantSDK(workspace)
    halt = threading.Event()
    while sdk.lock(STAGE).state == "alive":
        halt.wait(0.01)
    if sdk.lock(STAGE).state == "frozen":
        recovered = sdk.recover_lock(STAGE, sdk.lock(STAGE).lock_id)
        assert recovered["pid"] == process.pid
    process.wait(PATIENCE)
    record = sdk.run_stage(STAGE, {"batch_symbols": 2})
    assert record.state == "succeeded"
    assert sdk.lakehouse.content_hash() == undisturbed[1][0]


def test_a_run_ended_by_sigterm_is_continued(undisturbed, tmp_path):
    workspace = copy(undisturbed[0], tmp_path)
    process = start(workspace)
    await_record(workspace, process)
    process.terminate()
    assert process.wait(PATIENCE) in {130, 0}
    sdk = QuantSDK(workspace)
    assert sdk.runs()[0].state in {"cancelled", "succeeded"}
    assert sdk.run_stage(STAGE, {"batch_symbols": 2}).state == "succeeded"
    assert sdk.lakehouse.content_hash() == undisturbed[1][0]
