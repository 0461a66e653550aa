"""Looking ahead: which venues would be asked; no network."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from quant_sdk import Check, Plan
from quant_stages.data.metadata.wanted import wanted

if TYPE_CHECKING:
    from quant_sdk import CheckContext, CheckStatus

Look = tuple["CheckStatus", str, str]


def plan(context: CheckContext) -> Plan:
    """Name the venues that would be asked; how much they tell is not known before."""
    found = wanted(context.workspace, context.params)
    digest = hashlib.sha256()
    for text in (*found.venues, *(each.symbol for each in found.candidates)):
        digest.update(f"{text}\0".encode())
    return Plan(
        steps=("read", "ask", "record"),
        candidates=len(found.candidates),
        inputs=digest.hexdigest(),
        notes=(f"venues: {', '.join(found.venues) or 'none'}",),
    )


def _candidates(context: CheckContext) -> Look:
    found = wanted(context.workspace, context.params)
    if not found.venues:
        return "warning", "no candidate names a venue, so there is nothing to do", "name venues"
    told = f"{len(found.candidates)} candidates of {', '.join(found.venues)}"
    return "passed", told, ""


CHECKS = (Check(name="candidates", look=_candidates),)
