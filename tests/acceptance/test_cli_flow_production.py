"""The production gate as production runs it: by its script, without a network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from _legacy import STAGE, bars, write_flat, write_manifest
from _quant import Quant

SCRIPT = Path(__file__).parents[2] / "scripts" / "run_production_pipeline.py"
GATE = "ops.flow_production"
DAYS = 40
IN_CI = os.environ.get("CI") == "true"


class Script(Quant):
    """``run_production_pipeline.py`` in one workspace."""

    command = (sys.executable, str(SCRIPT))


def migrated(root: Path, *, days_ago: int) -> Path:
    """Make a workspace of daily bars, the last of which closed so many days ago."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    first = int((today - timedelta(days=DAYS + days_ago)).timestamp())
    for seed, name in enumerate(("AAUSDT", "BBUSDT")):
        frame = bars(DAYS, seed=seed, start=first, step=86_400)
        write_flat(root / "data" / "old", name, frame, "1d")
    write_manifest(root, [{"path": "old", "layout": "flat_v1"}])
    assert Quant(root)("stage", "run", STAGE).returncode == 0
    return root


@pytest.fixture(scope="module")
def fresh(tmp_path_factory) -> Path:
    return migrated(tmp_path_factory.mktemp("fresh"), days_ago=0)


def without_network() -> list[str] | None:
    """Return the command that cuts the network off for another one, or None."""
    for command in (["unshare", "-n"], ["unshare", "-rn"]):
        if shutil.which(command[0]) is None:
            return None
        if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
            return command
    return None


def test_it_passes_with_the_network_cut_off(fresh):
    cut = without_network()
    if cut is None:
        pytest.skip("unshare -n is not possible here")
    gate = Script(fresh)
    gate.command = (*cut, *Script.command)
    record = gate.json()
    assert record["state"] == "succeeded"
    result = record["result"]
    assert (result["symbols"], result["network_attempts"]) == (2, 0)
    matrix = pl.read_parquet(fresh / result["returns_matrix"])
    assert matrix.columns == ["ts", "BINANCE:AAUSDT", "BINANCE:BBUSDT"]
    assert matrix["BINANCE:AAUSDT"].count() == DAYS - 1
    told = Quant(fresh)("run", "tail", record["run_id"], "--json").stdout.splitlines()
    guard = [event for event in map(json.loads, told) if event["event"] == "network_guard"]
    assert [event["attempts"] for event in guard] == [0, 0]


@pytest.mark.skipif(shutil.which("strace") is None and not IN_CI, reason="strace is not installed")
def test_the_system_is_asked_for_no_socket_of_the_internet(fresh, tmp_path):
    def sockets_of(command: tuple[str, ...], trace: Path) -> list[str]:
        strace = ["strace", "-f", "-qq", "-e", "trace=%network,execve", "-o", str(trace)]
        done = subprocess.run(
            [*strace, *command], cwd=fresh, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        calls = trace.read_text(errors="replace").splitlines()
        assert any("execve(" in call for call in calls)
        return [call for call in calls if "AF_INET" in call]

    opens = "import socket; socket.socket().close(); socket.socket(socket.AF_INET6).close()"
    assert len(sockets_of((sys.executable, "-c", opens), tmp_path / "control")) == 2
    assert sockets_of((*Script.command, "--json"), tmp_path / "gate") == []


def test_without_a_cycle_it_exits_with_3_and_names_the_command(tmp_path):
    done = Script(tmp_path)()
    assert done.returncode == 3
    assert "make flow-data" in done.stderr
    error = Script(tmp_path).json(exits=3)["error"]
    assert error["code"] == "prerequisites_not_met"
    assert "quant stage run ops.flow_data" in error["fix"]


def test_stale_data_exits_with_3_and_is_used_loudly_where_it_is_allowed(tmp_path):
    gate = Script(migrated(tmp_path, days_ago=10))
    done = gate()
    assert done.returncode == 3
    assert "make flow-data" in done.stderr
    done = gate("--allow-stale")
    assert done.returncode == 0, done.stderr
    assert "warning: STALE DATA IS USED: 2 of 2 series of 1d are stale" in done.stderr
    assert len(list((tmp_path / "data" / "export").glob("*/returns_matrix.parquet"))) == 1
    result = gate.json("--allow-stale")["result"]
    assert result["stale_count"] == 2
    assert result["warnings"][0].startswith("STALE DATA IS USED")


def test_its_options_are_the_stages(tmp_path):
    said = Script(tmp_path)("--help").stdout
    for option in ("--allow-stale", "--profile", "--candidates", "--max-age", "--lookback-days"):
        assert option in said
    assert Script(tmp_path)("--nonsense").returncode == 2
