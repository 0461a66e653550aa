from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import quant_registry

_ROOT = Path(__file__).parents[2]
_ROOMS = {
    "quant_registry": (_ROOT / "registry" / "quant_registry", set()),
    "quant_sdk": (_ROOT / "quant_sdk", {"quant_registry"}),
    "quant_stages": (_ROOT / "stages" / "quant_stages", {"quant_sdk"}),
    "quant_cli": (_ROOT / "cli" / "quant_cli", {"quant_sdk"}),
}
_HEAVY = {"polars", "pyarrow", "deltalake", "httpx", "ccxt", "pydantic", "pandas", "numpy"}


def _imports(file: Path) -> set[str]:
    """Return the absolute modules that a file imports, those for type checking included."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return found


@pytest.mark.parametrize("room", _ROOMS)
def test_a_room_imports_only_what_it_may(room):
    folder, allowed = _ROOMS[room]
    for file in folder.rglob("*.py"):
        for module in _imports(file):
            top = module.partition(".")[0]
            assert top not in set(_ROOMS) - allowed - {room}, f"{file.name} imports {module}"


@pytest.mark.parametrize("room", ["quant_stages", "quant_cli"])
def test_stages_and_ways_in_use_only_public_modules(room):
    folder, _ = _ROOMS[room]
    for file in folder.rglob("*.py"):
        for module in _imports(file):
            if module.startswith(("quant_sdk", "quant_registry")):
                private = [part for part in module.split(".") if part.startswith("_")]
                assert not private, f"{file.name} imports {module}"


def _loaded(code: str, env: dict[str, str]) -> set[str]:
    code += "; import sys; print(' '.join(sorted({m.partition('.')[0] for m in sys.modules})))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import quant_sdk",
        "import quant_registry",
        "from quant_sdk import QuantSDK, StageSpec, tail, verify_chain, read_status",
        "from quant_registry.steering import steer",
        "from quant_registry.runner import run_stage",
        "from quant_registry.schemas import read_schema; read_schema('status')",
    ],
)
def test_the_core_is_light(code, child_env):  # req: light-core
    assert not _loaded(code, child_env) & _HEAVY


def test_all_of_the_registry_is_what_is_exposed():
    assert sorted(quant_registry.__all__) == list(quant_registry.__all__)
    assert set(quant_registry.__all__) == set(quant_registry._HOMES)
    assert all(getattr(quant_registry, name) is not None for name in quant_registry.__all__)
