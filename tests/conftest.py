from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from _stages import STAGES
from hypothesis import settings

from quant_registry.audit_reader import tail
from quant_registry.registry import StageRegistry
from quant_registry.request import RunRequest
from quant_registry.runner import run_stage
from quant_registry.workspace import Workspace
from quant_sdk.testing import FakeClock

_HERE = Path(__file__).parent
# How long an example takes says more of the machine than of the code.
settings.register_profile("quant", deadline=None)
settings.load_profile("quant")
PATIENCE = 30.0


def pytest_configure() -> None:
    """Tests call `make`; nothing of the one that runs the tests is to reach it."""
    for name in ("ARGS", "VENV", "MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS"):
        os.environ.pop(name, None)


class Background:
    """A run in a thread of its own; the end of the test stops it."""

    def __init__(self, workspace, spec, **request) -> None:
        self.workspace = workspace
        self.stop = threading.Event()
        self.record = None
        self.error = None
        self.started = threading.Event()
        self.first = None
        clock = request.pop("clock", None)
        wanted = RunRequest(stop=self.stop, on_start=self._on_start, **request)
        self._thread = threading.Thread(
            target=self._run, args=(workspace, spec, wanted, clock), daemon=True
        )
        self._thread.start()

    def _on_start(self, record) -> None:
        self.first = record
        self.started.set()

    def _run(self, workspace, spec, request, clock) -> None:
        try:
            self.record = run_stage(workspace, spec, request, clock=clock)
        except BaseException as error:
            self.error = error
        finally:
            self.started.set()

    @property
    def run_id(self) -> str:
        assert self.started.wait(PATIENCE)
        assert self.first is not None, self.error
        return self.first.run_id

    def events(self, name=None) -> list[dict]:
        found = tail(self.workspace.audit, run_id=self.run_id)
        return [event for event in found if name in {None, event["event"]}]

    def wait_for_event(self, name: str, times: int = 1) -> None:
        eventually(lambda: len(self.events(name)) >= times)

    def end(self):
        """Wait for the end and return the record."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error
        return self.record

    def cancel(self):
        self.stop.set()
        return self.end()

    def close(self) -> None:
        self.stop.set()
        self._thread.join(PATIENCE)


def eventually(condition, seconds: float = PATIENCE):
    """Wait until `condition` holds; return what it returned."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, "the condition never came true"
        threading.Event().wait(0.005)


@pytest.fixture
def wait_until():
    return eventually


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    (tmp_path / "ws").mkdir()
    return Workspace.resolve(tmp_path / "ws")


@pytest.fixture
def registry() -> StageRegistry:
    return StageRegistry(STAGES)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def background(workspace):
    """Start runs in threads."""
    runs = []

    def start(spec, **request) -> Background:
        runs.append(Background(workspace, spec, **request))
        return runs[-1]

    yield start
    for run in runs:
        run.close()


@pytest.fixture
def child_env() -> dict[str, str]:
    """The environment in which a child process imports what this one does."""
    paths = [str(_HERE), *(path for path in sys.path if path)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


@pytest.fixture
def child(workspace, child_env):
    """Start runs in processes of their own."""
    children = []

    def start(stage_id: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "_stages", str(workspace.root), stage_id]
        children.append(subprocess.Popen(command, env=child_env))
        return children[-1]

    yield start
    for process in children:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
