"""`ops.flow_data`: the daily cycle, each of its steps a run of its own."""

from __future__ import annotations

from quant_sdk import Effects, StageSpec

_HOME = "quant_stages.flows.cycle"

STAGES = (
    StageSpec(
        id="ops.flow_data",
        category="ops",
        tags=("cycle", "lakehouse"),
        title="Keep the lakehouse fresh: discover, ingest, repair, enrich, verify, snapshot",
        params=f"{_HOME}.params:CycleParams",
        result=f"{_HOME}.params:CycleResult",
        body=f"{_HOME}.body:cycle",
        checks=f"{_HOME}.checks:CHECKS",
        plan=f"{_HOME}.body:plan",
        effects=Effects(network=True, idempotent=True, destructive=False),
    ),
)
