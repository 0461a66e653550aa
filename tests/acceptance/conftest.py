"""Fixtures: ``quant`` in a fresh workspace, and a live run in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from _quant import Quant, fill

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator


@pytest.fixture
def quant(tmp_path) -> Quant:
    """``quant`` in a fresh workspace."""
    return Quant(fill(tmp_path))


@pytest.fixture
def slow(quant) -> Iterator[subprocess.Popen[str]]:
    """A live run of demo.slow, at work."""
    process = quant.start("stage", "run", "demo.slow")
    try:
        quant.await_status("demo.slow", state="running", step="count")
        yield process
    finally:
        process.kill()
        process.communicate()
