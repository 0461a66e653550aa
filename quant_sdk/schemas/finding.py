"""What a check of a frame against a schema finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

Severity = Literal["note", "warn", "block"]

DRIFTED: Final = "schema_drifted"
"""The code of the finding that a schema is not what was approved."""


class AnyFinding(Protocol):
    """What has these four; the findings of `quant_sdk.conformance` do."""

    @property
    def code(self) -> str:
        """What kind of deviation it is."""

    @property
    def severity(self) -> Severity:
        """``block`` where a strict schema stops the response."""

    @property
    def column(self) -> str:
        """The column; empty for the frame as a whole."""

    @property
    def detail(self) -> str:
        """A sentence for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One deviation of a frame from a schema."""

    code: str
    severity: Severity
    column: str = ""
    detail: str = ""

    @classmethod
    def of(cls, found: AnyFinding) -> Finding:
        """Return `found` in this form."""
        return cls(
            code=found.code, severity=found.severity, column=found.column, detail=found.detail
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "code": self.code,
            "severity": self.severity,
            "column": self.column,
            "detail": self.detail,
        }
