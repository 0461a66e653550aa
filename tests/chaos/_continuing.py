"""A migration that was cut short, and what its continuation must come to."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from _legacy import STAGE

from quant_sdk import QuantSDK, verify_chain
from quant_sdk.lakehouse.lakehouse import Lakehouse
from quant_sdk.lakehouse.ledger import Ledger

SYMBOLS, BATCH = 18, 2
PARAMS = {"batch_symbols": BATCH}
PATIENCE = 60.0


def copy(template, folder):
    return Path(shutil.copytree(template, folder / "workspace"))


def contents(workspace):
    """Return what must be equal whatever happened on the way."""
    lakehouse = Lakehouse(QuantSDK(workspace).workspace)
    return lakehouse.content_hash(), lakehouse.quarantine_summary()


def start(workspace):
    command = [sys.executable, "-m", "quant_cli.main", "stage", "run", STAGE, "--json"]
    return subprocess.Popen(
        [*command, "--batch-symbols", str(BATCH), "--workspace", str(workspace)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def await_record(workspace, process, runs=1):
    """Wait until so many runs are recorded; a process may also end before its run is."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if len(QuantSDK(workspace).runs()) >= runs:
            return
        if process.poll() is not None:
            break
    assert len(QuantSDK(workspace).runs()) >= runs, "the run was never recorded"


def published_sources(workspace):
    """Return the sources that the killed run had committed, by the Delta log itself."""
    table = Lakehouse(QuantSDK(workspace).workspace).table("bars")
    if not table.exists():
        return set()
    commits = list(table.history())
    documents = [json.loads(commit["quant"]) for commit in commits if "quant" in commit]
    return {entry["source"] for item in documents for entry in item.get("entries", ())}


def told_sources(workspace):
    """Return the sources that the ledger tells of."""
    return {entry.source for entry in Ledger(workspace / "data/lakehouse").entries()}


def check_continuation(workspace, expected, finished_by=published_sources):
    """Continue the killed run and compare its end with the undisturbed one."""
    sdk = QuantSDK(workspace)
    killed = sdk.runs()[0]
    status = workspace / "data/lakehouse/migration_status.json"
    if status.exists():
        # One that died between its record and its first status leaves the word of the one before.
        assert json.loads(status.read_bytes())["run_id"] in {run.run_id for run in sdk.runs()}
    finished = finished_by(workspace)
    record = sdk.run_stage(STAGE, PARAMS)
    assert record.state == "succeeded", record.error
    assert contents(workspace) == expected
    read = {
        entry["source"]
        for entry in json.loads((workspace / record.result["reports"]["ingest"]).read_bytes())[
            "sources"
        ]
    }
    assert not read & finished
    if not killed.is_terminal:
        buried = sdk.run(killed.run_id)
        assert buried.state in {"abandoned", "succeeded"}
        assert buried.evidence
        assert record.continues == (killed.run_id if buried.state == "abandoned" else None)
    heads = {run.run_id: tuple(run.audit_head.values()) for run in sdk.runs()}
    assert all(report.ok for report in verify_chain(sdk.workspace.audit, heads=heads))
    assert json.loads(status.read_bytes())["phase"] == "complete"
