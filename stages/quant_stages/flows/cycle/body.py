"""The cycle: a visible tuple of stages, and one loop over it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from quant_sdk import Plan
from quant_sdk.errors import QuantError, RunCancelled, SourceError, error_of
from quant_stages.flows.cycle.params import CycleResult, StepResult

if TYPE_CHECKING:
    from quant_sdk import CheckContext, Run, RunRecord
    from quant_stages.flows.cycle.params import CycleParams


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A stage of the cycle.

    Attributes:
        stage_id: the stage.
        phase: the phase of the cycle's status meanwhile.
        needed: the cycle ends where it fails; without it the rest goes on, degraded.
        takes: which of the cycle's facts it gets as parameters.
    """

    stage_id: str
    phase: str
    needed: bool
    takes: tuple[str, ...] = ("candidates",)


STEPS = (
    Step(stage_id="data.discover", phase="ingestion", needed=True, takes=("manifest", "profiles")),
    Step(stage_id="data.ingest", phase="ingestion", needed=True),
    Step(stage_id="data.repair", phase="ingestion", needed=False),
    Step(stage_id="data.metadata", phase="ingestion", needed=False),
    Step(stage_id="data.features", phase="ingestion", needed=False),
    Step(stage_id="lakehouse.optimize", phase="ingestion", needed=False, takes=()),
    Step(stage_id="data.verify", phase="verification", needed=True),
    Step(stage_id="data.snapshot", phase="verification", needed=True, takes=()),
)


@dataclass(slots=True)
class _Cycle:
    """What is known after some steps."""

    facts: dict[str, Any]
    steps: list[StepResult] = field(default_factory=list)
    degraded: list[str] = field(default_factory=list)
    snapshot: str = ""


def cycle(run: Run, params: CycleParams) -> CycleResult:
    """Run the stages of the cycle one after another, each as a child of this run.

    Raises:
        QuantError: a step that the rest needs did not succeed; or any, and the run is strict. It is
            of the kind of the step's own error.
        SourceError: a step degraded, and the run is strict.
    """
    known = _Cycle(facts={"manifest": params.manifest, "profiles": params.profiles})
    known.facts["candidates"] = params.candidates
    run.report(health_check="pending")
    for step in chosen(params):
        with run.step(step.stage_id, phase=step.phase):
            _take(run, step, known, needed=step.needed or params.strict)
    if known.degraded and params.strict:
        raise SourceError(
            f"degraded: {', '.join(known.degraded)}", fix="see the runs of these stages"
        )
    health = "degraded" if known.degraded else "passed"
    run.report(phase="complete", health_check=health)
    return CycleResult(
        message=_message(known),
        health_check="degraded" if known.degraded else "passed",
        candidates=known.facts["candidates"],
        snapshot=known.snapshot,
        steps=known.steps,
    )


def plan(context: CheckContext) -> Plan:
    """Name the steps."""
    return Plan(steps=tuple(step.stage_id for step in chosen(context.params)))


def chosen(params: CycleParams) -> list[Step]:
    """Return the steps that are taken."""
    skip = {*params.skip, *(("data.discover",) if params.candidates else ())}
    return [step for step in STEPS if step.stage_id not in skip]


def _take(run: Run, step: Step, known: _Cycle, *, needed: bool) -> None:
    """Run the stage of one step; what is not needed may fail, and degrades the cycle."""
    try:
        child = run.run_stage(step.stage_id, {name: known.facts[name] for name in step.takes})
    except RunCancelled:
        raise
    except QuantError as error:  # it did not even start
        if needed:
            raise
        known.degraded.append(step.stage_id)
        known.steps.append(
            StepResult(stage_id=step.stage_id, run_id="", state="refused", message=error.message)
        )
        return
    _note(known, step, child)
    if child.state != "succeeded" and needed:
        raise _failed(step, child)


def _note(known: _Cycle, step: Step, child: RunRecord) -> None:
    """Keep what a step answered."""
    result = child.result or {}
    if child.state != "succeeded" or _is_degraded(result):
        known.degraded.append(step.stage_id)
    if step.stage_id == "data.discover" and result.get("candidates"):
        known.facts["candidates"] = result["candidates"]
    known.snapshot = result.get("snapshot", known.snapshot) or known.snapshot
    error = child.error or {}
    known.steps.append(
        StepResult(
            stage_id=step.stage_id,
            run_id=child.run_id,
            state=child.state,
            message=str(error.get("message") or result.get("message") or ""),
        )
    )


def _is_degraded(result: dict[str, Any]) -> bool:
    return result.get("health_check") == "degraded" or bool(result.get("degraded"))


def _failed(step: Step, child: RunRecord) -> QuantError:
    """Return the error of a step as the cycle's: what was retryable stays so, and no more."""
    error = child.error or {}
    return error_of(
        str(error.get("code", "")),
        f"{step.stage_id} {child.state}: {error.get('message', 'it gave no reason')}",
        fix=str(error.get("fix") or f"quant explain {child.run_id}"),
        child_run_id=child.run_id,
    )


def _message(known: _Cycle) -> str:
    if known.degraded:
        return f"the cycle is complete, degraded by {', '.join(known.degraded)}"
    return "the cycle is complete"
