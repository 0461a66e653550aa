"""An intake of the candidates: which of their bars are asked for is the one thing that differs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from quant_sdk.seamless import InMemoryBackfillCoordinator
from quant_stages.intake.conclude import conclude
from quant_stages.intake.outlook import checks, outlook, planner, rehearsal
from quant_stages.intake.take_in import fetch_all
from quant_stages.intake.wanted import parted, wanted

if TYPE_CHECKING:
    from collections.abc import Callable

    from quant_sdk import Check, CheckContext, Plan, Run
    from quant_sdk.seamless import Planner, Shard, Wanted
    from quant_stages.intake.counts import IntakeResult
    from quant_stages.intake.params import CandidateParams

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
            named = wanted(run.workspace, params, now)
            series, skipped = parted(run.workspace, named)
            shards = self.choose(planner(run.workspace, now), series)
            run.report(candidate_count=len({item.symbol for item in named}))
        with run.step("fetch", phase="ingestion"):
            counts = fetch_all(run, shards, InMemoryBackfillCoordinator(), params, now)
        counts.skipped = skipped
        return conclude(run, counts, shards, series=len(series), strict=params.strict)

    def plan(self, context: CheckContext) -> Plan:
        """Count what a run would ask for."""
        return outlook(_series(context), self._shards(context), STEPS)

    def rehearse(self, context: CheckContext) -> dict[str, Any]:
        """Tell what a run would ask for, without asking."""
        return rehearsal(self._shards(context))

    def checks(self) -> tuple[Check, ...]:
        """Return the prerequisites."""
        return checks(_series, self._shards)

    def _shards(self, context: CheckContext) -> list[Shard]:
        series, _ = parted(context.workspace, _series(context))
        return self.choose(planner(context.workspace, context.clock.now()), series)


def _series(context: CheckContext) -> list[Wanted]:
    return wanted(context.workspace, context.params, context.clock.now())
