"""Backfill: which bars are missing, cut into shards that are fetched and published by themselves.

Names resolve on first use (PEP 562).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quant_registry.lazy import lazily

if TYPE_CHECKING:
    from quant_sdk.seamless.coordinator import BackfillCoordinator, InMemoryBackfillCoordinator
    from quant_sdk.seamless.holes import Holes
    from quant_sdk.seamless.intervals import WINDOWS, expected_spans, missing, outside, without
    from quant_sdk.seamless.planner import Planner, Wanted
    from quant_sdk.seamless.shard import Shard, shards
    from quant_sdk.seamless.standing import Standing, standings

__all__ = [
    "WINDOWS",
    "BackfillCoordinator",
    "Holes",
    "InMemoryBackfillCoordinator",
    "Planner",
    "Shard",
    "Standing",
    "Wanted",
    "expected_spans",
    "missing",
    "outside",
    "shards",
    "standings",
    "without",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        ".coordinator": ("BackfillCoordinator", "InMemoryBackfillCoordinator"),
        ".holes": ("Holes",),
        ".intervals": ("WINDOWS", "expected_spans", "missing", "outside", "without"),
        ".planner": ("Planner", "Wanted"),
        ".shard": ("Shard", "shards"),
        ".standing": ("Standing", "standings"),
    },
)
