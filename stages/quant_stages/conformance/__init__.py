"""`seamless.conformance`: does what stands, or comes, conform to its schema and the rules."""

from __future__ import annotations

from quant_sdk import Effects, StageSpec

_HOME = "quant_stages.conformance"

STAGES = (
    StageSpec(
        id="seamless.conformance",
        category="seamless",
        tags=("conformance", "health", "reports"),
        title="Check a table, a snapshot or files, and compare with the last time",
        params=f"{_HOME}.params:ConformanceParams",
        result=f"{_HOME}.params:CheckResult",
        body=f"{_HOME}.body:check",
        checks=f"{_HOME}.checks:CHECKS",
        plan=f"{_HOME}.outlook:plan",
        rehearse=f"{_HOME}.outlook:rehearse",
        effects=Effects(network=False, idempotent=True, destructive=False),
        # It only reads; the reports of a node have a lock of their own.
        lock=None,
    ),
)
