"""`data.features`: today's technicals from the scanner, and history by TA-Lib from `bars`."""

from __future__ import annotations

from quant_sdk import Effects, StageSpec

_HOME = "quant_stages.data.features"

STAGES = (
    StageSpec(
        id="data.features",
        category="data",
        tags=("features", "technicals", "lakehouse"),
        title="Take in today's technicals, and compute the history of features from bars",
        params=f"{_HOME}.params:FeaturesParams",
        result=f"{_HOME}.params:FeaturesResult",
        body=f"{_HOME}.body:ingest_features",
        checks=f"{_HOME}.outlook:CHECKS",
        plan=f"{_HOME}.outlook:plan",
        rehearse=f"{_HOME}.outlook:rehearse",
        effects=Effects(network=True, idempotent=True, destructive=False),
        lock="stage",
    ),
)
