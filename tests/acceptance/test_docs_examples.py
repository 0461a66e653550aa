"""What the pages on the data cycle show is true: their examples run, their commands are there."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from _checkout import ROOT, Checkout, checkout

from quant_cli.main import main
from quant_registry.settings import parse_settings
from quant_sdk.sources.candidates import read_candidates
from quant_sdk.sources.settings import source_settings

PAGES = (
    "docs/data-cycle.md",
    "docs/reading.md",
    "docs/legacy-commands.md",
    "docs/conformance.md",
    "README.md",
)
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_NAMED = re.compile(r"`((?:quant|make|python scripts/\w+\.py) [^`]+)`")
_LINK = re.compile(r"\]\(([^)]+)\)")
_OPENS_NO_SHELL = re.compile(r"keyring|unshare|clean-slate")


@dataclass(frozen=True)
class Example:
    page: str
    number: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{Path(self.page).stem} {self.number} {self.language}"


def text_of(page: str) -> str:
    text = (ROOT / page).read_text(encoding="utf-8")
    if page == "README.md":  # the rest of it is of other matters
        return text.partition("## Keep it fresh\n")[2].partition("\n## ")[0]
    return text


def examples(*languages: str) -> list[Example]:
    found = [
        Example(page, number, language, text)
        for page in PAGES
        for number, (language, text) in enumerate(_BLOCK.findall(text_of(page)), 1)
    ]
    return [example for example in found if example.language in languages]


@pytest.fixture(scope="module")
def cycled(tmp_path_factory) -> Path:
    """The demo after a cycle."""
    demo = checkout(tmp_path_factory.mktemp("demo"), days=30)
    shutil.copytree(ROOT / "scripts", demo.root / "scripts")
    done = demo.make("flow-data")
    assert done.returncode == 0, done.stdout + done.stderr
    named = [item for item in examples("json") if '"data"' in item.text]
    (demo.root / "data" / "candidates.json").write_text(named[0].text, encoding="utf-8")
    return demo.root


@pytest.fixture
def demo(cycled, tmp_path) -> Checkout:
    shutil.copytree(cycled, tmp_path, dirs_exist_ok=True)
    return Checkout(tmp_path)


def filled(demo: Checkout, text: str) -> str:
    """Put what stands in this workspace in the place of the words in capitals."""
    places = {
        "VERSION": lambda: "1",
        "RUN": lambda: _last_ingest(demo),
        "SNAPSHOT": lambda: _last(demo),
    }
    for word, value in places.items():
        if re.search(rf"\b{word}\b", text):
            text = re.sub(rf"\b{word}\b", value(), text)
    return text


def _last_ingest(demo: Checkout) -> str:
    return demo.json("run", "list", "--stage", "data.ingest")["runs"][0]["run_id"]


def _last(demo: Checkout) -> str:
    return demo.json("snapshot", "list")["snapshots"][0]["id"]


@pytest.mark.parametrize("example", examples("sh"), ids=str)
def test_an_example_for_the_shell_works(demo, example):
    done = demo.shell(filled(demo, example.text))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout


@pytest.mark.parametrize("example", examples("python"), ids=str)
def test_an_example_in_python_works(cycled, example, monkeypatch, capsys):
    monkeypatch.chdir(cycled)  # they only read
    monkeypatch.delenv("QUANT_WORKSPACE", raising=False)
    code = compile(filled(Checkout(cycled), example.text), str(example), "exec")
    exec(code, {"__name__": "__main__"})
    assert re.search(r"\d", capsys.readouterr().out)


@pytest.mark.parametrize("example", examples("yaml"), ids=str)
def test_an_example_of_settings_is_accepted(example):
    assert source_settings(parse_settings(example.text)).market == "live"


@pytest.mark.parametrize("example", examples("json"), ids=str)
def test_an_example_of_a_file_is_accepted(demo, example):
    document = json.loads(example.text)
    if "profiles" in document:
        (demo.root / "data" / "manifest.json").write_text(example.text, encoding="utf-8")
        assert demo.json("stage", "validate", "data.discover")["ok"]
        return
    (demo.root / "mine.json").write_text(example.text, encoding="utf-8")
    assert read_candidates(demo.root / "mine.json")


def commands() -> list[str]:
    """Return every command that a page names within a sentence or a table, once."""
    found = dict.fromkeys(name for page in PAGES for name in _NAMED.findall(text_of(page)))
    return [name for name in found if not _OPENS_NO_SHELL.search(name)]


@pytest.mark.parametrize("command", commands())
def test_a_command_that_is_named_is_there(command, capsys):
    words = shlex.split(command)
    if words[0] == "make":
        make = ["make", "-n", "-C", str(ROOT), *words[1:]]
        done = subprocess.run(make, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    elif words[0] == "quant":
        assert main([*words[1:], "--help"]) == 0, capsys.readouterr().err
    else:
        assert os.access(ROOT / words[1], os.X_OK)


@pytest.mark.parametrize("page", [*PAGES, "operations/systemd/README.md"])
def test_the_links_of_a_page_lead_somewhere(page):
    for target in _LINK.findall(text_of(page) if page in PAGES else (ROOT / page).read_text()):
        name, _, heading = target.partition("#")
        if "://" in name:
            continue
        path = (ROOT / page).parent / name if name else ROOT / page
        assert path.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
            assert heading in slugs, target


def test_the_examples_are_found():
    assert len(examples("sh")) >= 8
    assert len(examples("python")) >= 8
    assert len(commands()) >= 20
