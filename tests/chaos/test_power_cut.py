"""A power cut at a random instant: what was not synced is lost, and nothing that was told is."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time

import pytest
from _continuing import BATCH, PATIENCE, await_record, check_continuation, copy, told_sources
from _legacy import STAGE
from _power_cut import CALLS, cut

from quant_sdk import QuantSDK

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        shutil.which("strace") is None and os.environ.get("CI") != "true",
        reason="strace is not installed",
    ),
]
CUTS = 100 if os.environ.get("QUANT_CHAOS") == "long" else 6


@pytest.mark.parametrize("seed", range(CUTS))
def test_after_a_power_cut_the_next_run_ends_as_an_undisturbed_one(seed, undisturbed, tmp_path):
    template, expected, seconds = undisturbed
    workspace = copy(template, tmp_path)
    trace = tmp_path / "trace"
    command = [sys.executable, "-m", "quant_cli.main", "stage", "run", STAGE, "--json"]
    strace = ["strace", "-f", "-y", "-qq", "-s", "0", "-e", f"trace={CALLS}", "-o", str(trace)]
    process = subprocess.Popen(
        [*strace, *command, "--batch-symbols", str(BATCH), "--workspace", str(workspace)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    await_record(workspace, process)
    deadline = time.monotonic() + random.Random(seed).uniform(0.0, seconds * 4)
    try:
        process.wait(max(deadline - time.monotonic(), 0))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.wait(PATIENCE)
    cut(trace, workspace)
    if QuantSDK(workspace).runs():
        check_continuation(workspace, expected, told_sources)
