"""`ops.flow_production`: the gate; what production reads, from the lakehouse alone."""

from __future__ import annotations

from quant_sdk import Effects, StageSpec

STAGES = (
    StageSpec(
        id="ops.flow_production",
        category="ops",
        tags=("production", "gate", "lakehouse_only"),
        title="Export candidates and returns for production, from the lakehouse alone",
        params="quant_stages.flows.production.params:FlowProductionParams",
        result="quant_stages.flows.production.params:FlowProductionResult",
        body="quant_stages.flows.production.body:pass_gate",
        checks="quant_stages.flows.production.checks:CHECKS",
        plan="quant_stages.flows.production.plan:plan",
        effects=Effects(network=False, idempotent=True, destructive=False),
        lock="stage",
    ),
)
