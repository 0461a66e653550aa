"""kill -9 at random instants and at the worst ones: the next run ends as an undisturbed one."""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import sys
import threading
from contextlib import nullcontext
from pathlib import Path

import pytest
from _continuing import BATCH, PATIENCE, await_record, check_continuation, copy, start
from _killed_at import POINTS

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

HERE = Path(__file__).parent
KILLS = 500 if os.environ.get("QUANT_CHAOS") == "long" else 20


class Flapping:
    """Writes pause and resume in turn, until it is told to leave the run in peace."""

    def __init__(self, workspace):
        self._control = workspace / "data/lakehouse/migration_control.json"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._flap)

    def __enter__(self):
        self._thread.start()

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()
        self._control.write_text('{"action": "resume"}')

    def _flap(self):
        self._control.parent.mkdir(parents=True, exist_ok=True)
        for action in itertools.cycle(("pause", "resume")):
            self._control.write_text(json.dumps({"action": action}))
            if self._over.wait(0.1):
                return


@pytest.mark.parametrize("seed", range(KILLS))
def test_killed_at_random_instants_it_is_continued_to_the_same_end(seed, undisturbed, tmp_path):
    """One to three deaths in a row; every second time while it is paused and resumed."""
    template, expected, seconds = undisturbed
    source = random.Random(seed)
    workspace = copy(template, tmp_path)
    with Flapping(workspace) if seed % 2 else nullcontext():
        for death in range(1 + seed % 3):
            process = start(workspace)
            await_record(workspace, process, death + 1)
            try:
                process.wait(source.uniform(0.0, seconds * 1.5))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(PATIENCE)
    check_continuation(workspace, expected)


@pytest.mark.parametrize("nth", [1, 2, 5])
@pytest.mark.parametrize("point", POINTS)
def test_killed_at_the_worst_point_it_is_continued_to_the_same_end(
    point, nth, undisturbed, tmp_path
):
    if nth > 1 and point in {"in_snapshot", "before_terminal_record"}:
        nth = 1  # it happens once a run
    template, expected, _ = undisturbed
    workspace = copy(template, tmp_path)
    script = [sys.executable, str(HERE / "_killed_at.py"), str(workspace), point, str(nth)]
    done = subprocess.run([*script, str(BATCH)], timeout=PATIENCE, check=False)
    assert done.returncode == -9
    check_continuation(workspace, expected)
