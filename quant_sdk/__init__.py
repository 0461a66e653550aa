"""The public face: `QuantSDK`, and what the author of a stage imports.

Importing this package loads neither polars, pyarrow, deltalake nor httpx, and builds no pydantic
model; names resolve on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

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

_HOMES = {
    "Check": "quant_registry.checks",
    "CheckContext": "quant_registry.checks",
    "CheckResult": "quant_registry.checks",
    "CheckStatus": "quant_registry.checks",
    "Commit": "quant_registry.run",
    "Effects": "quant_registry.spec",
    "Owner": "quant_registry.owner",
    "Plan": "quant_registry.checks",
    "QuantError": "quant_registry.errors",
    "QuantSDK": "quant_sdk.sdk",
    "Run": "quant_registry.run",
    "RunRecord": "quant_registry.record",
    "StageRegistry": "quant_registry.registry",
    "StageSpec": "quant_registry.spec",
    "Validation": "quant_registry.validate",
    "Workspace": "quant_registry.workspace",
    "free_bytes": "quant_registry.checks",
    "liveness": "quant_registry.owner",
    "next_actions": "quant_registry.status",
    "params_schema": "quant_registry.params",
    "read_schema": "quant_registry.schemas",
    "read_status": "quant_registry.status",
    "records": "quant_registry.record",
    "run_ids": "quant_registry.record",
    "schema_names": "quant_registry.schemas",
    "tail": "quant_registry.audit_reader",
    "verify_chain": "quant_registry.audit_reader",
}

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


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("quant-stage-sdk")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
