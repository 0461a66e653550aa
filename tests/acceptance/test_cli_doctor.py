"""What is wrong with a workspace, and with a run that does not move."""

from __future__ import annotations

import re

LINE = re.compile(r"\[(OK|WARN|FAIL)\] [a-z]+: .+")


def test_the_doctor_answers_a_line_a_probe(quant):
    quant("stage", "run", "demo.noop")
    done = quant("doctor")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert all(LINE.fullmatch(line) for line in lines)
    assert [line.split()[1][:-1] for line in lines] == [
        "workspace", "disk", "clock", "locks", "abandoned", "audit", "control", "settings",
        "tables", "leftovers",
    ]  # fmt: skip


def test_a_failure_is_exit_code_3_with_its_fix(quant):
    quant("stage", "run", "demo.noop")
    (quant.root / "data" / "lakehouse" / "migration_control.json").write_text("{")
    answer = quant.json("doctor", exits=3)
    assert answer["ok"] is False
    [control] = [probe for probe in answer["probes"] if probe["name"] == "control"]
    assert control["status"] == "fail"
    done = quant("doctor")
    assert done.returncode == 3
    assert re.search(r"\[FAIL\] control: .+ — .+quant resume", done.stdout)
    assert quant("resume").returncode == 0
    assert quant("doctor").returncode == 0


def test_the_doctor_warns_of_dead_runs_and_buries_them(quant, slow):
    run_id = quant.status("demo.slow")["run_id"]
    slow.kill()
    slow.wait()
    done = quant("doctor")
    assert done.returncode == 0
    assert re.search(rf"\[WARN\] abandoned: .*{run_id}.* — quant doctor --bury", done.stdout)
    assert quant("doctor", "--bury", "--actor", "oncall").returncode == 0
    record = quant.json("run", "show", run_id)
    assert record["state"] == "abandoned"
    assert "[OK] abandoned: every run has its end" in quant("doctor").stdout
    assert quant.status("demo.slow")["state"] == "abandoned"


def test_explain_says_why_a_run_does_not_move(quant, slow):
    run_id = quant.status("demo.slow")["run_id"]
    assert "it moves in step count" in quant("explain", run_id).stdout
    quant("pause", "--reason", "bandwidth", "--actor", "ann")
    quant.await_status("demo.slow", state="paused")
    answer = quant.json("explain", run_id)
    assert "paused by ann" in answer["sentence"]
    assert answer["commands"][0] == "quant resume"
    done = quant("explain", run_id)
    assert done.stdout.startswith(f"{run_id} paused: it is paused by ann")
    assert done.stdout.count("next: ") == len(answer["commands"])
    quant(*answer["commands"][0].split()[1:])
    quant.await_status("demo.slow", state="running")


def test_explain_of_nobody_is_a_usage_error(quant):
    assert quant.json("explain", "nobody", exits=2)["error"]["code"] == "unknown_run"
