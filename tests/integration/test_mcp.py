"""The MCP server, by the official client: a migration through it, bounds, errors, purity."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import anyio
import pytest
from _mcp import MIGRATION, PATIENCE, Served, ask, demo_workspace, fail, talk

from quant_cli.mcp.server import _annotations
from quant_cli.mcp.tools import TOOLS
from quant_registry.audit_reader import verify_chain
from quant_sdk import Effects, QuantSDK, StageRegistry, StageSpec, Workspace

WRITING = {"run_stage", "pause", "resume", "cancel", "throttle"}
READING = {
    "list_stages",
    "describe_stage",
    "validate_stage",
    "run_status",
    "wait_run",
    "tail_audit",
    "explain",
    "read_bars",
}


@pytest.fixture(scope="module")
def migrated(tmp_path_factory) -> Served:
    """The demo, moved; for tests that only look, or leave it as it was."""
    root = demo_workspace(tmp_path_factory.mktemp("migrated"))
    assert QuantSDK(root).run_stage(MIGRATION).state == "succeeded"
    return Served(root, dict(os.environ))


@pytest.fixture(params=["stdio", "http"])
def over(request, tmp_path_factory):
    """Let an agent talk to a server over either transport."""

    def talking_over(served, talking, *options):
        if request.param == "stdio":
            return served.talk(talking, *options)
        log = tmp_path_factory.mktemp("log") / "stderr"
        with served.http(*options, log=log) as url:
            return talk(url, talking)

    return talking_over


async def migrate(client):
    """Validate, start, pause, resume and wait for a migration; return what was seen."""
    wanted = {"stage_id": MIGRATION, "params": {"batch_symbols": 1}}
    validation = await ask(client, "validate_stage", **wanted)
    assert validation["ok"]
    plan_hash = validation["plan_hash"]
    handle = await ask(client, "run_stage", **wanted, plan_hash=plan_hash, lock_id="agent-7")
    run_id = handle["run_id"]
    assert handle["state"] == "queued"
    assert handle["exit_code"] is None

    steered = await ask(client, "pause", scope=run_id, reason="bandwidth")
    assert [run["run_id"] for run in steered["runs"]] == [run_id]
    paused = await ask(client, "wait_run", run_id=run_id, until="paused")
    assert paused["met"]
    assert "pause" in (await ask(client, "explain", run_id=run_id))["sentence"]
    steered = await ask(client, "resume", scope=run_id)
    assert steered["outcome"] in {"resumed", "succeeded"}

    seen = []

    async def notice(progress, total, message):
        seen.append((progress, total, message))

    result = await client.call_tool("wait_run", {"run_id": run_id}, progress_callback=notice)
    return validation, result.structured_content, seen


def test_a_whole_migration_is_driven_through_it(demo, over):
    async def talking(client):
        validation, waited, seen = await migrate(client)
        run_id = waited["run_id"]
        assert waited["met"]
        assert waited["state"] == "succeeded"
        assert waited["exit_code"] == 0
        assert seen
        assert [item[0] for item in seen] == sorted({item[0] for item in seen})
        assert all(message for _, _, message in seen)

        [status] = (await ask(client, "run_status", scope=MIGRATION))["runs"]
        assert status["run_id"] == run_id
        assert (status["phase"], status["lock_id"]) == ("complete", "agent-7")
        assert status["candidate_count"] == validation["plan"]["candidates"]
        read = await ask(client, "read_bars", symbol="BINANCE:ADABTC", timeframe="5m")
        assert read["rows"] > 0
        told = await ask(client, "tail_audit", run_id=run_id, since_seq=0, limit=1000)
        names = [event["event"] for event in told["events"]]
        assert {"run_started", "paused", "resumed", "run_succeeded"} <= set(names)
        assert {event["actor"] for event in told["events"]} == {"mcp"}
        return run_id

    run_id = over(demo, talking, "--allow-writes")
    [report] = verify_chain(Workspace.resolve(demo.root).audit, run_id=run_id)
    assert report.ok


def test_answers_are_those_of_the_command_line(migrated):
    [record] = migrated.json("run", "list")["runs"]
    series = {"symbol": "BINANCE:ADABTC", "timeframe": "5m"}
    asked = {
        "list_stages": ({}, ("stage", "list")),
        "describe_stage": ({"stage_id": MIGRATION}, ("stage", "show", MIGRATION)),
        "run_status": ({"scope": record["run_id"]}, ("status", record["run_id"])),
        "wait_run": ({"run_id": record["run_id"]}, ("wait", record["run_id"])),
        "read_bars": (
            {**series, "limit": 3},
            ("lakehouse", "bars", *series.values(), "--limit", "3"),
        ),
        "pause": ({"scope": MIGRATION}, ("pause", "--scope", MIGRATION)),
        "resume": ({"scope": MIGRATION}, ("resume", "--scope", MIGRATION)),
        "cancel": ({}, ("cancel",)),
        "throttle": ({"scope": MIGRATION}, ("throttle", "--off", "--scope", MIGRATION)),
    }

    async def talking(client):
        answers = {tool: await ask(client, tool, **given) for tool, (given, _) in asked.items()}
        validation = await ask(client, "validate_stage", stage_id=MIGRATION)
        events = await ask(client, "tail_audit", run_id=record["run_id"])
        explanation = await ask(client, "explain", run_id=record["run_id"])
        return answers, validation, events["events"], explanation

    answers, validation, events, explanation = migrated.talk(talking, "--allow-writes")
    for tool, (_, command) in asked.items():
        assert answers[tool] == migrated.json(*command), tool
    printed = migrated.json("stage", "validate", MIGRATION)
    assert validation.keys() == printed.keys()
    assert validation["plan_hash"] == printed["plan_hash"]
    told = migrated.json("explain", record["run_id"])
    assert {**explanation, "sentence": ""} == {**told, "sentence": ""}  # it says how long ago
    lines = migrated.quant("run", "tail", record["run_id"], "--json").stdout.splitlines()
    assert events == [json.loads(line) for line in lines]


def test_a_read_only_server_lists_no_tool_that_writes(tiny, over):
    async def talking(client):
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == READING
        assert all(tool.annotations.read_only_hint for tool in tools.values())
        return [await fail(client, name, stage_id="test.noop") for name in sorted(WRITING)]

    for error in over(tiny, talking):
        assert error["code"] == "invalid_input"
        assert "--allow-writes" in error["fix"]
    assert not (tiny.root / "data").exists()


def test_tools_tell_what_they_do_to_the_world(tiny):
    async def talking(client):
        tools = (await client.list_tools()).tools
        assert {tool.name for tool in tools} == READING | WRITING
        for tool in tools:
            assert tool.description
            assert tool.output_schema["type"] == "object"
            assert all(item["description"] for item in tool.input_schema["properties"].values())
        hints = {tool.name: tool.annotations for tool in tools}
        assert {name for name, hint in hints.items() if not hint.read_only_hint} == WRITING
        assert hints["pause"].idempotent_hint
        assert hints["cancel"].destructive_hint
        assert not hints["run_stage"].idempotent_hint
        return hints["run_stage"]

    # Among the built-in stages some ask venues, and some take rows back.
    telling = tiny.talk(talking, "--allow-writes")
    assert (telling.destructive_hint, telling.open_world_hint) == (True, True)


@pytest.mark.parametrize("network", [True, False])
@pytest.mark.parametrize("destructive", [True, False])
def test_a_run_does_what_the_declared_stages_say_they_do(tmp_path, network, destructive):
    effects = Effects(network=network, destructive=destructive)
    spec = StageSpec(id="my.stage", category="my", title="Do", body="no:body", effects=effects)
    sdk = QuantSDK(tmp_path, registry=StageRegistry([spec]))
    run_stage = next(tool for tool in TOOLS if tool.name == "run_stage")
    hints = _annotations(run_stage, sdk)
    assert (hints.destructive_hint, hints.open_world_hint) == (destructive, network)


ERRORS = [
    ("describe_stage", {"stage_id": "test.nop"}, "unknown_stage"),
    ("describe_stage", {}, "invalid_input"),
    ("describe_stage", {"stage_id": "test.noop", "colour": "red"}, "invalid_input"),
    ("list_stages", {"category": 7}, "invalid_input"),
    ("validate_stage", {"stage_id": "test.count", "params": {"item": 1}}, "invalid_params"),
    ("run_stage", {"stage_id": "test.count", "params": {"items": "x"}}, "invalid_params"),
    ("run_stage", {"stage_id": "test.noop", "lock_id": "../x"}, "invalid_identifier"),
    ("run_stage", {"stage_id": "test.noop", "plan_hash": "0" * 64}, "plan_drifted"),
    ("run_status", {"scope": "nobody"}, "unknown_run"),
    ("run_status", {"since_seq": 3}, "invalid_input"),
    ("wait_run", {"run_id": "../../etc"}, "invalid_identifier"),
    ("wait_run", {"run_id": "nobody", "timeout": 601}, "invalid_input"),
    ("pause", {"scope": "nobody"}, "invalid_input"),
    ("pause", {"lasts": "soon"}, "invalid_input"),
    ("tail_audit", {"since_seq": 3}, "invalid_input"),
    ("tail_audit", {"limit": 1001}, "invalid_input"),
    ("tail_audit", {"run_id": "nobody"}, "unknown_run"),
    ("explain", {"run_id": "nobody"}, "unknown_run"),
    ("read_bars", {"symbol": "BINANCE:ADABTC", "timeframe": "5m"}, "no_data"),
    ("read_bars", {"symbol": "../../etc/x", "timeframe": "5m"}, "invalid_identifier"),
    ("list_stagse", {}, "unknown_name"),
]


def test_an_error_is_a_result_with_code_message_fix_and_retryable(tiny):
    async def talking(client):
        return [await fail(client, tool, **given) for tool, given, _ in ERRORS]

    errors = tiny.talk(talking, "--allow-writes")
    for (tool, given, code), error in zip(ERRORS, errors, strict=True):
        assert error["code"] == code, (tool, given, error)
        assert error["fix"], (tool, given)
        assert error["retryable"] is False


def test_a_second_run_of_a_locked_stage_is_told_who_holds_it(tiny):
    async def talking(client):
        handle = await ask(client, "run_stage", stage_id="test.hang")
        await ask(client, "wait_run", run_id=handle["run_id"], until="state=running")
        error = await fail(client, "run_stage", stage_id="test.hang")
        await ask(client, "cancel", scope=handle["run_id"])
        ended = await ask(client, "wait_run", run_id=handle["run_id"])
        return error, ended

    error, ended = tiny.talk(talking, "--allow-writes")
    assert (error["code"], error["retryable"]) == ("stage_locked", True)
    assert (ended["state"], ended["exit_code"]) == ("cancelled", 130)


def test_answers_are_bounded_and_go_on_from_their_cursor(migrated):
    [record] = migrated.json("run", "list")["runs"]

    async def pages(client, tool, name, cursor, given):
        found, goes_on = [], True
        while goes_on:
            page = await ask(client, tool, **given)
            assert len(page[name]) <= given["limit"]
            found += page[name]
            goes_on, given = page["truncated"], {**given, cursor: page["next_cursor"]}
        return found

    async def talking(client):
        series = {"symbol": "BINANCE:ADABTC", "timeframe": "5m"}
        bars = await pages(client, "read_bars", "bars", "start", {**series, "limit": 200})
        whole = await ask(client, "read_bars", **series, limit=1000)
        assert bars == whole["bars"]
        assert not whole["truncated"]
        run = {"run_id": record["run_id"]}
        given = {**run, "limit": 7, "since_seq": 0}
        events = await pages(client, "tail_audit", "events", "since_seq", given)
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        newest = await ask(client, "tail_audit", **run, limit=2)
        assert newest["events"] == events[-2:]
        assert newest["truncated"]
        later = await ask(client, "tail_audit", **run, since_seq=newest["next_cursor"])
        assert later == {"events": [], "truncated": False, "next_cursor": len(events)}

    migrated.talk(talking)


def test_a_status_that_has_not_changed_is_a_few_bytes(migrated):
    [record] = migrated.json("run", "list")["runs"]

    async def talking(client):
        [status] = (await ask(client, "run_status", scope=record["run_id"]))["runs"]
        given = {"scope": record["run_id"], "since_seq": status["seq"]}
        [unchanged] = (await ask(client, "run_status", **given))["runs"]
        assert unchanged == {
            "run_id": record["run_id"],
            "seq": status["seq"],
            "unchanged": True,
        }

    migrated.talk(talking)


def test_the_server_answers_others_while_it_waits(tiny, over):
    async def talking(client):
        handle = await ask(client, "run_stage", stage_id="test.hang")
        waited = []

        async def wait():
            waited.append(await ask(client, "wait_run", run_id=handle["run_id"]))

        async with anyio.create_task_group() as group:
            for _ in range(60):
                group.start_soon(wait)
            await ask(client, "wait_run", run_id=handle["run_id"], until="state=running")
            assert (await ask(client, "list_stages"))["stages"]
            assert not waited
            await ask(client, "cancel", scope=handle["run_id"])
        return waited

    waited = over(tiny, talking, "--allow-writes")
    assert [item["state"] for item in waited] == ["cancelled"] * 60


def test_a_wait_that_runs_out_of_time_returns_the_handle(tiny):
    async def talking(client):
        handle = await ask(client, "run_stage", stage_id="test.hang")
        waited = await ask(client, "wait_run", run_id=handle["run_id"], timeout=0)
        ended = await ask(client, "wait_run", run_id=handle["run_id"], timeout=0.1)
        await ask(client, "cancel", scope=handle["run_id"])
        never = await ask(client, "wait_run", run_id=handle["run_id"], until="phase=complete")
        return handle["run_id"], (waited, ended), never

    run_id, waits, never = tiny.talk(talking, "--allow-writes")
    for waited in waits:
        assert waited["run_id"] == run_id
        assert waited["met"] is False
        assert waited["error"]["code"] == "wait_timeout"
        assert waited["error"]["retryable"] is True
    assert never["met"] is False
    assert never["error"]["code"] == "run_cancelled"
    assert never["evidence"]


def test_a_run_outlives_the_server_that_started_it(tiny):
    async def start(client):
        handle = await ask(client, "run_stage", stage_id="test.hang", idempotency_key="one")
        await ask(client, "wait_run", run_id=handle["run_id"], until="state=running")
        return handle["run_id"]

    async def come_back(client):
        again = await ask(client, "run_stage", stage_id="test.hang", idempotency_key="one")
        await ask(client, "cancel", scope=again["run_id"])
        return again["run_id"], await ask(client, "wait_run", run_id=again["run_id"])

    run_id = tiny.talk(start, "--allow-writes", "--actor", "agent-7")
    again, ended = tiny.talk(come_back, "--allow-writes")
    assert again == run_id
    assert ended["state"] == "cancelled"
    assert tiny.json("run", "show", run_id)["actor"] == "agent-7"


def test_resources_are_status_audit_and_schemas(migrated, over):
    [record] = migrated.json("run", "list")["runs"]

    async def talking(client):
        listed = {item.uri for item in (await client.list_resources()).resources}
        templates = (await client.list_resource_templates()).resource_templates
        assert {item.uri_template for item in templates} == {
            "quant://status/{stage_id}",
            "quant://audit/{run_id}",
            "quant://schema/{name}",
        }
        wanted = f"quant://status/{MIGRATION}", f"quant://audit/{record['run_id']}"
        assert {*wanted, "quant://schema/status"} <= listed
        return [
            (await client.read_resource(uri)).contents[0]
            for uri in (*wanted, "quant://schema/status")
        ]

    status, audit, schema = over(migrated, talking)
    assert json.loads(status.text) == migrated.json("status", MIGRATION)
    lines = migrated.quant("run", "tail", record["run_id"], "--json").stdout
    assert audit.text == lines
    assert json.loads(schema.text) == migrated.json("schema", "show", "status")


@pytest.mark.parametrize(
    "uri", ["quant://schema/rnu", "quant://audit/..%2f..%2fx", "quant://nothing/x", "file:///etc"]
)
def test_a_resource_that_is_not_there_is_an_error_with_a_fix(tiny, uri):
    async def talking(client):
        from mcp import MCPError

        with pytest.raises(MCPError) as caught:
            await client.read_resource(uri)
        return caught.value

    error = tiny.talk(talking)
    assert error.data["fix"]
    assert error.data["retryable"] is False


LOUD = """
import os, subprocess, sys
print("a plugin that prints")
from quant_sdk import Check, StageSpec

