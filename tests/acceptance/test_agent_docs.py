"""What agents are taught is true: every command that the guide and the skill name is run."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import shutil
import time
from pathlib import Path

import pytest
from _quant import PATIENCE_SECONDS, Quant

from quant_cli.main import root as quant_command
from quant_sdk import QuantSDK
from quant_sdk.errors import QuantError

ROOT = Path(__file__).parents[2]
DOCUMENTS = (ROOT / "docs" / "agents.md", ROOT / "SKILL.md")
MIGRATION = "ops.migration.dataops_v2"

_NAMED = re.compile(r"`(quant [^`]+)`")
_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
PLACES = {
    "STAGE": MIGRATION,
    "LOCK_ID": "agent-7",
    "NAME": "status",
    "RATE": "2",
    "SYMBOL": "BINANCE:ADABTC",
    "TIMEFRAME": "5m",
    "PATH": "data/demo/lakehouse_v1",
    "NAME[/VERSION]": "bars",
    "OLD": "bars/1",
    "NEW": "bars/1",
}
# Commands that answer with a refusal here, and rightly so.
REFUSED = {
    "quant lock recover": 2,  # nobody holds it
    "quant lakehouse wipe": 2,  # nobody can be asked
    "quant snapshot remove": 2,  # nobody can be asked
    "quant lakehouse restore": 2,  # a version must be named
    "quant lakehouse undo": 2,  # a run must be named
    "quant schema approve": 2,  # somebody must be named
    "quant schema promote": 3,  # nobody has approved
    "quant conformance diff": 3,  # nothing was checked yet
    "quant conformance report": 3,  # the same
    "quant watch": 2,  # there is no terminal
}


def commands() -> list[str]:
    """Return every command that the documents name, once."""
    found: dict[str, None] = {}
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for block in _BLOCK.findall(text):
            lines = (line.partition("  #")[0].strip() for line in block.splitlines())
            found.update(dict.fromkeys(lines))
        found.update(dict.fromkeys(_NAMED.findall(text)))
    return [line for line in found if line.startswith("quant ")]


def filled(command: str, run_id: str) -> list[str]:
    """Return a command's arguments, placeholders filled; optional ones are left out."""
    words = [word for word in shlex.split(command) if not word.startswith("[")]
    named = {"new": "my.stage", "snapshot": run_id}
    called = next((name for word, name in named.items() if word in words), MIGRATION)
    places = {**PLACES, "RUN": run_id, "ID": called}
    return [places.get(word, word) for word in words[1:]]


@pytest.fixture(scope="module")
def migrated(tmp_path_factory) -> tuple[Path, str]:
    """The demo, moved once."""
    root = tmp_path_factory.mktemp("demo")
    shutil.copytree(ROOT / "data" / "demo", root / "data" / "demo")
    shutil.copy(ROOT / "data" / "manifest.json", root / "data")
    shutil.copytree(ROOT / "configs", root / "configs")
    record = QuantSDK(root).run_stage(MIGRATION)
    assert record.state == "succeeded"
    return root, record.run_id


@pytest.fixture
def here(migrated, tmp_path) -> Quant:
    """A workspace of one command's own."""
    root, _ = migrated
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    return Quant(tmp_path)


@pytest.mark.parametrize("command", commands())
def test_a_command_that_agents_are_taught_works(here, migrated, command):
    args = filled(command, migrated[1])
    if "migrate" in args:
        (here.root / "data" / "manifest.json").unlink()  # it writes one, and overwrites none
    if "--http" in args or "serve" in args:
        _serves(here, args)
        return
    done = here(*args)
    wanted = next((code for start, code in REFUSED.items() if command.startswith(start)), 0)
    assert done.returncode == wanted, done.stdout + done.stderr
    if "--json" in args:
        lines = done.stdout.splitlines()
        assert lines
        assert all(isinstance(json.loads(line), dict) for line in lines)
    if "--detach" in args:
        run_id = json.loads(done.stdout)["run_id"]
        waited = QuantSDK(here.root).wait(run_id, timeout=PATIENCE_SECONDS)
        assert waited.record.state == "succeeded"


def _serves(here: Quant, args: list[str]) -> None:
    """Start what goes on serving, and end it once it says where."""
    process = here.start(*args, "--port", "0")
    # An answer goes to stdout, a remark to stderr.
    stream = process.stdout if "market" in args else process.stderr
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        said = ""
        while "http://" not in said:
            assert time.monotonic() < deadline
            said = stream.readline()
            assert said, process.wait()
    finally:
        process.terminate()
        process.communicate()


def test_the_skill_is_what_its_sources_make():
    path = ROOT / "scripts" / "make_skill.py"
    spec = importlib.util.spec_from_file_location("make_skill", path)
    make_skill = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_skill)
    assert make_skill.SKILL.read_text(encoding="utf-8") == make_skill.skill(), "run: make skill"


def test_the_guide_names_every_exit_code():
    text = DOCUMENTS[0].read_text(encoding="utf-8")
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    kinds, known = [QuantError], {0}
    while kinds:
        kind = kinds.pop()
        known.add(kind.exit_code)
        kinds += kind.__subclasses__()
    assert told == known
    assert {int(code) for code in re.findall(r"(\d+) [a-z]", quant_command.epilog)} == known


def test_the_guide_is_one_page():
    assert len(DOCUMENTS[0].read_text(encoding="utf-8").splitlines()) <= 150


def test_the_commands_are_found():
    found = commands()
    assert len(found) >= 40
    assert "quant mcp" in found
