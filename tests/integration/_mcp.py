"""``quant mcp`` as agents reach it: over stdio, and over HTTP."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from mcp import Client, StdioServerParameters

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

ROOT = Path(__file__).parents[2]
QUANT = (sys.executable, "-m", "quant_cli.main")
MIGRATION = "ops.migration.dataops_v2"
PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Served:
    """A workspace behind the server."""

    root: Path
    env: dict[str, str]

    def command(self, *options: str) -> list[str]:
        return [*QUANT, "mcp", "--workspace", str(self.root), *options]

    def quant(self, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*QUANT, *args],
            cwd=self.root,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def json(self, *args: str) -> dict[str, Any]:
        done = self.quant(*args, "--json")
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def talk(self, talking: Callable[[Client], Awaitable[Any]], *options: str) -> Any:
        """Let an agent talk to a server of its own over stdio."""
        head, *rest = self.command(*options)
        return talk(StdioServerParameters(command=head, args=rest, env=self.env), talking)

    @contextmanager
    def http(self, *options: str, log: Path) -> Iterator[str]:
        """Serve over HTTP at a port that is free; yield the URL."""
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                self.command("--http", "--port", "0", *options), env=self.env, stderr=stderr
            )
        try:
            yield _announced(log, process)
        finally:
            process.terminate()
            process.wait(PATIENCE)


def talk(server: Any, talking: Callable[[Client], Awaitable[Any]]) -> Any:
    """Connect to a server, and let an agent talk."""

    async def main() -> Any:
        with anyio.fail_after(PATIENCE):
            async with Client(server) as client:
                return await talking(client)

    return anyio.run(main)


async def ask(client: Client, tool: str, **arguments: Any) -> Any:
    """Return a tool's answer, which must be no error and the same as structure and as text."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    assert json.loads(result.content[0].text) == result.structured_content
    return result.structured_content


async def fail(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """Return a tool's error."""
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    assert result.structured_content is None  # it would break the promise of the output schema
    error: dict[str, Any] = json.loads(result.content[0].text)
    assert list(error) == ["code", "message", "fix", "retryable"]
    return error


def demo_workspace(root: Path) -> Path:
    """Put the demo's inputs into a workspace."""
    shutil.copytree(ROOT / "data" / "demo", root / "data" / "demo")
    shutil.copy(ROOT / "data" / "manifest.json", root / "data")
    shutil.copytree(ROOT / "configs", root / "configs")
    return root


def _announced(log: Path, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + PATIENCE
    while True:
        said = log.read_text()
        if "\n" in said and "http://" in said:
            return said.partition("http://")[1] + said.partition("http://")[2].split()[0]
        assert process.poll() is None, said
        assert time.monotonic() < deadline, said
        time.sleep(0.01)
