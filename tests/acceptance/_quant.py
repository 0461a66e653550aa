"""``quant`` as a user runs it, in a workspace with tiny stages of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PATIENCE_SECONDS = 30

STAGES = """
from quant_sdk import StageSpec

STAGES = (
    StageSpec(id="demo.noop", category="demo", tags=("quick",), title="Do nothing",
              body="mybodies:noop"),
    StageSpec(id="demo.kinds", category="demo", title="Take parameters of all kinds",
              body="mybodies:kinds", params="myparams:Kinds"),
    StageSpec(id="demo.slow", category="demo", title="Work until told to finish",
              body="mybodies:slow"),
    StageSpec(id="demo.stuck", category="demo", title="Never reach a safe point",
              body="mybodies:stuck"),
    StageSpec(id="demo.fail", category="other", title="Fail", body="mybodies:fail"),
    StageSpec(id="demo.source", category="other", title="Fail for a source's sake",
              body="mybodies:source"),
    StageSpec(id="demo.unready", category="other", title="Miss a prerequisite",
              body="mybodies:noop", checks="mybodies:CHECKS"),
    StageSpec(id="demo.unlocked", category="other", title="Run any number at once",
              body="mybodies:noop", lock=None),
)
"""

BODIES = """
import itertools
import time

from quant_sdk import Check


def noop(run, params):
    print("a body that prints")
    return {"rows": 3}


def kinds(run, params):
    return params.model_dump(mode="json")


def slow(run, params):
    finish = run.workspace.root / "finish"
    with run.step("count"):
        for _ in run.track(itertools.takewhile(lambda _: not finish.exists(), itertools.count())):
            time.sleep(0.005)


def stuck(run, params):
    with run.step("hang"):
        while True:
            time.sleep(0.005)


def fail(run, params):
    raise ValueError("boom")


def source(run, params):
    from quant_registry.errors import SourceError

    raise SourceError("the venue is away", fix="try again later")


CHECKS = (Check(name="credentials", look=lambda context: ("failed", "no key", "set the key")),)
"""

PARAMS = """
from enum import Enum
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Kinds(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    manifest: Path = Field(Path("data/manifest.json"), description="Where the manifest is.")
    profile: list[str] = Field(["first"], description="Profiles to work on.")
    strict: bool = Field(default=False, description="Fail where a source cannot be read.")
    keep: bool = True
    batch_size: int = Field(30, ge=1, description="Series in a commit.")
    share: float | None = Field(None, description="Part of the whole.")
    mode: Literal["fast", "safe"] = "safe"
    colour: Colour = Colour.RED
    levels: list[int] = Field(default_factory=list)
    extra: dict[str, int] = Field(default_factory=dict, description="Anything else.")
    fresh: bool = Field(default=False, description="A name that is taken.")
"""


class Quant:
    """``quant`` in one workspace, as a process of its own."""

    command = (sys.executable, "-m", "quant_cli.main")

    def __init__(self, root: Path) -> None:
        self.root = root
        self.env = {key: value for key, value in os.environ.items() if key[:6] != "QUANT_"}

    def __call__(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.command, *args],
            cwd=self.root,
            env=self.env | env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    def json(self, *args: str, exits: int = 0) -> dict[str, Any]:
        """Return the answer, which must be all that stands on stdout."""
        done = self(*args, "--json")
        assert done.returncode == exits, done.stdout + done.stderr
        lines = done.stdout.splitlines()
        assert len(lines) == 1
        answer = json.loads(lines[0])
        assert isinstance(answer, dict)
        return answer

    def start(self, *args: str, **streams: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.command, *args],
            cwd=self.root,
            env=self.env,
            text=True,
            **{
                "stdin": subprocess.DEVNULL,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                **streams,
            },
        )

    def status(self, stage_id: str) -> dict[str, Any]:
        path = self.root / "data" / "lakehouse" / "status" / f"{stage_id}.json"
        return json.loads(path.read_bytes()) if path.exists() else {}

    def await_status(self, stage_id: str, **wanted: Any) -> dict[str, Any]:
        until(lambda: wanted.items() <= self.status(stage_id).items())
        return self.status(stage_id)


def until(condition: Callable[[], Any]) -> None:
    """Wait until `condition` holds; fail when it does not come to hold."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    pause = 0.005
    while not condition():
        assert time.monotonic() < deadline, "the condition never came to hold"
        time.sleep(pause)


def fill(root: Path) -> Path:
    """Put the tiny stages into `root`."""
    (root / "quant.yml").write_text('stages: ["mystages:STAGES"]\n')
    for name, text in {"mystages": STAGES, "mybodies": BODIES, "myparams": PARAMS}.items():
        (root / f"{name}.py").write_text(text)
    return root
