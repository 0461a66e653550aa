"""Backfill: which bars are missing, cut into shards that are fetched and published by themselves.

Names resolve on first use (PEP 562).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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

_HOMES = {
    "coordinator": ("BackfillCoordinator", "InMemoryBackfillCoordinator"),
    "holes": ("Holes",),
    "planner": ("Planner", "Wanted"),
    "intervals": ("WINDOWS", "expected_spans", "missing", "outside", "without"),
    "shard": ("Shard", "shards"),
    "standing": ("Standing", "standings"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
