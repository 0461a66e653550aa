"""Build the wheel, install it outside the checkout, and run the main job from it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
STAGE = "ops.migration.dataops_v2"
PACKAGES = ("quant_sdk", "quant_registry", "quant_stages", "quant_cli")
WHERE = f"import sysconfig, {', '.join(PACKAGES)}; print(sysconfig.get_path('purelib')); " + (
    "; ".join(f"print({name}.__file__)" for name in PACKAGES)
)


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command in a clean environment and return its stdout; its failure ends the test."""
    keep = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("QUANT_", "PYTHON")) and key != "VIRTUAL_ENV"
    }
    print("$", *command, file=sys.stderr, flush=True)
    done = subprocess.run(  # noqa: S603  our own commands, no shell
        command, cwd=cwd, env=keep, check=False, stdout=subprocess.PIPE, text=True
    )
    require(done.returncode == 0, f"exit code {done.returncode}: {done.stdout.strip()[-2000:]}")
    return done.stdout


def require(holds: bool, complaint: str) -> None:  # noqa: FBT001  the condition is the argument
    """End the test with a complaint unless the condition holds."""
    if not holds:
        sys.exit(f"smoke test failed: {complaint}")


def answer(*command: str | Path, cwd: Path) -> dict[str, Any]:
    """Run a command with ``--json`` and return its one object."""
    text = run(*command, "--json", cwd=cwd)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        sys.exit(f"smoke test failed: {command[1:]} answers with no JSON ({error}): {text[:500]}")
    require(isinstance(value, dict), f"{command[1:]} answers with a JSON {type(value).__name__}")
    return dict(value)


def build(into: Path) -> Path:
    """Build the wheel and return its path."""
    run(sys.executable, "-m", "build", "--wheel", "--outdir", into, ROOT, cwd=into)
    wheels = list(into.glob("*.whl"))
    require(len(wheels) == 1, f"one wheel expected, found {[wheel.name for wheel in wheels]}")
    return wheels[0]


def check_names(wheel: Path) -> None:
    """Check that the wheel claims our four names in site-packages and no other."""
    names = {name.split("/", 1)[0] for name in zipfile.ZipFile(wheel).namelist()}
    ours = {name for name in names if not name.endswith(".dist-info")}
    require(ours == set(PACKAGES), f"the wheel's top-level names are {sorted(ours)}")


def install(wheel: Path, scratch: Path) -> Path:
    """Install the wheel into a fresh environment and return the folder of its commands."""
    run(sys.executable, "-m", "venv", scratch / "venv", cwd=scratch)
    bin_dir = scratch / "venv" / "bin"
    pip = (bin_dir / "python", "-m", "pip", "--disable-pip-version-check", "--quiet")
    run(*pip, "install", wheel, cwd=scratch)
    return bin_dir


def check_origin(bin_dir: Path, scratch: Path) -> None:
    """Check that every package is imported from the environment, none from the checkout."""
    purelib, *found = run(bin_dir / "python", "-c", WHERE, cwd=scratch).splitlines()
    strays = [path for path in found if not Path(path).is_relative_to(purelib)]
    require(len(found) == len(PACKAGES) and not strays, f"imported from elsewhere: {strays}")


def make_workspace(scratch: Path) -> Path:
    """Copy the demo, its manifest and the scanners into an empty workspace."""
    workspace = scratch / "workspace"
    shutil.copytree(ROOT / "configs", workspace / "configs")
    shutil.copytree(ROOT / "data" / "demo", workspace / "data" / "demo")
    shutil.copy(ROOT / "data" / "manifest.json", workspace / "data")
    return workspace


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Return size and modification time of everything under a folder."""
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in [folder, *folder.rglob("*")]
    }


def check_job(quant: Path, workspace: Path) -> None:
    """Rehearse the main job, then run it."""
    run(quant, "--version", cwd=workspace)
    stages = json.dumps(answer(quant, "stage", "list", cwd=workspace))
    require(json.dumps(STAGE) in stages, f"{STAGE} is not listed: {stages}")

    before = listing(workspace)
    answer(quant, "stage", "run", STAGE, "--dry-run", cwd=workspace)
    changed = sorted(dict(before.items() ^ listing(workspace).items()))
    require(not changed, f"the dry run touched {changed}")

    answer(quant, "stage", "run", STAGE, cwd=workspace)
    status = json.loads((workspace / "data/lakehouse/migration_status.json").read_text())
    require(status["phase"] == "complete", f"the status after the run is {status}")


def main() -> None:
    """Run the smoke test in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="quant-smoke-") as folder:
        scratch = Path(folder).resolve()
        wheel = build(scratch)
        check_names(wheel)
        bin_dir = install(wheel, scratch)
        check_origin(bin_dir, scratch)
        check_job(bin_dir / "quant", make_workspace(scratch))
    print(f"smoke test passed: {wheel.name}")


if __name__ == "__main__":
    main()
