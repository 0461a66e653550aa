"""Validation: what would a run meet, what would it do, and how likely is it to succeed.

`success_probability` is 0 when a blocking check fails. Otherwise it is the product of the factors
that rest on something:

- ``disk_headroom``: the share of the free space that stays free, ``(free - needed) / free``, where
  `needed` is the size of the inputs still to be read;
- ``readable_sources``: the share of inputs whose header could be read;
- ``history``: Laplace's rule of succession over this stage's latest runs that ended by themselves,
  ``(succeeded + 1) / (runs + 2)``; left out while there is none.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from .checks import COMMON, CheckContext, CheckResult, Plan, free_bytes, run_checks
from .clock import Clock, SystemClock
from .params import dump_model, resolve_params
from .record import records

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .spec import StageSpec
    from .workspace import Workspace

_HISTORY = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """One factor of the success probability, and what it rests on."""

    name: str
    value: float
    evidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """The answer of `validate_stage`; with `rehearsal`, of a dry run."""

    stage_id: str
    ok: bool
    checks: tuple[CheckResult, ...]
    plan: Plan
    success_probability: float
    factors: tuple[Factor, ...]
    plan_hash: str
    rehearsal: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the form answers carry."""
        return {
            "stage_id": self.stage_id,
            "ok": self.ok,
            "checks": [check.to_dict() for check in self.checks],
            "plan": self.plan.to_dict(),
            "plan_hash": self.plan_hash,
            "success_probability": self.success_probability,
            "factors": [
                {"name": item.name, "value": item.value, "evidence": item.evidence}
                for item in self.factors
            ],
            "rehearsal": self.rehearsal,
        }


def validate_stage(  # noqa: PLR0913 - clock and environment are seams
    workspace: Workspace,
    spec: StageSpec,
    given: Mapping[str, Any],
    *,
    rehearse: bool = False,
    clock: Clock | None = None,
    environ: Mapping[str, str] | None = None,
) -> Validation:
    """Check prerequisites and plan a run; with `rehearse`, read the sources too. Writes nothing.

    Raises:
        InvalidParams: the parameters do not fit the stage's model.
    """
    context = CheckContext(
        workspace=workspace,
        spec=spec,
        params=resolve_params(spec, given),
        clock=clock or SystemClock(),
        environ=os.environ if environ is None else environ,
    )
    checks = run_checks((*COMMON, *(spec.load("checks") or ())), context)
    ok = all(check.status != "failed" for check in checks)
    plan = make_plan(context) if ok else Plan()
    factors = _factors(context, plan)
    rehearsal = spec.load("rehearse") if ok and rehearse else None
    return Validation(
        stage_id=spec.id,
        ok=ok,
        checks=tuple(checks),
        plan=plan,
        success_probability=_product(factors) if ok else 0.0,
        factors=factors,
        plan_hash=hash_plan(context, plan) if ok else "",
        rehearsal=rehearsal(context) if rehearsal is not None else None,
    )


def make_plan(context: CheckContext) -> Plan:
    """Return what a run would do; an empty plan for a stage that declares none."""
    planner = context.spec.load("plan")
    plan: Plan = planner(context) if planner is not None else Plan()
    return plan


def hash_plan(context: CheckContext, plan: Plan) -> str:
    """Return the SHA-256 of stage, parameters and plan; times, shares and ETA are no part of it."""
    document = {
        "stage_id": context.spec.id,
        "stage_version": context.spec.version,
        "params": dump_model(context.params),
        "steps": plan.steps,
        "candidates": plan.candidates,
        "files": plan.files,
        "rows": plan.rows,
        "bytes": plan.bytes,
        "inputs": plan.inputs,
    }
    return hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _product(factors: tuple[Factor, ...]) -> float:
    product = 1.0
    for factor in factors:
        product *= factor.value
    return round(product, 4)


def _factors(context: CheckContext, plan: Plan) -> tuple[Factor, ...]:
    free = free_bytes(context.workspace)
    headroom = max(free - plan.bytes, 0) / free if free else 0.0
    factors = [
        Factor(
            name="disk_headroom",
            value=round(headroom, 4),
            evidence=f"{plan.bytes} bytes to read, {free} bytes free",
        )
    ]
    if plan.readable_share is not None:
        factors.append(
            Factor(
                name="readable_sources",
                value=round(plan.readable_share, 4),
                evidence=f"headers of {plan.files} files",
            )
        )
    ended = [
        record.state == "succeeded"
        for record in records(context.workspace, context.spec.id, limit=_HISTORY)
        if record.state in {"succeeded", "failed", "abandoned"}
    ]
    if ended:
        factors.append(
            Factor(
                name="history",
                value=round((sum(ended) + 1) / (len(ended) + 2), 4),
                evidence=f"{sum(ended)} of the last {len(ended)} runs succeeded",
            )
        )
    return tuple(factors)
