"""The pytest plugin: fixtures for tests of stages and of data. Imports nothing until one is used.

They are `stage_runner`, `fault_points` and `seamless_fault_injection`. The plugin comes with the
distribution (entry-point group ``pytest11``); ``-p no:quant_stage_sdk`` leaves it out.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from quant_sdk.testing._process import mark_test_process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from quant_sdk.testing.faults import FaultPoints
    from quant_sdk.testing.runner import StageRunner
    from quant_sdk.testing.seamless_faults import SeamlessFaults


def pytest_configure() -> None:
    """Protect the process of the tests from `FaultPoints.kill_at`."""
    mark_test_process()


@pytest.fixture
def stage_runner(tmp_path: Path) -> Iterator[Callable[..., StageRunner]]:
    """Make runners on one temporary workspace: ``stage_runner(STAGES)``; they end with the test."""
    from quant_sdk.testing import runner

    with ExitStack() as made:

        def make(stages: Iterable[Any], **settings: Any) -> StageRunner:
            return made.enter_context(runner.stage_runner(tmp_path, stages, **settings))

        yield make


@pytest.fixture
def fault_points() -> Iterator[FaultPoints]:
    """Let runs of this test meet faults: ``fault_points.raise_at("before_commit", OSError())``."""
    from quant_sdk.testing import faults

    with faults.fault_points() as planned:
        yield planned


@pytest.fixture
def seamless_fault_injection(fault_points: FaultPoints) -> SeamlessFaults:
    """Plant flaws in frames, and faults in sources and storage: ``.plant()``, ``.source(...)``."""
    from quant_sdk.testing import seamless_faults

    return seamless_faults.SeamlessFaults(fault_points)
