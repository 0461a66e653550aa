"""The log followed and verified, and a lock recovered from a frozen owner."""

from __future__ import annotations

import json
import os
import signal

from _quant import until


def log_of(quant):
    return quant.root / "data" / "artifacts" / "audit.jsonl"


def test_audit_tail_is_run_tail(quant):
    run_id = quant.json("stage", "run", "demo.noop")["run_id"]
    for args in ((), (run_id,), (run_id, "--since-seq", "1"), ("--stage", "demo.noop")):
        assert quant("audit", "tail", *args).stdout == quant("run", "tail", *args).stdout != ""


def test_verify_passes_a_whole_log(quant):
    run_id = quant.json("stage", "run", "demo.noop")["run_id"]
    answer = quant.json("audit", "verify")
    assert (answer["ok"], answer["verified"], answer["broken"]) == (True, 1, 0)
    assert quant.json("audit", "verify", run_id)["chains"][0]["run_id"] == run_id
    assert quant("audit", "verify").stdout == "1 chains, 0 broken\n"


def test_verify_names_the_first_bad_seq(quant):
    quant("stage", "run", "demo.fail")
    run_id = quant.json("stage", "run", "demo.noop")["run_id"]
    lines = log_of(quant).read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b'"run_started"', b'"run_tampered"')
    log_of(quant).write_bytes(b"".join(lines))
    answer = quant.json("audit", "verify", exits=3)
    assert (answer["verified"], answer["broken"]) == (2, 1)
    first = answer["chains"][0]
    assert (first["run_id"], first["first_bad_seq"]) == (run_id, 1)
    shown = quant("audit", "verify")
    assert shown.returncode == 3
    assert "was altered after it was written" in shown.stdout


def test_verify_names_a_truncation(quant):
    run_id = quant.json("stage", "run", "demo.noop")["run_id"]
    lines = log_of(quant).read_bytes().splitlines(keepends=True)
    log_of(quant).write_bytes(lines[0])
    [chain] = quant.json("audit", "verify", run_id, exits=3)["chains"]
    assert chain["first_bad_seq"] == 2
    assert chain["reason"] == "the log ends at event 1, 2 were written"


def test_verify_of_nobody_is_a_usage_error(quant):
    quant("stage", "run", "demo.noop")
    assert quant.json("audit", "verify", "nobody", exits=2)["error"]["code"] == "unknown_run"


def test_a_followed_run_whose_process_died_ends_the_tail(quant, slow):
    run_id = quant.status("demo.slow")["run_id"]
    follower = quant.start("audit", "tail", run_id, "--follow", "--json")
    assert json.loads(follower.stdout.readline())["event"] == "run_started"
    slow.kill()
    slow.wait()
    out, said = follower.communicate(timeout=30)
    assert follower.returncode == 0
    assert all(json.loads(line)["run_id"] == run_id for line in out.splitlines())
    assert f"nothing more will come of {run_id}: its process is dead" in said


def test_a_frozen_owner_is_recovered_by_its_lock_id(quant, slow):
    [view] = quant.json("lock", "show", "demo.slow")["locks"]
    refused = quant.json("lock", "recover", "demo.slow", view["lock_id"], exits=4)
    assert refused["error"]["code"] == "conflict"
    os.kill(slow.pid, signal.SIGSTOP)
    until(lambda: quant.json("lock", "show", "demo.slow")["locks"][0]["state"] == "frozen")
    assert quant.json("lock", "recover", "demo.slow", "another", exits=2)["error"]["fix"]
    answer = quant.json("lock", "recover", "demo.slow", view["lock_id"], "--actor", "oncall")
    assert answer["run_id"] == view["run_id"]
    assert answer["abandoned"] == [view["run_id"]]
    assert slow.wait(30) == -signal.SIGKILL
    [event] = [
        event
        for line in quant("audit", "tail", view["run_id"], "--json").stdout.splitlines()
        if (event := json.loads(line))["event"] == "lock_recovered"
    ]
    assert event["actor"] == "oncall"
    assert quant.json("audit", "verify")["ok"] is True
    assert quant.json("lock", "show", "demo.slow")["locks"][0]["state"] == "free"
