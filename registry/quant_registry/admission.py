"""Admission: what a request must pass before anything is started."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import params as stage_params
from .checks import COMMON, CheckContext, run_checks
from .errors import PlanDrifted, PrerequisitesNotMet
from .idempotency import IdempotencyKey
from .ids import check_label
from .owner import Owner, liveness
from .record import params_digest
from .validate import hash_plan, make_plan

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import ExitStack

    from .clock import Clock
    from .lifecycle import Lifecycle
    from .lock import StageLock
    from .record import RunRecord
    from .request import RunRequest
    from .spec import StageSpec
    from .workspace import Workspace


@dataclass(slots=True, kw_only=True)
class Attempt:
    """The way of one request through the steps; each step fills its part."""

    workspace: Workspace
    spec: StageSpec
    request: RunRequest
    clock: Clock
    environ: Mapping[str, str]
    run_id: str
    undo: ExitStack
    key_held: ExitStack
    owner: Owner
    params: Any = None
    digest: str = ""
    attached: RunRecord | None = None
    lock: StageLock | None = None
    lock_id: str | None = None
    continued: RunRecord | None = None
    life: Lifecycle | None = None
    result: dict[str, Any] | None = None
    error: BaseException | None = None
    record: RunRecord | None = None


def resolve_params(attempt: Attempt) -> None:
    """Fill the stage's params model."""
    if attempt.request.lock_id is not None:
        check_label(attempt.request.lock_id, "lock id")
    attempt.params = stage_params.resolve_params(attempt.spec, attempt.request.params)
    attempt.digest = params_digest(stage_params.dump_model(attempt.params))


def honour_key(attempt: Attempt) -> None:
    """Attach to the run that the key stands for, or continue it; held until ours is recorded."""
    text = attempt.request.idempotency_key
    if text is None:
        return
    key = IdempotencyKey(attempt.workspace, attempt.spec.id, text)
    attempt.key_held.enter_context(key.held())
    bound = key.bound_run(attempt.digest)
    if bound is not None and (bound.state == "succeeded" or _is_live(bound)):
        attempt.attached = bound
        return
    attempt.continued = bound
    attempt.key_held.callback(lambda: _bind(key, attempt))


def _bind(key: IdempotencyKey, attempt: Attempt) -> None:
    if attempt.record is not None:
        key.bind(attempt.record.run_id, attempt.digest)


def _is_live(record: RunRecord) -> bool:
    return not record.is_terminal and liveness(Owner.from_dict(record.owner))[0] != "dead"


def check_prerequisites(attempt: Attempt) -> None:
    """Run the checks, and compare the plan with the one that was validated."""
    if attempt.request.run_id is not None:
        return  # checked before it was queued
    context = CheckContext(
        workspace=attempt.workspace,
        spec=attempt.spec,
        params=attempt.params,
        clock=attempt.clock,
        environ=attempt.environ,
    )
    results = run_checks((*COMMON, *(attempt.spec.load("checks") or ())), context)
    failed = [result for result in results if result.status == "failed"]
    if failed:
        said: dict[str, list[str]] = {}
        for result in failed:
            said.setdefault(result.detail, []).append(result.name)
        raise PrerequisitesNotMet(
            "; ".join(f"{', '.join(names)}: {detail}" for detail, names in said.items()),
            fix="; ".join(dict.fromkeys(result.fix for result in failed if result.fix)),
            checks=[result.to_dict() for result in results],
        )
    _compare_plan(attempt, context)


def _compare_plan(attempt: Attempt, context: CheckContext) -> None:
    expected = attempt.request.plan_hash
    if expected is not None and hash_plan(context, make_plan(context)) != expected:
        raise PlanDrifted(
            f"what {attempt.spec.id} would do is no longer what was validated",
            fix=f"look at the plan again: quant stage validate {attempt.spec.id}",
        )
