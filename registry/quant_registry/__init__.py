"""What a stage is, how it is found, and everything around a run.

Importing this package loads nothing else; names resolve on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .audit import AuditLog
    from .audit_reader import ChainReport, tail, verify_chain
    from .checks import Check, CheckContext, CheckResult, Plan
    from .clock import Clock, SystemClock
    from .control import Directive
    from .errors import QuantError
    from .lock import LockView, view_lock
    from .record import RunRecord
    from .registry import StageRegistry
    from .request import RunRequest
    from .run import Commit, Run
    from .runner import run_stage
    from .spec import Effects, StageSpec
    from .status import read_status
    from .validate import Validation, validate_stage
    from .workspace import Workspace

_HOMES = {
    "AuditLog": "audit",
    "ChainReport": "audit_reader",
    "Check": "checks",
    "CheckContext": "checks",
    "CheckResult": "checks",
    "Clock": "clock",
    "Commit": "run",
    "Directive": "control",
    "Effects": "spec",
    "LockView": "lock",
    "Plan": "checks",
    "QuantError": "errors",
    "Run": "run",
    "RunRecord": "record",
    "RunRequest": "request",
    "StageRegistry": "registry",
    "StageSpec": "spec",
    "SystemClock": "clock",
    "Validation": "validate",
    "Workspace": "workspace",
    "read_status": "status",
    "run_stage": "runner",
    "tail": "audit_reader",
    "validate_stage": "validate",
    "verify_chain": "audit_reader",
    "view_lock": "lock",
}

__all__ = [
    "AuditLog",
    "ChainReport",
    "Check",
    "CheckContext",
    "CheckResult",
    "Clock",
    "Commit",
    "Directive",
    "Effects",
    "LockView",
    "Plan",
    "QuantError",
    "Run",
    "RunRecord",
    "RunRequest",
    "StageRegistry",
    "StageSpec",
    "SystemClock",
    "Validation",
    "Workspace",
    "read_status",
    "run_stage",
    "tail",
    "validate_stage",
    "verify_chain",
    "view_lock",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
