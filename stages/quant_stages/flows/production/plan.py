"""What the gate would do."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from quant_sdk import Plan
from quant_sdk.lakehouse.lakehouse import Lakehouse
from quant_stages.flows.production.body import STEPS
from quant_stages.flows.production.subject import choose

if TYPE_CHECKING:
    from quant_sdk import CheckContext


def plan(context: CheckContext) -> Plan:
    """Name the candidates, and the state of the bars that they would be read from."""
    subject = choose(context.workspace, context.params)
    facts = Lakehouse(context.workspace).table("bars").facts()
    named = f"{subject.timeframe} {' '.join(subject.symbols)} bars {facts['version']}"
    return Plan(
        steps=STEPS,
        candidates=len(subject.symbols),
        files=facts["files"],
        inputs=hashlib.sha256(named.encode()).hexdigest(),
        notes=(f"returns of {subject.timeframe} for {context.workspace.display(subject.path)}",),
    )
