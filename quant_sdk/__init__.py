"""The public face: `QuantSDK`, and what the author of a stage imports.

Importing this package loads neither polars, pyarrow, deltalake nor httpx, and builds no pydantic
model; names resolve on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quant_registry.lazy import lazily

if TYPE_CHECKING:
    from quant_registry.audit_reader import tail, verify_chain
    from quant_registry.checks import (
        Check,
        CheckContext,
        CheckResult,
        CheckStatus,
        Plan,
        free_bytes,
    )
    from quant_registry.errors import QuantError
    from quant_registry.owner import Owner, liveness
    from quant_registry.params import params_schema
    from quant_registry.record import RunRecord, records, run_ids
    from quant_registry.registry import StageRegistry
    from quant_registry.run import Commit, Run
    from quant_registry.schemas import read_schema, schema_names
    from quant_registry.spec import Effects, StageSpec
    from quant_registry.status import next_actions, read_status
    from quant_registry.validate import Validation
    from quant_registry.workspace import Workspace
    from quant_sdk.sdk import QuantSDK

__all__ = [
    "Check",
    "CheckContext",
    "CheckResult",
    "CheckStatus",
    "Commit",
    "Effects",
    "Owner",
    "Plan",
    "QuantError",
    "QuantSDK",
    "Run",
    "RunRecord",
    "StageRegistry",
    "StageSpec",
    "Validation",
    "Workspace",
    "free_bytes",
    "liveness",
    "next_actions",
    "params_schema",
    "read_schema",
    "read_status",
    "records",
    "run_ids",
    "schema_names",
    "tail",
    "verify_chain",
]

_look_up, __dir__ = lazily(
    __name__,
    {
        "quant_registry.audit_reader": ("tail", "verify_chain"),
        "quant_registry.checks": (
            "Check",
            "CheckContext",
            "CheckResult",
            "CheckStatus",
            "Plan",
            "free_bytes",
        ),
        "quant_registry.errors": ("QuantError",),
        "quant_registry.owner": ("Owner", "liveness"),
        "quant_registry.params": ("params_schema",),
        "quant_registry.record": ("RunRecord", "records", "run_ids"),
        "quant_registry.registry": ("StageRegistry",),
        "quant_registry.run": ("Commit", "Run"),
        "quant_registry.schemas": ("read_schema", "schema_names"),
        "quant_registry.spec": ("Effects", "StageSpec"),
        "quant_registry.status": ("next_actions", "read_status"),
        "quant_registry.validate": ("Validation",),
        "quant_registry.workspace": ("Workspace",),
        "quant_sdk.sdk": ("QuantSDK",),
    },
)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("quant-stage-sdk")
    return _look_up(name)
