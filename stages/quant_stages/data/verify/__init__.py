"""`data.verify`: is what the candidates want there, fresh and accounted for."""

from __future__ import annotations

from quant_sdk import Effects, StageSpec

_HOME = "quant_stages.data.verify"

STAGES = (
    StageSpec(
        id="data.verify",
        category="data",
        tags=("bars", "lakehouse", "health"),
        title="Prove that every row is accounted for, and name every hole with its cause",
        params=f"{_HOME}.params:VerifyParams",
        result=f"{_HOME}.params:VerifyResult",
        body=f"{_HOME}.body:verify",
        effects=Effects(network=False, idempotent=True, destructive=False),
    ),
)
