"""Prerequisites of the cycle: its own, and those of the steps that begin it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from quant_sdk import Check
from quant_stages.data.discover import checks as discovery
from quant_stages.data.discover.params import DiscoverParams
from quant_stages.data.ingest.body import CHECKS as INTAKE
from quant_stages.flows.cycle.body import STEPS, chosen
from quant_stages.intake.params import CandidateParams

if TYPE_CHECKING:
    from collections.abc import Callable

    from quant_sdk import CheckContext, CheckStatus
    from quant_stages.flows.cycle.params import CycleParams

    Look = tuple[CheckStatus, str, str]

_ABOUT_CANDIDATES = ("series", "sources")
"""Checks of an intake that need candidates: before a discovery there are none."""


def _steps(context: CheckContext) -> Look:
    known = [step.stage_id for step in STEPS]
    unknown = sorted(set(context.params.skip) - set(known))
    if unknown:
        fix = f"the steps are {', '.join(known)}"
        return "failed", f"{', '.join(unknown)} is no step of the cycle", fix
    return "passed", f"{len(chosen(context.params))} steps", ""


def _of_discovery(check: Check) -> Callable[[CheckContext], Look]:
    def look(context: CheckContext) -> Look:
        params: CycleParams = context.params
        if not _discovers(params):
            return "not_applicable", "nothing is discovered", ""
        own = DiscoverParams(manifest=params.manifest, profiles=params.profiles)
        return check.look(replace(context, params=own))

    return look


def _of_intake(check: Check) -> Callable[[CheckContext], Look]:
    def look(context: CheckContext) -> Look:
        params: CycleParams = context.params
        if _discovers(params):
            return "not_applicable", "the candidates are discovered first", ""
        return check.look(replace(context, params=CandidateParams(candidates=params.candidates)))

    return look


def _discovers(params: CycleParams) -> bool:
    return any(step.stage_id == "data.discover" for step in chosen(params))


CHECKS = (
    Check(name="steps", look=_steps),
    *(replace(check, look=_of_discovery(check)) for check in discovery.CHECKS),
    *(
        replace(check, name=f"candidates_{check.name}", look=_of_intake(check))
        for check in INTAKE
        if check.name in _ABOUT_CANDIDATES
    ),
)
