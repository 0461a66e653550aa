"""An agent's view over MCP: a warm listing, the handle of a run, a wait that is over."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from _measure import Row, milliseconds
from mcp import Client, StdioServerParameters

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CALLS = 200
RUNS = 10
PATIENCE_SECONDS = 30


def rows() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        shutil.copy(Path(__file__).with_name("noop_stage.py"), here)
        (here / "quant.yml").write_text('stages: ["noop_stage:STAGES"]\n')
        return anyio.run(_rows, here)


async def _rows(here: Path) -> list[Row]:
    quant = str(Path(sys.executable).with_name("quant"))
    options = ["mcp", "--allow-writes", "--workspace", str(here)]
    async with Client(StdioServerParameters(command=quant, args=options), cache=None) as client:
        listed, bare = await _alternate(
            lambda: client.call_tool("list_stages", {}), client.list_resource_templates, CALLS
        )
        started, waited, spawned = [], [], []
        for _ in range(RUNS):
            seconds, run = await _start(client)
            started.append(seconds)
            await client.call_tool("wait_run", run)
            began = time.perf_counter()
            await client.call_tool("wait_run", run)
            waited.append(time.perf_counter() - began)
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", ""], check=True)  # noqa: ASYNC221 - nobody else waits
            spawned.append(time.perf_counter() - began)
    round_trip = f"{milliseconds(bare)}: a round trip that looks nothing up"
    return [
        _row("MCP `list_stages`, warm", listed, round_trip, 20),
        _row(
            "MCP `run_stage`, until its handle",
            statistics.median(started),
            f"{milliseconds(statistics.median(spawned))}: start and end a bare Python",
            300,
        ),
        _row("MCP `wait_run` on a run that has ended", statistics.median(waited), round_trip, 50),
    ]


async def _start(client: Client) -> tuple[float, dict[str, Any]]:
    """Return the seconds until a handle, and the run; the run before may still hold the lock."""
    with anyio.fail_after(PATIENCE_SECONDS):
        while True:
            began = time.perf_counter()
            answer = await client.call_tool("run_stage", {"stage_id": "bench.noop"})
            seconds = time.perf_counter() - began
            if not answer.is_error:
                return seconds, {"run_id": answer.structured_content["run_id"]}
            error = json.loads(answer.content[0].text)
            assert error["retryable"], error


def _row(name: str, seconds: float, floor: str, target: float) -> Row:
    return Row(
        name=name,
        measured=milliseconds(seconds),
        floor=floor,
        value=seconds * 1e3,
        target=target,
        unit=" ms",
    )


async def _alternate(
    subject: Callable[[], Awaitable[Any]], floor: Callable[[], Awaitable[Any]], rounds: int
) -> tuple[float, float]:
    """Return the median seconds of both, called turn by turn; the first round warms up."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds + 1):
        for call, found in zip((subject, floor), times, strict=True):
            began = time.perf_counter()
            await call()
            found.append(time.perf_counter() - began)
    return statistics.median(times[0][1:]), statistics.median(times[1][1:])
