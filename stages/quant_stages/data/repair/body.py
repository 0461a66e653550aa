"""Repair: every bar that the calendar expects and the lakehouse lacks, and no other.

What a source has vouched to be empty is not asked for again until that expires; what could not be
filled is named with its cause.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quant_sdk.seamless import InMemoryBackfillCoordinator
from quant_stages.intake.conclude import conclude
from quant_stages.intake.outlook import checks, outlook, planner, rehearsal
from quant_stages.intake.take_in import fetch_all
from quant_stages.intake.wanted import parted, wanted

if TYPE_CHECKING:
    from quant_sdk import CheckContext, Plan, Run
    from quant_sdk.seamless import Shard, Wanted
    from quant_stages.intake.counts import IntakeResult
    from quant_stages.intake.params import CandidateParams

STEPS = ("plan", "fetch")


def repair(run: Run, params: CandidateParams) -> IntakeResult:
    """Fetch the bars that are missing in the windows of the candidates."""
    now = run.clock.now()
    with run.step("plan", phase="ingestion"):
        named = wanted(run.workspace, params, now)
        series, skipped = parted(run.workspace, named)
        shards = planner(run.workspace, now).gaps(series)
        run.report(candidate_count=len({item.symbol for item in named}))
    with run.step("fetch", phase="ingestion"):
        counts = fetch_all(run, shards, InMemoryBackfillCoordinator(), params, now)
    counts.skipped = skipped
    return conclude(run, counts, shards, series=len(series), strict=params.strict)


def plan(context: CheckContext) -> Plan:
    """Count what a repair would ask for."""
    return outlook(_series(context), _shards(context), STEPS)


def rehearse(context: CheckContext) -> dict[str, Any]:
    """Tell what a repair would ask for, without asking."""
    return rehearsal(_shards(context))


def _series(context: CheckContext) -> list[Wanted]:
    return wanted(context.workspace, context.params, context.clock.now())


def _shards(context: CheckContext) -> list[Shard]:
    series, _ = parted(context.workspace, _series(context))
    return planner(context.workspace, context.clock.now()).gaps(series)


CHECKS = checks(_series, _shards)
