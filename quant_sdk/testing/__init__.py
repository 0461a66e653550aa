"""For tests of stages: a runner on a temporary workspace, a clock to turn, points to break a run.

Under pytest the fixtures `stage_runner`, `fault_points` and `seamless_fault_injection` are there by
themselves::

    def test_it_works(stage_runner):
        record = stage_runner(STAGES).run("team.refresh")
        assert record.state == "succeeded"

Importing this package loads neither pytest nor a data library; names resolve on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quant_registry.lazy import lazily

if TYPE_CHECKING:
    from quant_sdk.testing.clock import FakeClock
    from quant_sdk.testing.faults import POINTS, FaultPoints, Gate, fault_points
    from quant_sdk.testing.faulty_source import FaultySource
    from quant_sdk.testing.live import BackgroundRun
    from quant_sdk.testing.planting import Planted
    from quant_sdk.testing.runner import StageRunner, stage_runner, workspace_stages
    from quant_sdk.testing.seamless_faults import SeamlessFaults

__all__ = [
    "POINTS",
    "BackgroundRun",
    "FakeClock",
    "FaultPoints",
    "FaultySource",
    "Gate",
    "Planted",
    "SeamlessFaults",
    "StageRunner",
    "fault_points",
    "stage_runner",
    "workspace_stages",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        ".clock": ("FakeClock",),
        ".faults": ("POINTS", "FaultPoints", "Gate", "fault_points"),
        ".faulty_source": ("FaultySource",),
        ".live": ("BackgroundRun",),
        ".planting": ("Planted",),
        ".runner": ("StageRunner", "stage_runner", "workspace_stages"),
        ".seamless_faults": ("SeamlessFaults",),
    },
)
