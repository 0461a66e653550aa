"""The MCP server, by MCP Inspector's command line: another client, in another language."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from _mcp import MIGRATION, PATIENCE, ROOT

INSPECTOR = ROOT / ".cache" / "inspector" / "node_modules" / ".bin" / "mcp-inspector"


@pytest.fixture
def inspect(demo):
    """Return a call of the Inspector; each starts a server of its own."""
    if not INSPECTOR.exists():
        reason = "MCP Inspector is not installed: make inspector (npm)"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)

    def call(*args, options=("--allow-writes",)):
        done = subprocess.run(
            [str(INSPECTOR), "--cli", *demo.command(*options), "--method", *args],
            env=demo.env,
            cwd=demo.root,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.stdout, done.stderr
        return json.loads(done.stdout), done

    return call


@pytest.fixture
def tool(inspect):
    """Return a call of a tool through the Inspector."""

    def call(name, **arguments):
        pairs = [f"{key}={_written(value)}" for key, value in arguments.items()]
        extra = ["--tool-arg", *pairs] if pairs else []
        answer, _ = inspect("tools/call", "--tool-name", name, *extra)
        assert not answer.get("isError"), answer
        return answer["structuredContent"]

    return call


def _written(value):
    return value if isinstance(value, str) else json.dumps(value)


def test_the_inspector_drives_a_whole_migration(tool):
    params = {"batch_symbols": 1}
    validation = tool("validate_stage", stage_id=MIGRATION, params=params)
    assert validation["ok"]
    tool("pause", scope=MIGRATION, reason="bandwidth")
    handle = tool(
        "run_stage",
        stage_id=MIGRATION,
        params=params,
        plan_hash=validation["plan_hash"],
        idempotency_key="inspected",
    )
    run_id = handle["run_id"]
    assert tool("wait_run", run_id=run_id, until="paused")["met"]
    assert "pause" in tool("explain", run_id=run_id)["sentence"]
    tool("resume", scope=MIGRATION)
    waited = tool("wait_run", run_id=run_id)
    assert (waited["state"], waited["exit_code"]) == ("succeeded", 0)
    again = tool("run_stage", stage_id=MIGRATION, params=params, idempotency_key="inspected")
    assert (again["run_id"], again["state"]) == (run_id, "succeeded")
    [status] = tool("run_status", scope=run_id)["runs"]
    assert status["phase"] == "complete"
    bars = tool("read_bars", symbol="BINANCE:ADABTC", timeframe="5m", limit=3)
    assert len(bars["bars"]) == 3
    assert bars["truncated"]
    assert tool("tail_audit", run_id=run_id, limit=1)["events"][0]["event"] == "run_succeeded"


def test_the_inspector_finds_no_schema_that_is_not_portable(inspect):
    answer, done = inspect("tools/list", "--strict")
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert len(answer["tools"]) == 13


def test_the_inspector_sees_only_reading_tools_without_allow_writes(inspect):
    answer, _ = inspect("tools/list", options=())
    assert all(tool["annotations"]["readOnlyHint"] for tool in answer["tools"])


def test_the_inspector_reads_resources(inspect):
    listed, _ = inspect("resources/list")
    uris = {item["uri"] for item in listed["resources"]}
    assert {f"quant://status/{MIGRATION}", "quant://schema/audit"} <= uris
    read, _ = inspect("resources/read", "--uri", "quant://schema/audit")
    assert json.loads(read["contents"][0]["text"])["title"] == "Audit event"


def test_the_inspector_is_told_of_an_error_as_a_result(inspect):
    answer, _ = inspect(
        "tools/call", "--tool-name", "describe_stage", "--tool-arg", "stage_id=ops.migration"
    )
    assert answer["isError"]
    assert json.loads(answer["content"][0]["text"])["code"] == "unknown_stage"
