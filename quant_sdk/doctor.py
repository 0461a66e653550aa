"""The doctor: looks at a workspace from every side, and says what to do about what it finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from quant_sdk import probes

if TYPE_CHECKING:
    from collections.abc import Callable

    from quant_sdk.probes import Finding, Patient

Status = Literal["ok", "warn", "fail", "not_applicable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What one probe found; only ``fail`` asks for a person."""

    name: str
    status: Status
    message: str
    fix: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the form answers carry."""
        return {
            "name": self.name,
            "status": self.status,
            "message": self.message,
            "fix": self.fix,
        }


PROBES: tuple[tuple[str, Callable[[Patient], Finding]], ...] = (
    ("workspace", probes.workspace),
    ("disk", probes.disk),
    ("clock", probes.clock),
    ("locks", probes.locks),
    ("abandoned", probes.abandoned),
    ("audit", probes.audit),
    ("control", probes.control),
    ("settings", probes.settings),
    ("tables", probes.tables),
    ("leftovers", probes.leftovers),
)


def examine(patient: Patient) -> list[Diagnosis]:
    """Ask every probe; one that crashes has failed, and says how."""
    return [_ask(name, probe, patient) for name, probe in PROBES]


def _ask(name: str, probe: Callable[[Patient], Finding], patient: Patient) -> Diagnosis:
    try:
        status, message, fix = probe(patient)
    except Exception as error:  # noqa: BLE001 - what breaks a probe is a finding
        message = getattr(error, "message", None) or str(error)
        return Diagnosis(
            name=name,
            status="fail",
            message=f"the probe met {type(error).__name__}: {message}",
            fix=getattr(error, "fix", "") or "see what stands in its way, then ask again",
        )
    return Diagnosis(name=name, status=status, message=message, fix=fix)
