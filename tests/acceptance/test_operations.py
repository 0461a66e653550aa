"""What timers start: the make targets, the crontab, the systemd units, the legacy script."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from _checkout import ROOT, Checkout, checkout
from _quant import PATIENCE_SECONDS, Quant, until

OPERATIONS = ROOT / "operations"
UNITS = sorted((OPERATIONS / "systemd").glob("quant-*@.*"))
CYCLE = "ops.flow_data"
TARGETS = {
    "flow-data": CYCLE,
    "data-repair": "data.repair",
    "meta-ingest": "data.metadata",
    "feature-ingest": "data.features",
    "flow-production": "ops.flow_production",
}
# Where the crontab and the units expect the checkout, under the user's home.
NAME = "quant-stage-sdk"


class Script(Quant):
    """``ingest_data.py`` in one folder."""

    command = (sys.executable, str(ROOT / "scripts" / "ingest_data.py"))


@pytest.fixture
def home(tmp_path) -> Path:
    """A user's home with a checkout in it."""
    checkout(tmp_path / NAME)
    return tmp_path


@pytest.fixture
def demo(home) -> Checkout:
    return Checkout(home / NAME)


@pytest.fixture
def cycle_at_work(demo):
    """A cycle that another terminal began, and that waits to go on."""
    assert demo("pause", "--scope", CYCLE).returncode == 0
    process = demo.start("stage", "run", CYCLE)
    try:
        until(lambda: demo.status(CYCLE).get("state") == "paused")
        yield demo.status(CYCLE)["run_id"]
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE_SECONDS)


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_runs_its_stage_and_is_listed(target):
    make = ["make", "-C", str(ROOT), "--no-print-directory"]
    listed = subprocess.run(make, capture_output=True, text=True, check=True).stdout
    assert re.search(rf"^{target} +\S", listed, re.MULTILINE)
    said = subprocess.run(
        [*make, "-n", target, "ARGS=--dry-run"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said.splitlines()[-1].endswith(f"/quant stage run {TARGETS[target]} --dry-run")


def test_a_target_that_finds_a_live_holder_says_one_line(demo, cycle_at_work):
    done = demo("stage", "run", CYCLE)
    assert done.returncode == 4
    assert not done.stdout
    [line] = done.stderr.splitlines()
    assert line.startswith(f"locked: {CYCLE} is held by lock ")
    assert cycle_at_work in line
    made = demo.make("flow-data")
    first, by_make = made.stderr.splitlines()
    assert first.startswith(f"locked: {CYCLE} is held by lock ")
    assert by_make.startswith("make: ***")
    assert by_make.endswith("Error 4")
    assert not made.stdout


def test_a_program_gets_the_whole_error_of_a_live_holder(demo, cycle_at_work):
    error = demo.json("stage", "run", CYCLE, exits=4)["error"]
    assert (error["code"], error["retryable"]) == ("stage_locked", True)
    assert f"quant cancel --scope {cycle_at_work}" in error["fix"]


def crontab() -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Return the variables of the crontab, and its jobs: schedule and command."""
    variables, jobs = {}, []
    for line in (OPERATIONS / "cron" / "quant.crontab").read_text(encoding="utf-8").splitlines():
        if re.match(r"[A-Z_]+=", line):
            name, _, value = line.partition("=")
            variables[name] = value
        elif line and not line.startswith("#"):
            jobs.append((" ".join(line.split()[:5]), line.split(maxsplit=5)[5]))
    return variables, jobs


def test_the_crontab_has_the_schedules_of_the_seed():
    _, jobs = crontab()
    found = [(when, re.search(r"make [a-z-]+", command).group()) for when, command in jobs]
    assert found == [("0 0 * * *", "make flow-data"), ("0 12 * * 0", "make data-repair")]
    assert all("%" not in command for _, command in jobs)  # cron makes a new line of it


def test_cron_runs_its_jobs_with_what_little_it_gives_them(home, tmp_path):
    variables, jobs = crontab()
    # What the jobs say is to be read here, and what they do is to be short.
    tools = tmp_path / "tools"
    tools.mkdir()
    logger = tools / "logger"
    logger.write_text('#!/bin/sh\ncat > "$HOME/$2.log"\n')
    logger.chmod(0o755)
    quant = home / NAME / ".venv" / "bin" / "quant"
    quant.write_text('#!/bin/sh\necho "$PWD $QUANT_ACTOR $*"\n')
    env = variables | {"HOME": str(home), "PATH": f"{tools}:{variables['PATH']}"}
    for _, command in jobs:
        subprocess.run(["/bin/sh", "-c", command], env=env, timeout=PATIENCE_SECONDS, check=True)
    said = {log.stem: log.read_text() for log in home.glob("*.log")}
    assert said == {
        "quant-flow-data": f"{home / NAME} cron stage run {CYCLE}\n",
        "quant-data-repair": f"{home / NAME} cron stage run data.repair\n",
    }


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str
    parser.read_string((OPERATIONS / "systemd" / name).read_text(encoding="utf-8"))
    return parser


def test_each_service_runs_a_stage_that_is_there_and_has_a_timer(demo):
    stages = {item["id"] for item in demo.json("stage", "list")["stages"]}
    services = [path.name for path in UNITS if path.suffix == ".service"]
    assert len(services) == 3
    for name in services:
        words = unit(name)["Service"]["ExecStart"].split()
        assert words[:3] == ["%f/.venv/bin/quant", "stage", "run"]
        assert words[3] in stages
        assert unit(name.replace(".service", ".timer"))["Install"]["WantedBy"] == "timers.target"


def test_the_timers_say_what_the_crontab_says():
    timers = {path.name: unit(path.name)["Timer"]["OnCalendar"] for path in UNITS[1::2]}
    assert timers == {
        "quant-data-repair@.timer": "Sun *-*-* 12:00:00 UTC",
        "quant-flow-data@.timer": "*-*-* 00:00:00 UTC",
        "quant-optimize@.timer": "Sun *-*-* 14:00:00 UTC",
    }


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path):
    program = tmp_path / "checkout" / ".venv" / "bin" / "quant"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    instance = str(tmp_path / "checkout").strip("/").replace("-", r"\x2d").replace("/", "-")
    units = [tmp_path / path.name.replace("@", f"@{instance}") for path in UNITS]
    for path, target in zip(UNITS, units, strict=True):
        shutil.copy(path, target)

    def verify() -> tuple[int, str]:
        done = subprocess.run(
            ["systemd-analyze", "verify", "--user", "--man=no", *map(str, units)],
            env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        return done.returncode, done.stderr

    assert verify() == (0, "")
    text = units[0].read_text(encoding="utf-8").replace("RestartSec", "RestSec")
    units[0].write_text(text, encoding="utf-8")
    assert "RestSec" in verify()[1]


def candidates(root: Path, *symbols: str) -> Path:
    path = root / "candidates.json"
    wanted = [{"timeframe": "1d", "depth_days": 30}]
    data = [
        {"symbol": symbol, "exchange": "BINANCE", "asset_type": "crypto", "ingest": wanted}
        for symbol in symbols
    ]
    path.write_text(json.dumps({"schema": "candidates/1", "meta": {}, "data": data}))
    return path


def test_the_legacy_command_ingests_candidates_into_the_lakehouse_it_is_told(demo, home):
    named = candidates(home, "BINANCE:BTCUSDT", "BINANCE:ETHUSDT")
    legacy = Script(home)  # beside the workspace, not in it
    told = ("--candidates", named.name, "--lakehouse", f"{NAME}/data/lakehouse")
    dry = legacy(*told, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert re.search(r"^success probability [\d.]+$", dry.stdout, re.MULTILINE)
    assert legacy.json(*told, "--dry-run")["success_probability"] > 0
    assert not (demo.root / "data" / "lakehouse").exists()
    record = legacy.json(*told)
    assert (record["state"], record["result"]["rows"]["bars"]) == ("succeeded", 60)
    assert len(demo.json("lakehouse", "coverage")["series"]) == 2
    audit = (demo.root / "data" / "artifacts" / "audit.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in audit]
    progress = [event for event in events if event["event"] == "ingest_progress"]
    assert {event["symbol"] for event in progress} == {"BINANCE:BTCUSDT", "BINANCE:ETHUSDT"}
    fields = {"timestamp", "event", "run_id", "symbol", "rows", "status", "progress"}
    assert all(fields <= event.keys() for event in progress)
    assert legacy.json(*told)["result"]["rows"]["received"] == 0


def test_the_legacy_command_passes_the_stages_own_options_on(demo):
    candidates(demo.root, "BINANCE:BTCUSDT")
    record = Script(demo.root).json("--candidates", "candidates.json", "--depth-days", "7")
    assert record["result"]["rows"]["bars"] == 7
    said = Script(demo.root)("--help").stdout
    assert all(option in said for option in ("--candidates", "--lakehouse", "--depth-days"))


@pytest.mark.parametrize("folder", [".", "data", "lakehouse", "data/lakehouse/bars"])
def test_a_lakehouse_of_no_workspace_is_a_usage_error(tmp_path, folder):
    done = Script(tmp_path)("--lakehouse", folder)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: --lakehouse {Path(folder)} is not ")
    assert "\nfix: name it as WORKSPACE/data/lakehouse" in done.stderr
    error = Script(tmp_path).json("--lakehouse", folder, exits=2)["error"]
    assert (error["code"], error["exit_code"]) == ("usage", 2)
    assert not list(tmp_path.iterdir())
