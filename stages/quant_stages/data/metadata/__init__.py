"""`data.metadata`: what venues say of their symbols, of how they trade and of themselves."""

from __future__ import annotations

from quant_sdk import Effects, StageSpec

_HOME = "quant_stages.data.metadata"

STAGES = (
    StageSpec(
        id="data.metadata",
        category="data",
        tags=("metadata", "catalog", "lakehouse"),
        title="Record what the venues of the candidates list, and how it trades",
        params=f"{_HOME}.params:MetadataParams",
        result=f"{_HOME}.params:MetadataResult",
        body=f"{_HOME}.body:ingest_metadata",
        checks=f"{_HOME}.outlook:CHECKS",
        plan=f"{_HOME}.outlook:plan",
        effects=Effects(network=True, idempotent=True, destructive=False),
        lock="stage",
    ),
)
