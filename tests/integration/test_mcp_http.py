"""The MCP server over HTTP: who may connect, and what is never told."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import anyio
import httpx
import pytest
from _mcp import PATIENCE, ask
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

SECRET = "a-planted-secret-0451"
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "by hand", "version": "1"},
    },
}
TELLER = """
import os
from quant_sdk import StageSpec

def tell(run, params):
    return dict(os.environ)

STAGES = (StageSpec(id="my.teller", category="my", title="Tell", body="teller:tell"),)
"""
HEADERS = {"accept": "application/json, text/event-stream", "content-type": "application/json"}


def post(url, **headers):
    return httpx.post(url, json=HELLO, headers=HEADERS | headers, timeout=PATIENCE, trust_env=False)


@pytest.fixture
def log(tmp_path_factory):
    """Where the server's stderr goes."""
    return tmp_path_factory.mktemp("log") / "stderr"


@pytest.fixture
def guarded(tiny, log):
    """A server that asks for a token."""
    (tiny.root / "quant.yml").write_text('stages: ["teller:STAGES"]\n')
    (tiny.root / "teller.py").write_text(TELLER)
    tiny.env["QUANT_MCP_TOKEN"] = SECRET
    with tiny.http("--allow-writes", log=log) as url:
        yield url


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
def test_beyond_this_machine_it_needs_a_token(tiny, host):
    done = tiny.quant("mcp", "--http", "--host", host, "--json")
    assert done.returncode == 2
    error = json.loads(done.stdout)["error"]
    assert error["code"] == "invalid_input"
    assert "QUANT_MCP_TOKEN" in error["fix"]


def test_with_a_token_it_may_be_reached_from_elsewhere(tiny, log):
    tiny.env["QUANT_MCP_TOKEN"] = SECRET
    with tiny.http("--host", "0.0.0.0", log=log) as url:
        assert post(url).status_code == 401
        assert post(url, authorization=f"Bearer {SECRET}").status_code == 200


@pytest.mark.parametrize("given", [None, "Bearer wrong", SECRET, "Bearer", f"Basic {SECRET}"])
def test_without_the_right_token_nothing_is_answered(guarded, given):
    answer = post(guarded, **({} if given is None else {"authorization": given}))
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


def test_the_token_opens_the_server_and_stands_nowhere(guarded, tiny, log):
    @asynccontextmanager
    async def transport():
        headers = {"authorization": f"Bearer {SECRET}"}
        async with (
            create_mcp_http_client(headers=headers) as client,
            streamable_http_client(guarded, http_client=client) as streams,
        ):
            yield streams

    async def main():
        with anyio.fail_after(PATIENCE):
            async with Client(transport()) as client:
                handle = await ask(client, "run_stage", stage_id="my.teller")
                return await ask(client, "wait_run", run_id=handle["run_id"])

    assert post(guarded, authorization="Bearer wrong").status_code == 401
    assert anyio.run(main)["state"] == "succeeded"
    assert SECRET not in log.read_text()
    files = [path for path in tiny.root.rglob("*") if path.is_file()]
    assert files
    assert not any(SECRET.encode() in path.read_bytes() for path in files)


@pytest.mark.parametrize(
    ("headers", "code"), [({"host": "evil.example"}, 421), ({"origin": "http://evil.example"}, 403)]
)
def test_a_web_page_cannot_reach_a_server_on_loopback(tiny, log, headers, code):
    with tiny.http(log=log) as url:
        assert post(url).status_code == 200
        assert post(url, **headers).status_code == code


def test_a_port_that_is_taken_is_a_conflict(tiny, log):
    with tiny.http(log=log) as url:
        port = url.rpartition(":")[2].partition("/")[0]
        done = tiny.quant("mcp", "--http", "--port", port, "--json")
    assert done.returncode == 4
    assert "--port" in json.loads(done.stdout)["error"]["fix"]


def test_a_signal_ends_it_quietly(tiny, log):
    with tiny.http(log=log):
        pass
    assert log.read_text().splitlines()[1:] == []
