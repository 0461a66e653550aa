"""`seamless.backfill`: the missing bars of a window, shard by shard."""

from __future__ import annotations

from quant_sdk import Effects, StageSpec

_HOME = "quant_stages.seamless"

STAGES = (
    StageSpec(
        id="seamless.backfill",
        category="seamless",
        tags=("bars", "backfill", "lakehouse"),
        title="Fill the missing bars of series in a window, shard by shard",
        params=f"{_HOME}.params:BackfillParams",
        result="quant_stages.intake.counts:IntakeResult",
        body=f"{_HOME}.backfill:backfill",
        checks=f"{_HOME}.backfill:CHECKS",
        plan=f"{_HOME}.backfill:plan",
        rehearse=f"{_HOME}.backfill:rehearse",
        effects=Effects(network=True, idempotent=True, destructive=False),
        lock=None,
    ),
)
