from __future__ import annotations

import re
import tomllib
from pathlib import Path

_TESTS = Path(__file__).parents[1]


def _named() -> set[str]:
    comment = re.compile(r"# req: ([a-z0-9-]+)")
    files = _TESTS.rglob("test_*.py")
    return {name for file in files for name in comment.findall(file.read_text(encoding="utf-8"))}


def test_every_requirement_is_named_by_a_test_and_every_name_is_a_requirement():
    table = tomllib.loads((_TESTS / "requirements.toml").read_text(encoding="utf-8"))
    assert _named() == set(table)


def test_every_requirement_has_a_source_and_a_text():
    table = tomllib.loads((_TESTS / "requirements.toml").read_text(encoding="utf-8"))
    assert all(set(row) == {"source", "text"} for row in table.values())
