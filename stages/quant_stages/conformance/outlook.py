"""Looking ahead: what a check would read, and the rehearsal that checks and keeps nothing."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from quant_sdk import Plan
from quant_sdk.lakehouse.lakehouse import Lakehouse
from quant_sdk.lakehouse.snapshot import list_snapshots
from quant_sdk.observability.regression import compare
from quant_sdk.observability.store import ReportStore
from quant_stages.conformance.looking import looker, pipeline_for, whole
from quant_stages.conformance.subject import DEFAULT_TABLE, subject_of

if TYPE_CHECKING:
    from pathlib import Path

    from quant_sdk import CheckContext

_STEPS = ("check", "report")


def plan(context: CheckContext) -> Plan:
    """Tell what would be read, from sizes and logs alone; a filter reads less."""
    params, workspace = context.params, context.workspace
    subject = subject_of(workspace, params)
    if subject.files:
        sizes = [(path, path.stat().st_size) for path in subject.files]
        return Plan(
            steps=_STEPS,
            files=len(sizes),
            bytes=sum(size for _, size in sizes),
            inputs=_digest(sizes),
        )
    name = params.table or DEFAULT_TABLE
    if params.snapshot is not None:
        found = next(item for item in list_snapshots(workspace) if item["id"] == params.snapshot)
        rows = sum(table["rows"] for table in found["tables"] if table["name"] == name)
        return Plan(steps=_STEPS, rows=rows, inputs=params.snapshot)
    facts = Lakehouse(workspace).table(name).facts()
    return Plan(
        steps=_STEPS,
        files=facts["files"],
        rows=facts["rows"],
        bytes=facts["bytes"],
        inputs=f"{name} version {facts['version']}",
    )


def rehearse(context: CheckContext) -> dict[str, Any]:
    """Check everything, and tell what a run would keep and answer."""
    params, workspace, now = context.params, context.workspace, context.clock.now()
    subject = subject_of(workspace, params)
    pipeline = pipeline_for(workspace, params, subject.kind)
    look = looker(pipeline, subject, params, now)
    with ThreadPoolExecutor(params.workers or os.cpu_count()) as pool:
        found = whole(pool.map(look, subject.pieces(params)))
    report = found.report
    last = next(iter(ReportStore(workspace).history(subject.node, 1)), None)
    regression = compare(None if last is None else last.report, report)
    return {
        "node": subject.node,
        "verdict": report.verdict,
        "blocked": found.stopped,
        "rows_in": report.rows_in,
        "rows_out": report.rows_out,
        "quarantined": report.quarantined,
        "identical_duplicates": report.identical_duplicates,
        "flagged": report.flagged,
        "series": len(report.series),
        "missing": sum(each.missing for each in report.series),
        "regression": {"outcome": regression.outcome, "counts": dict(regression.counts)},
        "digest": report.digest,
    }


def _digest(sizes: list[tuple[Path, int]]) -> str:
    digest = hashlib.sha256()
    for path, size in sizes:
        digest.update(f"{path.name}\0{size}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()
