"""Step 5: snapshot the tables and answer with the counts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from quant_sdk.lakehouse.specs import TABLES
from quant_sdk.lakehouse.table import Table
from quant_stages.migration.params import (
    FailedSource,
    MigrationResult,
    RowCounts,
    SourceCounts,
)
from quant_stages.snapshots import standing_snapshot

if TYPE_CHECKING:
    from quant_sdk import Run
    from quant_stages.migration.state import Failure, Migration

NAME = "publish"
PHASE = "verification"

MOST_FAILURES = 50


def apply(run: Run, state: Migration) -> Migration:
    """Create a snapshot of this state of the tables, unless one stands; then ``complete``."""
    tables = [Table(run.workspace.lakehouse, spec) for spec in TABLES.values()]
    versions = {table.spec.name: table.version() for table in tables if table.exists()}
    snapshot, reused = standing_snapshot(run, tables)
    run.report(phase="complete")
    return replace(state, result=_result(state, versions, str(snapshot["id"]), reused=reused))


def _result(
    state: Migration, versions: dict[str, int], snapshot: str, *, reused: bool
) -> MigrationResult:
    entries = state.entries
    committed = any(entry.version >= 0 for entry in entries)
    files = len(state.discovered.files)
    failures = (*state.failures, *state.superseded)
    return MigrationResult(
        committed=committed,
        message=_message(state, committed=committed, reused=reused),
        health_check="degraded" if failures else "passed",
        candidates=len({file.symbol for file in state.discovered.files}),
        sources=SourceCounts(
            total=files,
            ingested=len(entries),
            unchanged=state.unchanged,
            failed=len(state.failures),
        ),
        rows=RowCounts(
            read=sum(entry.rows for entry in entries),
            bars=sum(entry.bars for entry in entries),
            corrected=sum(entry.corrected for entry in entries),
            unchanged=sum(entry.unchanged for entry in entries),
            identical_duplicates=sum(entry.identical_duplicates for entry in entries),
            quarantined=sum(entry.quarantined for entry in entries),
        ),
        bytes_read=state.bytes_read,
        table_versions=versions,
        content_hash=state.content_hash,
        snapshot=snapshot,
        failures=[_failed(failure) for failure in failures[:MOST_FAILURES]],
        reports=state.reports,
    )


def _failed(failure: Failure) -> FailedSource:
    error = failure.error
    return FailedSource(
        source=failure.source, code=error.code, message=error.message, fix=error.fix
    )


def _message(state: Migration, *, committed: bool, reused: bool) -> str:
    failed = f"; {len(state.failures)} failed" if state.failures else ""
    if state.superseded:
        failed += f"; {len(state.superseded)} left bars of an earlier declaration"
    if not committed:
        kept = "the snapshot stands" if reused else "a snapshot was made"
        return f"nothing to do: {state.unchanged} sources are unchanged, {kept}{failed}"
    rows = sum(entry.bars for entry in state.entries)
    refused = sum(entry.quarantined for entry in state.entries)
    told = f"; {refused} rows were refused" if refused else ""
    return f"{rows} bars from {len(state.entries)} sources are in the lakehouse{told}{failed}"
