from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_ROOMS = {
    "quant_registry": (_ROOT / "registry" / "quant_registry", set()),
    "quant_sdk": (_ROOT / "quant_sdk", {"quant_registry"}),
    "quant_stages": (_ROOT / "stages" / "quant_stages", {"quant_sdk"}),
    "quant_cli": (_ROOT / "cli" / "quant_cli", {"quant_sdk"}),
}
_LAZY = sorted(
    ".".join(file.parent.relative_to(folder.parent).parts)
    for folder, _ in _ROOMS.values()
    for file in folder.rglob("__init__.py")
    if " = lazily(" in file.read_text(encoding="utf-8")
)
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


@pytest.mark.parametrize("package", _LAZY)
def test_a_package_holds_what_it_names(package):
    held = importlib.import_module(package)
    assert set(held.__all__) <= set(dir(held))
    assert all(getattr(held, name) is not None for name in held.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        _ = held.nothing


@pytest.mark.parametrize("package", _LAZY)
def test_a_name_is_never_a_modules_too(package):
    """Else it is the module for whoever asks after that module was imported."""
    held = importlib.import_module(package)
    assert not {each.name for each in pkgutil.iter_modules(held.__path__)} & set(held.__all__)
