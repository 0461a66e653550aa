"""An intake of the candidates: which of their bars are asked for is the one thing that differs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from quant_sdk.lakehouse.calendars import ALWAYS, calendar_name
from quant_sdk.lakehouse.symbols import split_symbol
from quant_sdk.seamless import InMemoryBackfillCoordinator
from quant_stages.intake.conclude import Asked, conclude, named
from quant_stages.intake.outlook import checks, outlook, planner, rehearsal
from quant_stages.intake.take_in import fetch_all
from quant_stages.intake.wanted import parted, wish

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from quant_sdk import Check, CheckContext, Plan, Run
    from quant_sdk.seamless import Planner, Shard, Wanted
    from quant_stages.intake.counts import IntakeResult
    from quant_stages.intake.outlook import Look
    from quant_stages.intake.params import CandidateParams
    from quant_stages.intake.wanted import Wish

STEPS = ("plan", "fetch")


@dataclass(frozen=True, slots=True)
class CandidateIntake:
    """The parts of a stage that fetches bars of candidates.

    Attributes:
        choose: returns the shards to fetch of the series that are wanted.
    """

    choose: Callable[[Planner, list[Wanted]], list[Shard]]

    def body(self, run: Run, params: CandidateParams) -> IntakeResult:
        """Fetch, check and publish what is chosen."""
        now = run.clock.now()
        with run.step("plan", phase="ingestion"):
            found = wish(run.workspace, params, now)
            series, skipped = parted(run.workspace, found.series)
            shards = self.choose(planner(run.workspace, now), series)
            run.report(candidate_count=len({item.symbol for item in found.series}))
        with run.step("fetch", phase="ingestion"):
            counts = fetch_all(run, shards, InMemoryBackfillCoordinator(), params, now)
        asked = Asked(
            series=series,
            shards=shards,
            now=now,
            strict=params.strict,
            skipped=skipped,
            unsourced=_unsourced(found.series, skipped),
            amiss=_amiss(found),
            odd=found.odd,
        )
        return conclude(run, counts, asked)

    def plan(self, context: CheckContext) -> Plan:
        """Count what a run would ask for."""
        return outlook(_series(context), self._shards(context), STEPS)

    def rehearse(self, context: CheckContext) -> dict[str, Any]:
        """Tell what a run would ask for, without asking."""
        return rehearsal(self._shards(context))

    def checks(self) -> tuple[Check, ...]:
        """Return the prerequisites."""
        series, *others = checks(_series, self._shards)
        return (replace(series, look=_named_series), *others)

    def _shards(self, context: CheckContext) -> list[Shard]:
        series, _ = parted(context.workspace, _series(context))
        return self.choose(planner(context.workspace, context.clock.now()), series)


def _wish(context: CheckContext) -> Wish:
    return wish(context.workspace, context.params, context.clock.now())


def _series(context: CheckContext) -> list[Wanted]:
    return _wish(context).series


def _named_series(context: CheckContext) -> Look:
    found = _wish(context)
    told = [*_amiss(found), *found.odd]
    if told:
        return "warning", "; ".join(told), "" if found.series else "mend the candidates"
    return "passed", f"{len(found.series)} series", ""


def _amiss(found: Wish) -> list[str]:
    """Return what keeps candidates from getting bars."""
    told = []
    if not found.series:
        told.append("the candidates ask for no series")
    if found.untimed:
        names = named(found.untimed)
        told.append(
            f"{len(found.untimed)} candidates name no timeframe: {names}; give one: --timeframes 1h"
        )
    return told


def _unsourced(series: Sequence[Wanted], skipped: Sequence[str]) -> list[Wanted]:
    """Return the series of venues that nobody knows.

    That currencies and shares come from no source of ours is known, and so no news.
    """
    unknown = {venue for venue in skipped if calendar_name(venue) == ALWAYS.name}
    return [item for item in series if split_symbol(item.symbol)[0] in unknown]
