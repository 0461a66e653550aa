"""Prerequisites of production: what is not there is not made up for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quant_sdk import Check, read_status, records
from quant_sdk.lakehouse.lakehouse import Lakehouse
from quant_sdk.lakehouse.snapshot import find_snapshot, verify_snapshot
from quant_sdk.lakehouse.specs import TABLES
from quant_stages.flows.production.freshness import Held, examine
from quant_stages.flows.production.subject import REFRESH, choose

if TYPE_CHECKING:
    from quant_sdk import CheckContext, CheckStatus, Workspace

Look = tuple["CheckStatus", str, str]

CYCLE = "ops.flow_data"
MIGRATE = "for legacy data: make migrate"
_ALLOW = "or take it as it is with --allow-stale"
_NEWEST = 50
# Their status says how healthy the tables are; the latest one is believed.
_JUDGES = ("migration_status.json", "status/ops.flow_data.json", "status/data.verify.json")
_NOTHING = ("not_applicable", "there is no lakehouse to look at", "")


def _lakehouse(context: CheckContext) -> Look:
    bars = Lakehouse(context.workspace).table("bars")
    if not bars.exists():
        return "failed", "the lakehouse has no bars", f"{REFRESH}; {MIGRATE}"
    return "passed", f"bars at version {bars.version()}", ""


def _candidates(context: CheckContext) -> Look:
    subject = choose(context.workspace, context.params)
    path = context.workspace.display(subject.path)
    return "passed", f"{len(subject.symbols)} candidates of {path}, {subject.timeframe}", ""


def _cycle(context: CheckContext) -> Look:
    if not _has_bars(context.workspace):
        return _NOTHING  # type: ignore[return-value]
    status = read_status(context.workspace.lakehouse / "migration_status.json") or {}
    if status.get("phase") == "complete":
        return "passed", f"the migration {status['run_id']} is complete", ""
    finished = _finished_cycle(context.workspace)
    if finished is not None:
        return "passed", f"the cycle {finished} has finished", ""
    phase = f"the migration is at {status['phase']}" if status.get("phase") else "no migration"
    return "failed", f"{phase}, and no cycle has finished", f"{REFRESH}; {MIGRATE}"


def _finished_cycle(workspace: Workspace) -> str | None:
    """Return the newest cycle that succeeded since the tables came into being, or None."""
    made = Lakehouse(workspace).table("bars").delta().metadata().created_time or 0
    for record in records(workspace, CYCLE, limit=_NEWEST):
        if record.state == "succeeded" and _millis(record.finished_at) >= made:
            return record.run_id
    return None


def _millis(text: str | None) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp() * 1000 if text else 0.0


def _health(context: CheckContext) -> Look:
    judges = [_judgement(context.workspace, name) for name in _JUDGES]
    told = [status for status in judges if status]
    if not told:
        return "not_applicable", "nothing has judged the lakehouse yet", ""
    latest = max(told, key=lambda status: str(status.get("last_update")))
    said = f"{latest.get('stage_id')} found it {latest['health_check']}"
    if latest["health_check"] == "failed":
        return "failed", said, f"see: quant run show {latest['run_id']}; then {REFRESH}"
    if latest["health_check"] == "degraded":
        return "warning", said, f"see: quant run show {latest['run_id']}"
    return "passed", said, ""


def _judgement(workspace: Workspace, name: str) -> dict[str, Any] | None:
    status = read_status(workspace.lakehouse / name) or {}
    return status if status.get("health_check") in {"passed", "degraded", "failed"} else None


def _fresh(context: CheckContext) -> Look:
    if not _has_bars(context.workspace):
        return _NOTHING  # type: ignore[return-value]
    lakehouse, params = Lakehouse(context.workspace), context.params
    subject = choose(context.workspace, params)
    bars, now = lakehouse.table("bars"), context.clock.now()
    with bars.reading():
        held = Held.of(lakehouse, bars.scan(), subject.timeframe, now)
        found = examine(held, subject, params, now)
    if not found.held and not params.allow_stale:
        return "failed", f"no candidate has bars of {subject.timeframe}", subject.remedy
    if not found.stale:
        return "passed", found.describe_held(subject.timeframe), ""
    told = found.describe(subject.timeframe)
    if found.share <= params.max_stale_share:
        return "warning", told, subject.remedy
    if params.allow_stale:
        return "warning", f"STALE DATA IS ALLOWED: {told}", subject.remedy
    return "failed", told, f"{subject.remedy}, {_ALLOW}"


def _snapshot(context: CheckContext) -> Look:
    if not _has_bars(context.workspace):
        return _NOTHING  # type: ignore[return-value]
    lakehouse = Lakehouse(context.workspace)
    standing = find_snapshot(context.workspace, [lakehouse.table(name) for name in TABLES])
    if standing is None:
        return "passed", "one will be made", ""
    report = verify_snapshot(context.workspace, standing["id"])
    if not report["ok"]:
        return "failed", _damage(report), f"see: quant snapshot verify {standing['id']}"
    return "passed", f"{standing['id']} stands, {report['files']} files are whole", ""


def _damage(report: dict[str, Any]) -> str:
    """The live files of the lakehouse are the same: a snapshot is made of hard links."""
    problems = "; ".join(report["problems"][:3])
    return f"the snapshot {report['id']}, and so the lakehouse, is damaged: {problems}"


def _has_bars(workspace: Workspace) -> bool:
    return Lakehouse(workspace).table("bars").exists()


CHECKS = (
    Check(name="lakehouse", look=_lakehouse),
    Check(name="candidates", look=_candidates),
    Check(name="cycle", look=_cycle),
    Check(name="health", look=_health),
    Check(name="fresh", look=_fresh),
    Check(name="snapshot", look=_snapshot),
)
