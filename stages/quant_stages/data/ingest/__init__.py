"""`data.ingest`: the bars that have closed since the last visit."""

from __future__ import annotations

from quant_sdk import Effects, StageSpec

_HOME = "quant_stages.data.ingest"

STAGES = (
    StageSpec(
        id="data.ingest",
        category="data",
        tags=("bars", "lakehouse"),
        title="Fetch the bars that the candidates lack at their ends",
        params="quant_stages.intake.params:CandidateParams",
        result="quant_stages.intake.counts:IntakeResult",
        body=f"{_HOME}.body:ingest",
        checks=f"{_HOME}.body:CHECKS",
        plan=f"{_HOME}.body:plan",
        rehearse=f"{_HOME}.body:rehearse",
        effects=Effects(network=True, idempotent=True, destructive=False),
        lock=None,
    ),
)
