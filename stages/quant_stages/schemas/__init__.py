"""Governance of the canonical schemas: from canary to strict."""

from __future__ import annotations

from quant_sdk import Effects, StageSpec

_HOME = "quant_stages.schemas"

STAGES = (
    StageSpec(
        id="schema.promote",
        category="schema",
        tags=("governance", "schema"),
        title="Make a canonical schema strict: responses that deviate are stopped from then on",
        params=f"{_HOME}.params:PromoteParams",
        result=f"{_HOME}.params:PromoteResult",
        body=f"{_HOME}.promote:promote_schema",
        checks=f"{_HOME}.checks:CHECKS",
        plan=f"{_HOME}.promote:plan",
        rehearse=f"{_HOME}.promote:rehearse",
        effects=Effects(network=False, idempotent=True, destructive=False),
    ),
)
