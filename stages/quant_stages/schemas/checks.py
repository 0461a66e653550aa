"""Prerequisites of a promotion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quant_sdk import Check
from quant_sdk.schemas import FileSchemaRegistry
from quant_sdk.schemas.compatibility import breaking, compare
from quant_sdk.schemas.promotion import changed_since, lacking_approvals, lacking_canary
from quant_stages.schemas.subject import standing_now

if TYPE_CHECKING:
    from quant_sdk import CheckContext, CheckStatus
    from quant_sdk.schemas.promotion import Standing

_SHOWN = 3


def _standing(context: CheckContext) -> Standing:
    return standing_now(context.workspace, context.params, context.clock.now())


def _schema(context: CheckContext) -> tuple[CheckStatus, str, str]:
    found = _standing(context)
    if changed := changed_since(found):
        return "failed", changed, "see what changed: quant schema drift"
    mode = "strict already" if found.is_done else "in canary"
    return "passed", f"{found.schema.id} {found.schema.fingerprint[:12]} is {mode}", ""


def _approvals(context: CheckContext) -> tuple[CheckStatus, str, str]:
    found = _standing(context)
    if found.is_done:
        return "not_applicable", f"{found.schema.id} is strict already", ""
    if lacks := lacking_approvals(found):
        return "failed", lacks, f"quant schema approve {found.schema.id} --as NAME"
    names = ", ".join(each.approver for each in found.approvals)
    return "passed", f"approved by {names}", ""


def _canary(context: CheckContext) -> tuple[CheckStatus, str, str]:
    found = _standing(context)
    if found.is_done:
        return "not_applicable", f"{found.schema.id} is strict already", ""
    if lacks := lacking_canary(found, context.params.window):
        return "failed", lacks, "let its canary check responses: quant conformance run"
    shown = found.evidence
    return "passed", f"{shown.checks} clean checks on {shown.days} days", ""


def _compatibility(context: CheckContext) -> tuple[CheckStatus, str, str]:
    schema = _standing(context).schema
    registry = FileSchemaRegistry(context.workspace)
    before = registry.get(schema.name)
    changes = breaking(compare(before, schema))
    if not changes or before.version >= schema.version:
        return "passed", f"{schema.id} breaks nothing of {before.id}", ""
    told = "; ".join(change.detail for change in changes[:_SHOWN])
    return (
        "warning",
        f"{schema.id} breaks with {before.id}: {told}",
        f"see all of it: quant schema diff {before.id} {schema.id}",
    )


CHECKS = (
    Check(name="schema", look=_schema),
    Check(name="approvals", look=_approvals),
    Check(name="canary", look=_canary),
    Check(name="compatibility", look=_compatibility),
)
