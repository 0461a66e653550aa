"""A copy of what a checkout holds beside its code, where `make` finds an environment made."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from _quant import PATIENCE_SECONDS, Quant

ROOT = Path(__file__).parents[2]
_PARTS = ("Makefile", "pyproject.toml", "quant.yml", "configs", "data/manifest.json", "data/demo")
_STAMPS = (".made", ".run", ".data", ".dev")


class Checkout(Quant):
    """A workspace that is a checkout; its `quant` and `make` are those that a shell there finds."""

    def make(self, *args: str, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """Run `make`; `before` are words to put before it."""
        return self._run([*before, "make", *args], self.env)

    def shell(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a script of a document, in the environment that `make` made."""
        path = os.pathsep.join([str(self.root / ".venv" / "bin"), self.env["PATH"]])
        return self._run(["sh", "-eu", "-c", script], self.env | {"PATH": path})

    def _run(self, command: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """Run a command that runs others; when time is up, all of them end."""
        with subprocess.Popen(
            command,
            cwd=self.root,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                said = process.communicate(timeout=4 * PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        return subprocess.CompletedProcess(command, process.returncode, *said)


def checkout(root: Path, *, days: int | None = None) -> Checkout:
    """Fill `root` with the demo; nothing is installed, what runs the tests is used.

    Args:
        root: the folder to fill.
        days: how many days of bars the demo's candidates want, instead of what its manifest says.
    """
    for part in _PARTS:
        target = root / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, target)
        else:
            shutil.copy(ROOT / part, target)
    if days is not None:
        manifest = root / "data" / "manifest.json"
        text = manifest.read_text(encoding="utf-8")
        changed = re.sub(r'"ingestion_depth": \d+', f'"ingestion_depth": {days}', text)
        manifest.write_text(changed, encoding="utf-8")
    home = root / ".venv"
    (home / "bin").mkdir(parents=True)
    for name, module in {"quant": ["-P", "-m", "quant_cli.main"], "python": ["-P"]}.items():
        words = shlex.join([sys.executable, *module])
        (home / "bin" / name).write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        (home / "bin" / name).chmod(0o755)
    (home / "bin" / "activate").touch()
    for name in _STAMPS:
        (home / name).touch()
    return Checkout(root)


def without_network() -> tuple[str, ...] | None:
    """Return the command that cuts the network off for another one, or None."""
    for command in (("unshare", "-n"), ("unshare", "-rn")):
        if shutil.which(command[0]) is None:
            return None
        if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
            return command
    return None
