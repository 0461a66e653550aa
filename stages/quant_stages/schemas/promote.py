"""`schema.promote`: a schema leaves the canary, with two approvals and a clean window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quant_sdk import Plan, QuantSDK, tail
from quant_sdk.schemas import FileSchemaRegistry
from quant_sdk.schemas.forgotten import PROMOTED
from quant_sdk.schemas.governance import PAGE
from quant_sdk.schemas.promotion import batch_of, promote, require
from quant_stages.schemas.params import PromoteResult
from quant_stages.schemas.subject import standing_now

if TYPE_CHECKING:
    from quant_sdk import CheckContext, Run
    from quant_sdk.schemas.promotion import Standing
    from quant_sdk.schemas.state import State
    from quant_stages.schemas.params import PromoteParams


def promote_schema(run: Run, params: PromoteParams) -> PromoteResult:
    """Make a schema strict; where it is already, do nothing.

    Raises:
        PrerequisitesNotMet: approvals of two people beside the promoter are missing, or the canary
            has not been clean for long enough.
    """
    registry = FileSchemaRegistry(run.workspace)
    with run.step("promote"):
        found = standing_now(run.workspace, params, run.clock.now())
        report = run.write_report("promotion", found.to_dict())
        if found.is_done and found.strict is not None:
            _tell(run, found, found.strict)
            return _result(found.strict, report, committed=False)
        promoter = QuantSDK(run.workspace.root).run(run.run_id).actor
        require(found, params.window, promoter)
        state = run.commit(
            lambda commit: promote(
                registry,
                run.workspace,
                found,
                promoter=promoter,
                commit=commit,
                now=run.clock.now(),
            ),
            batch_id=batch_of(found),
            event=PROMOTED,
            describe=lambda state: {"status": "success", **_facts(found, state)},
        )
    return _result(state, report, committed=True)


def plan(context: CheckContext) -> Plan:
    """Return what would become strict; another content or approval is another plan."""
    found = standing_now(context.workspace, context.params, context.clock.now())
    return Plan(steps=("promote",), inputs=batch_of(found))


def rehearse(context: CheckContext) -> dict[str, Any]:
    """Tell where the schema stands."""
    return standing_now(context.workspace, context.params, context.clock.now()).to_dict()


def _tell(run: Run, found: Standing, state: State) -> None:
    """Record the event of a promotion whose run died between its last file and the event."""
    events = (event for event in tail(run.workspace.audit) if event["event"] == PROMOTED)
    if not any(state.run_id in {event["run_id"], event.get("promoted_in")} for event in events):
        facts = {**_facts(found, state), "promoted_in": state.run_id}
        run.emit(PROMOTED, durable=True, status="success", **facts)


def _facts(found: Standing, state: State) -> dict[str, Any]:
    return {
        "schema_id": state.id,
        "fingerprint": state.fingerprint,
        "bundle": state.bundle,
        "approvers": list(state.approvers),
        "promoted_by": state.promoted_by,
        "canary_checks": found.evidence.checks,
        "canary_days": found.evidence.days,
    }


def _result(state: State, report: str, *, committed: bool) -> PromoteResult:
    told = f"{state.id} is strict, approved by {', '.join(state.approvers)}"
    return PromoteResult(
        message=told if committed else f"nothing to do: {told}",
        committed=committed,
        schema_id=state.id,
        fingerprint=state.fingerprint,
        bundle=state.bundle,
        approvers=list(state.approvers),
        promoted_by=state.promoted_by,
        promoted_at=state.promoted_at,
        entry=PAGE.as_posix(),
        report=report,
    )
