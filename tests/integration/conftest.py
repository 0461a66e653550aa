"""Fixtures: workspaces behind the MCP server; what a test leaves running ends with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from _mcp import PATIENCE, Served, demo_workspace

from quant_sdk import QuantSDK

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def demo(tmp_path, child_env) -> Iterator[Served]:
    """The demo's inputs, nothing moved yet."""
    yield Served(demo_workspace(tmp_path), child_env)
    _end_all(tmp_path)


@pytest.fixture
def tiny(tmp_path, child_env) -> Iterator[Served]:
    """A workspace with the tests' little stages."""
    (tmp_path / "quant.yml").write_text('stages: ["_stages:STAGES"]\n')
    yield Served(tmp_path, child_env)
    _end_all(tmp_path)


def _end_all(root: Path) -> None:
    """Cancel what is live: detached runs outlive everybody."""
    if not (root / "data" / "artifacts").exists():
        return
    sdk = QuantSDK(root)
    for run in sdk.status():
        sdk.cancel(run["run_id"])
        sdk.wait(run["run_id"], timeout=PATIENCE)
