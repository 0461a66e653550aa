"""Backfill: what is missing in a window, cut into shards on a grid, each published by itself.

One process works on all shards. The coordinator is the seam for more: it grants each shard to one
worker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quant_sdk.errors import InvalidInput
from quant_sdk.lakehouse.instants import instant
from quant_sdk.lakehouse.timeframe import Timeframe, to_micros
from quant_sdk.seamless import InMemoryBackfillCoordinator, Wanted
from quant_stages.intake.conclude import Asked, conclude
from quant_stages.intake.outlook import checks, outlook, planner, rehearsal
from quant_stages.intake.take_in import fetch_all

if TYPE_CHECKING:
    from datetime import datetime

    from quant_sdk import CheckContext, Plan, Run, Workspace
    from quant_sdk.seamless import Shard
    from quant_stages.intake.counts import IntakeResult
    from quant_stages.seamless.params import BackfillParams

STEPS = ("plan", "fetch")


def backfill(run: Run, params: BackfillParams) -> IntakeResult:
    """Fetch the missing bars of the window."""
    now = run.clock.now()
    with run.step("plan", phase="ingestion"):
        shards = _missing(run.workspace, params, now)
        run.report(candidate_count=len(params.symbols))
        run.emit(
            "backfill_planned",
            status="success",
            shards=len(shards),
            bars=sum(shard.bars for shard in shards),
        )
    with run.step("fetch", phase="ingestion"):
        coordinator = InMemoryBackfillCoordinator()
        counts = fetch_all(run, shards, coordinator, params, now)
        run.emit(
            "backfill_completed",
            status="success" if not coordinator.failed else "degraded",
            completion_ratio=coordinator.completion_ratio(),
        )
    asked = Asked(series=_wanted(params, now), shards=shards, now=now, strict=params.strict)
    return conclude(run, counts, asked)


def plan(context: CheckContext) -> Plan:
    """Count what a backfill would ask for."""
    return outlook(_wanted(context.params, context.clock.now()), _shards(context), STEPS)


def rehearse(context: CheckContext) -> dict[str, Any]:
    """Tell what a backfill would ask for, without asking."""
    return rehearsal(_shards(context))


def _missing(workspace: Workspace, params: BackfillParams, now: datetime) -> list[Shard]:
    return planner(workspace, now).gaps(_wanted(params, now), params.shard_bars)


def _wanted(params: BackfillParams, now: datetime) -> list[Wanted]:
    """Return the windows, on the grid.

    Raises:
        InvalidInput: a time cannot be read, or the window is empty.
    """
    step = Timeframe.parse(params.timeframe)
    first = instant(params.start, "start")
    last = instant(params.end, "end") if params.end else now
    start, end = to_micros(first), min(to_micros(last), to_micros(now))
    if start >= end:
        raise InvalidInput(
            f"the window [{params.start}, {params.end or 'now'}) is empty",
            fix="name an earlier --start or a later --end, and no time to come",
        )
    opening = step.open_of(step.slot_of(start - 1) + 1)
    return [
        Wanted(symbol=symbol, timeframe=step.text, start=opening, end=end)
        for symbol in params.symbols
    ]


def _shards(context: CheckContext) -> list[Shard]:
    return _missing(context.workspace, context.params, context.clock.now())


CHECKS = checks(lambda context: _wanted(context.params, context.clock.now()), _shards)