def look(context):
    print("a check that prints")
    sys.stdout.flush()
    os.write(1, b"past Python\\n")
    subprocess.run(["echo", "a child that prints"], check=True)
    return "passed", "fine", ""

CHECKS = (Check(name="loud", look=look),)
STAGES = (StageSpec(id="my.loud", category="my", title="Shout", body="loud:look",
                    checks="loud:CHECKS"),)
"""


def test_nothing_but_protocol_reaches_stdout(tiny):
    (tiny.root / "quant.yml").write_text('stages: ["loud:STAGES"]\n')
    (tiny.root / "loud.py").write_text(LOUD)
    hello = {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "by hand", "version": "1"},
    }
    validate = {"name": "validate_stage", "arguments": {"stage_id": "my.loud"}}
    messages = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": validate},
    ]
    with subprocess.Popen(
        tiny.command("--json"),
        env=tiny.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        for message in messages:
            process.stdin.write(json.dumps(message) + "\n")
        process.stdin.flush()
        answers = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.stdin.close()
        assert process.stdout.read() == ""
        said = process.stderr.read()
        assert process.wait(PATIENCE) == 0
    assert [answer["id"] for answer in answers] == [1, 2]
    assert answers[1]["result"]["structuredContent"]["ok"] is True
    assert said.count("prints") == 3
    assert "past Python" in said


def test_without_the_extra_it_names_the_command_that_installs_it(tiny):
    code = (
        "import sys; sys.modules['mcp'] = None; "
        "from quant_cli.main import main; sys.exit(main(['mcp', '--json']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tiny.root,
        env=tiny.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    error = json.loads(done.stdout)["error"]
    assert error["code"] == "missing_extra"
    assert "pip install 'quant-stage-sdk[mcp]'" in error["fix"]


@pytest.mark.parametrize("args", [("--help",), ("mcp", "--help"), ("stage", "list")])
def test_nobody_else_pays_for_it(tiny, args):
    code = (
        "import sys; from quant_cli.main import main; "
        f"main({list(args)!r}); print(*sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tiny.root,
        env=tiny.env,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    assert not loaded & {"mcp", "anyio", "starlette", "uvicorn", "jsonschema"}
