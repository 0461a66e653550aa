"""kill -9 at random instants and at the worst ones: the next run ends as an undisturbed one."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from _continuing import BATCH, PATIENCE, await_record, check_continuation, copy, start
from _killed_at import POINTS

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

HERE = Path(__file__).parent
KILLS = 500 if os.environ.get("QUANT_CHAOS") == "long" else 20


@pytest.mark.parametrize("seed", range(KILLS))
def test_killed_at_a_random_instant_it_is_continued_to_the_same_end(seed, undisturbed, tmp_path):
    template, expected, seconds = undisturbed
    workspace = copy(template, tmp_path)
    process = start(workspace)
    await_record(workspace, process)
    try:
        process.wait(random.Random(seed).uniform(0.0, seconds * 1.5))
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
