"""What the machine may do to a run: fill up, turn read-only, lose files, step its clock, fork."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from datetime import timedelta

import pytest
from _continuing import PATIENCE, copy
from _legacy import STAGE, bars, make_workspace, write_flat, write_manifest

from quant_registry.clock import SystemClock
from quant_sdk import QuantSDK, StageRegistry, StageSpec, verify_chain
from quant_sdk.errors import PrerequisitesNotMet

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

LONG = os.environ.get("QUANT_CHAOS") == "long"
SYMBOLS = 10_000 if LONG else 1_000
may_mount = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("mount") is None, reason="only root may mount"
)


@contextmanager
def mounted(folder, options):
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)],
        check=False,
        capture_output=True,
    )
    if made.returncode:
        pytest.skip(f"mounting is not allowed here: {made.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@may_mount
def test_a_full_disk_fails_the_run_with_a_fix_and_space_lets_it_continue(undisturbed, tmp_path):
    with mounted(tmp_path / "small", "size=6m") as small:
        workspace = copy(undisturbed[0], small)
        sdk = QuantSDK(workspace)
        ballast = small / "ballast"
        free = shutil.disk_usage(small).free
        ballast.write_bytes(b"x" * (free - 500_000))
        try:
            record = sdk.run_stage(STAGE, {"batch_symbols": 2})
            assert record.state == "failed"
            assert record.exit_code == 3
            assert "free" in record.error["fix"]
        except PrerequisitesNotMet as error:
            assert "disk" in str(error)  # noqa: PT017 - either way there is a sentence and a fix
        except Exception as error:
            assert "could not be recorded" in str(error)  # noqa: PT017
        ballast.unlink()
        assert sdk.run_stage(STAGE, {"batch_symbols": 2}).state == "succeeded"
        assert sdk.lakehouse.content_hash() == undisturbed[1][0]


@may_mount
def test_a_read_only_workspace_is_refused_before_anything_starts(undisturbed, tmp_path):
    with mounted(tmp_path / "sealed", "size=8m") as sealed:
        workspace = copy(undisturbed[0], sealed)
        subprocess.run(["mount", "-o", "remount,ro", str(sealed)], check=True)
        with pytest.raises(PrerequisitesNotMet) as caught:
            QuantSDK(workspace).run_stage(STAGE)
        assert "not writable" in str(caught.value)
        assert QuantSDK(workspace).validate_stage(STAGE).success_probability == 0


@pytest.mark.parametrize("gone", ["audit.jsonl", "control.json", "locks", "runs"])
def test_files_removed_under_a_live_run_cost_no_data(gone, undisturbed, tmp_path):
    workspace = copy(undisturbed[0], tmp_path)
    sdk = QuantSDK(workspace)
    sdk.pause(STAGE)
    sdk.resume(STAGE)

    def remove(_record):
        path = workspace / "data/artifacts" / gone
        if path.is_dir():
            shutil.rmtree(path)
        elif path.exists():
            path.unlink()

    try:
        sdk.run_stage(STAGE, {"batch_symbols": 2}, on_start=remove)
    except Exception as error:
        assert getattr(error, "fix", "")  # noqa: PT017 - whatever it says, it says what to do
    assert sdk.run_stage(STAGE, {"batch_symbols": 2}).state == "succeeded"
    assert sdk.lakehouse.content_hash() == undisturbed[1][0]


class SteppedClock(SystemClock):
    """A wall clock that is an hour off from its second look on."""

    def __init__(self, step):
        self._step = step
        self._looks = 0

    def now(self):
        self._looks += 1
        return super().now() + (self._step if self._looks > 3 else timedelta(0))


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_stepped_clock_changes_no_outcome(hours, undisturbed, tmp_path):
    workspace = copy(undisturbed[0], tmp_path)
    sdk = QuantSDK(workspace, clock=SteppedClock(timedelta(hours=hours)))
    record = sdk.run_stage(STAGE)
    assert record.state == "succeeded"
    assert 0 <= record.active_seconds < PATIENCE * 5
    assert QuantSDK(workspace).run_stage(STAGE).state == "succeeded"
    assert sdk.lakehouse.content_hash() == undisturbed[1][0]


def forking(run, _params):
    """Fork, as a careless library would; the child comes back up through the body."""
    child = os.fork()
    if child == 0:
        try:
            run.emit("from_the_child")
        except BaseException:
            os._exit(7)
        os._exit(0)
    return {"child": os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # that is the point
def test_a_forked_child_cannot_write_in_its_parents_name(tmp_path):
    spec = StageSpec(id="t.fork", category="t", title="Fork", body="test_machine:forking")
    sdk = QuantSDK(tmp_path, registry=StageRegistry((spec,)))
    record = sdk.run_stage("t.fork")
    assert record.result == {"child": 7}
    assert all(report.ok for report in verify_chain(sdk.workspace.audit))


def test_a_run_of_very_many_symbols_is_told_of_symbol_by_symbol(tmp_path):
    frame = bars(3)
    for index in range(SYMBOLS):
        write_flat(tmp_path / "data/old", f"S{index:05d}USDT", frame)
    write_manifest(tmp_path, [{"path": "old", "layout": "flat_v1"}])
    sdk = QuantSDK(tmp_path)
    record = sdk.run_stage(STAGE)
    assert record.result["rows"]["bars"] == 3 * SYMBOLS
    events = [e for e in sdk.tail(record.run_id) if e["event"] == "ingest_progress"]
    assert [e["progress"]["current"] for e in events] == list(range(1, SYMBOLS + 1))
    assert verify_chain(sdk.workspace.audit)[0].ok


def test_a_secret_of_the_environment_reaches_no_file(tmp_path):
    secret = "sk-planted-2f9c1b"
    make_workspace(tmp_path, 2)
    command = [sys.executable, "-m", "quant_cli.main", "stage", "run", STAGE, "--json"]
    environment = {**os.environ, "BINANCE_API_SECRET": secret, "QUANT_DEBUG": "1"}
    for extra in ([], ["--strict"], ["--manifest", "nowhere.json"], ["--detach"]):
        done = subprocess.run(
            [*command, *extra, "--workspace", str(tmp_path)],
            env=environment,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        assert secret.encode() not in done.stdout + done.stderr
    sdk = QuantSDK(tmp_path)
    halt = threading.Event()
    while any(not run.is_terminal for run in sdk.runs()):
        halt.wait(0.05)
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or secret.encode() not in path.read_bytes(), path
