"""`data.repair`: the bars that are missing between those that are held, and at their ends."""

from __future__ import annotations

from quant_sdk import Effects, StageSpec

_HOME = "quant_stages.data.repair"

STAGES = (
    StageSpec(
        id="data.repair",
        category="data",
        tags=("bars", "lakehouse"),
        title="Fill the gaps of the candidates, on their calendars",
        params="quant_stages.intake.params:CandidateParams",
        result="quant_stages.intake.counts:IntakeResult",
        body=f"{_HOME}.body:repair",
        checks=f"{_HOME}.body:CHECKS",
        plan=f"{_HOME}.body:plan",
        rehearse=f"{_HOME}.body:rehearse",
        effects=Effects(network=True, idempotent=True, destructive=False),
    ),
)
