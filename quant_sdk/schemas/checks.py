"""What checks found: recorded in canary, as evidence for a promotion; in strict, what was stopped.

Clean checks of one schema and node are counted, and written at most once in `SECONDS`, so that
a provider that is read a thousand times a second does not fill the disk. A process that dies loses
at most the clean checks counted since; what failed is written at once.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from quant_registry.clock import iso, parse_iso
from quant_registry.errors import ConformanceError
from quant_sdk.schemas.journal import append_line, read_lines
from quant_sdk.schemas.schema import check_name
from quant_sdk.schemas.state import governance_dir

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from quant_registry.clock import Clock
    from quant_registry.workspace import Workspace
    from quant_sdk.schemas.finding import Finding

CHECK: Final = "schema_check/1"
SECONDS: Final = 60.0
_MOST: Final = 20
_SHOWN: Final = 3
_LONGEST: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What a check of one response found.

    Attributes:
        schema_id: such as ``bars/1``.
        fingerprint: of that schema.
        mode: of that schema, when it was checked.
        node: whose response it is.
        rows: of the response.
        findings: all of them.
    """

    schema_id: str
    fingerprint: str
    mode: Literal["canary", "strict"]
    node: str
    rows: int
    findings: tuple[Finding, ...]

    @property
    def blocking(self) -> tuple[Finding, ...]:
        """The findings that a strict schema stops a response for."""
        return tuple(each for each in self.findings if each.severity == "block")

    @property
    def passed(self) -> bool:
        """Whether nothing blocks."""
        return not self.blocking

    @property
    def stopped(self) -> bool:
        """Whether the response is stopped."""
        return self.mode == "strict" and not self.passed

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; findings are bounded, `count` is exact."""
        shown = sorted(self.findings, key=lambda each: each.severity != "block")[:_MOST]
        return {
            "schema_id": self.schema_id,
            "fingerprint": self.fingerprint,
            "mode": self.mode,
            "node": self.node,
            "rows": self.rows,
            "passed": self.passed,
            "count": len(self.findings),
            "findings": [{**each.to_dict(), "detail": each.detail[:_LONGEST]} for each in shown],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A line of the log: one check that failed, or clean ones counted together."""

    at: datetime
    fingerprint: str
    mode: str
    node: str
    checks: int
    rows: int
    passed: bool


class CheckLog:
    """Records diagnoses; safe to use from several threads at once."""

    def __init__(self, workspace: Workspace, clock: Clock) -> None:
        self._workspace = workspace
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: dict[tuple[str, ...], tuple[Diagnosis, int, int]] = {}
        self._written: dict[tuple[str, ...], float] = {}

    def record(self, diagnosis: Diagnosis) -> None:
        """Write a diagnosis down; in strict only one that stops a response.

        A clean check of no rows shows nothing.
        """
        if diagnosis.passed and (diagnosis.mode == "strict" or not diagnosis.rows):
            return
        if not diagnosis.passed:
            self._write(diagnosis, checks=1, rows=diagnosis.rows)
            return
        key = (diagnosis.schema_id, diagnosis.fingerprint, diagnosis.node)
        with self._lock:
            _, checks, rows = self._waiting.get(key, (diagnosis, 0, 0))
            now = self._clock.monotonic()
            last = self._written.get(key)
            if last is not None and now - last < SECONDS:
                self._waiting[key] = (diagnosis, checks + 1, rows + diagnosis.rows)
                return
            self._waiting.pop(key, None)
            self._written[key] = now
        self._write(diagnosis, checks=checks + 1, rows=rows + diagnosis.rows)

    def flush(self) -> None:
        """Write down what is counted and not yet written."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        for diagnosis, checks, rows in waiting.values():
            self._write(diagnosis, checks=checks, rows=rows)

    def _write(self, diagnosis: Diagnosis, *, checks: int, rows: int) -> None:
        name, _, version = diagnosis.schema_id.partition("/")
        line = {
            "schema": CHECK,
            "at": iso(self._clock.now()),
            "name": name,
            "version": int(version),
            "checks": checks,
            **diagnosis.to_dict(),
            "rows": rows,
        }
        append_line(check_file(self._workspace, name, int(version)), line)


def blocked(diagnosis: Diagnosis) -> ConformanceError:
    """Return the error that stops a response; ``findings`` has all of them."""
    told = [f"{each.column or 'frame'}: {each.detail}" for each in diagnosis.blocking]
    more = "" if len(told) <= _SHOWN else f" and {len(told) - _SHOWN} more"
    return ConformanceError(
        f"the response of {diagnosis.node} deviates from {diagnosis.schema_id}: "
        f"{'; '.join(told[:_SHOWN])}{more}",
        fix=f"see what is asked: quant schema show {diagnosis.schema_id}",
        schema=diagnosis.schema_id,
        fingerprint=diagnosis.fingerprint,
        findings=diagnosis.findings,
    )


def check_file(workspace: Workspace, name: str, version: int) -> Path:
    """The file of the checks of a version."""
    return governance_dir(workspace) / check_name(name) / f"checks-{version}.jsonl"


def recorded(workspace: Workspace, name: str, version: int) -> Iterator[Recorded]:
    """Yield what checks of a version found, in the order in which it was written."""
    for line in read_lines(check_file(workspace, name, version)):
        try:
            yield Recorded(
                at=parse_iso(line["at"]),
                fingerprint=str(line["fingerprint"]),
                mode=str(line["mode"]),
                node=str(line["node"]),
                checks=int(line["checks"]),
                rows=int(line["rows"]),
                passed=line["passed"] is True,
            )
        except (KeyError, TypeError, ValueError):
            continue
