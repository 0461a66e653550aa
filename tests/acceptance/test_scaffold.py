"""From nothing to a stage of one's own that runs, is tested, and pauses."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from _quant import Quant

ROOT = Path(__file__).parents[2]
PATIENCE = 120


@pytest.fixture
def own(tmp_path):
    """``quant`` in an empty workspace."""
    return Quant(tmp_path)


def pytest_in(folder, *args):
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", *args],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def settings(own):
    return yaml.safe_load((own.root / "quant.yml").read_text())


def test_a_new_stage_runs_and_its_test_passes(own):
    made = own.json("stage", "new", "team.refresh")
    assert made["files"] == ["team_refresh.py", "test_team_refresh.py", "quant.yml"]
    assert made["next"] == ["pytest test_team_refresh.py", "quant stage run team.refresh"]
    assert settings(own) == {"stages": ["team_refresh:STAGES"]}
    done = pytest_in(own.root, "test_team_refresh.py")
    assert done.returncode == 0, done.stdout
    assert "5 passed" in done.stdout
    record = own.json("stage", "run", "team.refresh", "--symbols", "BINANCE:ADABTC")
    assert (record["state"], record["result"]) == ("succeeded", {"symbols": 1})


def test_a_new_stage_is_paused_and_resumed_from_the_command_line(own):
    own("stage", "new", "team.refresh")
    symbols = [word for number in range(30) for word in ("--symbols", f"BINANCE:S{number}")]
    process = own.start("stage", "run", "team.refresh", "--rest-seconds", "1", *symbols)
    try:
        own.await_status("team.refresh", state="running", step="collect")
        own("pause", "--scope", "team.refresh")
        own.await_status("team.refresh", state="paused")
        assert own.json("resume", "--scope", "team.refresh")["outcome"] == "resumed"
        own("cancel", "--scope", "team.refresh")
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 130
    finally:
        process.kill()
        process.communicate()


def test_the_stage_may_stand_in_a_folder_of_the_workspace(own, tmp_path_factory):
    elsewhere = Quant(tmp_path_factory.mktemp("elsewhere"))
    made = elsewhere.json(
        "stage", "new", "team.refresh", "--path", "mine/stages", "--workspace", str(own.root)
    )
    assert made["files"][0] == "mine/stages/team_refresh.py"
    assert str(own.root) in made["next"][1]
    assert own.json("stage", "run", "team.refresh")["state"] == "succeeded"
    done = pytest_in(elsewhere.root, str(own.root / "mine/stages/test_team_refresh.py"))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["team_refresh.py", "test_team_refresh.py"])
def test_no_file_is_overwritten(own, name):
    (own.root / name).write_text("mine")
    error = own.json("stage", "new", "team.refresh", exits=4)["error"]
    assert error["code"] == "conflict"
    assert name in error["message"]
    assert [path.name for path in own.root.iterdir()] == [name]
    assert (own.root / name).read_text() == "mine"


@pytest.mark.parametrize(
    ("args", "exits", "said"),
    [
        (("Team",), 2, "not a valid stage id"),
        (("team",), 2, "not a valid stage id"),
        (("../../etc.x",), 2, "not a valid stage id"),
        (("team.refresh", "--path", ".."), 2, "leaves the workspace"),
        (("team.refresh", "--path", "my-stages"), 2, "no Python name"),
        (("ops.migration.dataops_v2",), 4, "exists already"),
        (("quant.sdk",), 4, "installed module"),
    ],
)
def test_what_cannot_be_made_is_refused_and_nothing_is_written(own, args, exits, said):
    error = own.json("stage", "new", *args, exits=exits)["error"]
    assert said in error["message"]
    assert error["fix"]
    assert not list(own.root.iterdir())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing yet\n",
        "# mine\nother: 1  # keep\n",
        "other: 1",
        "stages:\n",
        "stages:  # none yet\nother: [1]\n",
        "stages: []\n",
        "stages: ['a:B']  # one\nother: {x: 1}\n",
        "stages: [a:B,]\n",
        'stages: [\n  "a:B",  # the first\n  "c:D"\n]\n',
        "stages:\n- a:B # the first\n- 'c:D'\n\n# the end\nother: 1\n",
        "stages:\r\n    - a:B\r\nother: 1\r\n",
        "other:\n  stages: [x]\nstages:\n  - a:B",
        "---\nstages:\n  - a:B\n",
    ],
)
def test_quant_yml_is_added_to_and_keeps_its_content_and_comments(own, text):
    path = own.root / "quant.yml"
    path.write_bytes(text.encode())
    before = yaml.safe_load(text) or {}
    assert own("stage", "new", "team.refresh").returncode == 0
    after = path.read_bytes().decode()
    assert yaml.safe_load(after) == {
        **before,
        "stages": [*(before.get("stages") or []), "team_refresh:STAGES"],
    }
    comments = [line[line.index("#") :] for line in text.splitlines() if "#" in line]
    assert [comment for comment in comments if comment not in after] == []
    assert ("\r\n" in after) is ("\r\n" in text)


@pytest.mark.parametrize(
    ("text", "exits"),
    [
        ("{other: 1}\n", 4),
        ("x: &list [a:B]\nstages: *list\n", 4),
        ("stages: a:B\n", 2),
        ("- a list\n", 2),
        ("stages: [\n", 2),
        ("a: 1\n---\nb: 2\n", 2),
        ("\xff", 2),
    ],
)
def test_a_quant_yml_that_cannot_be_added_to_safely_is_refused_and_stays(own, text, exits):
    path = own.root / "quant.yml"
    path.write_bytes(text.encode("latin-1"))
    error = own.json("stage", "new", "team.refresh", exits=exits)["error"]
    assert "quant.yml" in error["message"]
    assert error["fix"]
    assert [found.name for found in own.root.iterdir()] == ["quant.yml"]
    assert path.read_bytes() == text.encode("latin-1")


def test_two_new_stages_stand_side_by_side(own):
    own("stage", "new", "team.refresh")
    own("stage", "new", "team.repair")
    assert settings(own)["stages"] == ["team_refresh:STAGES", "team_repair:STAGES"]
    assert own("stage", "new", "team.refresh").returncode == 4
    done = pytest_in(own.root)
    assert "10 passed" in done.stdout


def test_every_command_of_the_page_is_real(own):
    own("stage", "new", "team.refresh")
    page = (ROOT / "docs/own-stages.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    commands = [shlex.split(line) for block in blocks for line in block.splitlines()]
    assert len(commands) > 10
    for name, *args in commands:
        if name == "quant":
            shown = own(*args, "--help")
            assert shown.returncode == 0, (args, shown.stderr)
            assert "Usage: " in shown.stdout


def test_the_tests_of_the_page_pass(own):
    own("stage", "new", "team.refresh")
    page = (ROOT / "docs/own-stages.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    for number, code in enumerate(blocks):
        (own.root / f"test_page_{number}.py").write_text(code)
    done = pytest_in(own.root, *(f"test_page_{number}.py" for number in range(len(blocks))))
    assert "5 passed" in done.stdout, done.stdout


def test_generated_files_are_clean_python(own):
    pytest.importorskip("ruff")
    own("stage", "new", "team.refresh")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "ruff",
            "check",
            "--isolated",
            "--no-cache",
            "--line-length=100",
            ".",
        ],
        cwd=own.root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--isolated", "--line-length=100", "--diff", "."],
        cwd=own.root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_the_templates_are_in_the_wheel(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    if "No module named hatchling" in done.stderr:
        pytest.skip("hatchling is not installed here; make smoke builds the wheel")
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {path.name for path in (ROOT / "cli/quant_cli/templates").iterdir()}
    assert {f"quant_cli/templates/{name}" for name in wanted} <= names
