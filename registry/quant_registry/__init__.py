"""What a stage is, how it is found, and everything around a run.

Importing this package loads nothing heavy; names resolve on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .lazy import lazily

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

__getattr__, __dir__ = lazily(
    __name__,
    {
        ".audit": ("AuditLog",),
        ".audit_reader": ("ChainReport", "tail", "verify_chain"),
        ".checks": ("Check", "CheckContext", "CheckResult", "Plan"),
        ".clock": ("Clock", "SystemClock"),
        ".control": ("Directive",),
        ".errors": ("QuantError",),
        ".lock": ("LockView", "view_lock"),
        ".record": ("RunRecord",),
        ".registry": ("StageRegistry",),
        ".request": ("RunRequest",),
        ".run": ("Commit", "Run"),
        ".runner": ("run_stage",),
        ".spec": ("Effects", "StageSpec"),
        ".status": ("read_status",),
        ".validate": ("Validation", "validate_stage"),
        ".workspace": ("Workspace",),
    },
)
