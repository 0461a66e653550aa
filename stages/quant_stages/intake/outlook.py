"""Looking ahead: what an intake would ask for, and whether it can begin."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from quant_sdk import Check, Plan, free_bytes
from quant_sdk.lakehouse.lakehouse import Lakehouse
from quant_sdk.lakehouse.symbols import split_symbol
from quant_sdk.seamless import Holes, Planner
from quant_sdk.sources.settings import read_source_settings
from quant_sdk.sources.venues import gives_bars

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from quant_sdk import CheckContext, CheckStatus, Workspace
    from quant_sdk.seamless import Shard, Wanted

Look = tuple["CheckStatus", str, str]

BYTES_PER_BAR = 60
"""On disk and in passing, generously: a bar in Parquet takes about 25."""


def planner(workspace: Workspace, now: datetime) -> Planner:
    """Return what plans from a workspace's lakehouse."""
    lakehouse = Lakehouse(workspace)
    holes = Holes(workspace.lakehouse, workspace.locks)
    return Planner(lakehouse, holes, lakehouse.calendars(), now)


def outlook(wanted: Iterable[Wanted], shards: Sequence[Shard], steps: tuple[str, ...]) -> Plan:
    """Return the plan of an intake: series, requests at least, bars."""
    bars = sum(shard.bars for shard in shards)
    digest = hashlib.sha256()
    for shard in shards:
        digest.update(f"{shard.id}\0{shard.wanted}\0".encode())
    return Plan(
        steps=steps,
        candidates=len({(item.symbol, item.timeframe) for item in wanted}),
        files=0,
        rows=bars,
        bytes=bars * BYTES_PER_BAR,
        inputs=digest.hexdigest(),
        notes=(f"{len(shards)} intervals are to be fetched",),
    )


def checks(
    look: Callable[[CheckContext], list[Wanted]],
    shards: Callable[[CheckContext], list[Shard]],
) -> tuple[Check, ...]:
    """Return the prerequisites of an intake.

    Args:
        look: the series that are wanted.
        shards: what is to be fetched of them.
    """

    def series(context: CheckContext) -> Look:
        found = look(context)
        if not found:
            return "warning", "no series is named, so there is nothing to do", "name some"
        return "passed", f"{len(found)} series", ""

    def sources(context: CheckContext) -> Look:
        settings = read_source_settings(context.workspace)
        venues = sorted({split_symbol(item.symbol)[0] for item in look(context)})
        unknown = [venue for venue in venues if not gives_bars(settings, venue)]
        told = f"{settings.market} market: {', '.join(venues)}"
        if unknown:
            fix = "name the exchange in quant.yml: sources.venues.VENUE.exchange"
            return "warning", f"{told}; no source gives bars of {', '.join(unknown)}", fix
        return "passed", told, ""

    def disk(context: CheckContext) -> Look:
        needed = BYTES_PER_BAR * sum(shard.bars for shard in shards(context))
        free = free_bytes(context.workspace)
        if free < needed:
            fix = f"free {needed - free} bytes, or move the workspace"
            return "failed", f"{needed} bytes to come, {free} free", fix
        return "passed", f"{needed} bytes to come, {free} free", ""

    return (
        Check(name="series", look=series),
        Check(name="sources", look=sources),
        Check(name="disk", look=disk),
    )


def rehearsal(shards: Sequence[Shard]) -> dict[str, Any]:
    """Return what a dry run says: the counts of what would be asked for, without asking."""
    return {
        "intervals": len(shards),
        "bars": sum(shard.bars for shard in shards),
        "series": len({(shard.symbol, shard.timeframe) for shard in shards}),
        "first": [shard.describe() for shard in shards[:20]],
    }
