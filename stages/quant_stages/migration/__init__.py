"""`ops.migration.dataops_v2`: legacy bars, moved into the lakehouse and proven to be there."""

from __future__ import annotations

from quant_sdk import Effects, StageSpec

STAGES = (
    StageSpec(
        id="ops.migration.dataops_v2",
        category="ops",
        tags=("migration", "lakehouse"),
        version="2.0",
        title="Move the legacy pipelines into the lakehouse",
        params="quant_stages.migration.params:MigrationParams",
        result="quant_stages.migration.params:MigrationResult",
        body="quant_stages.migration.body:migrate",
        checks="quant_stages.migration.checks:CHECKS",
        plan="quant_stages.migration.plan:plan",
        rehearse="quant_stages.migration.plan:rehearse",
        effects=Effects(network=False, idempotent=True, destructive=False),
        lock="stage",
        status_file="migration_status.json",
    ),
)
