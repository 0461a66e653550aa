"""The migration: a visible tuple of steps, and one loop over it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quant_stages.migration import audit_profiles, discover, ingest, publish, verify
from quant_stages.migration.state import Migration

if TYPE_CHECKING:
    from quant_sdk import Run
    from quant_stages.migration.params import MigrationParams, MigrationResult

STEPS = (audit_profiles, discover, ingest, verify, publish)


def migrate(run: Run, params: MigrationParams) -> MigrationResult:
    """Move the legacy sources of a manifest into the lakehouse, and prove it."""
    state = Migration(params=params, manifest_path=run.workspace.root / params.manifest)
    run.report(health_check="pending")
    for step in STEPS:
        with run.step(step.NAME, phase=step.PHASE):
            state = step.apply(run, state)
    assert state.result is not None  # noqa: S101 - the last step sets it
    return state.result
