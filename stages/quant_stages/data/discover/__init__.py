"""`data.discover`: the scanners that a profile names, asked; what they find, exported."""

from __future__ import annotations

from quant_sdk import Effects, StageSpec

STAGES = (
    StageSpec(
        id="data.discover",
        category="data",
        tags=("discovery", "scanner"),
        title="Find the symbols that the scanners of a profile name",
        params="quant_stages.data.discover.params:DiscoverParams",
        result="quant_stages.data.discover.params:DiscoverResult",
        body="quant_stages.data.discover.body:discover",
        checks="quant_stages.data.discover.checks:CHECKS",
        plan="quant_stages.data.discover.plan:plan",
        effects=Effects(network=True, idempotent=True, destructive=False),
        lock="stage",
    ),
)
