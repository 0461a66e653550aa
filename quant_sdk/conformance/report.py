"""What a conformance check found: stable JSON with a digest; the same input gives the same digest.

Intervals are half-open ``[start, end)``; instants are ISO 8601 in UTC (``2024-01-01T00:00:00Z``).
This module loads no polars.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final, Literal

import orjson

from quant_registry.errors import Corrupted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SCHEMA: Final = "conformance/1"

Severity = Literal["note", "warn", "block"]
Verdict = Literal["pass", "warn", "block"]
Mode = Literal["blocking", "partial_ok", "shadow"]

FLAGS: Final = ("warn", "block")
"""The severities that count as flags."""
NULL: Final = "null_value"
"""The code of the finding that a required column has nulls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleCount:
    """How often one rule was broken: the exact count, and a bounded sample of rows (JSON)."""

    rule: str
    severity: Severity
    count: int
    sample: tuple[dict[str, Any], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return _plain(self)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> RuleCount:
        """Return what `to_dict` wrote."""
        return cls(**_frozen(found, "sample"))


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesRollup:
    """The completeness of one series on its calendar, and the state of its rows.

    ``first`` and ``last`` are the openings of the first and the last bar, both inclusive.
    ``expected == present - outside + missing``; ``verified_empty`` counts the missing ones of which
    a source says that there are none. ``behind`` counts the expected bars that have closed by
    ``as_of`` and come after the last one. ``gaps`` are bounded, the longest first; ``gap_count`` is
    the exact number.
    """

    symbol: str
    timeframe: str
    calendar: str
    first: str | None
    last: str | None
    expected: int
    present: int
    missing: int
    verified_empty: int = 0
    outside: int = 0
    misaligned: int = 0
    out_of_order: int = 0
    identical_duplicates: int = 0
    conflicting_duplicates: int = 0
    behind: int = 0
    gap_count: int = 0
    gaps: tuple[dict[str, Any], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return _plain(self)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> SeriesRollup:
        """Return what `to_dict` wrote."""
        return cls(**_frozen(found, "gaps"))


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaFinding:
    """How the frame departs from its canonical schema, a finding a column.

    Attributes:
        detail: one sentence; where rows differ, it is about one of them.
        count: the rows concerned: those that are refused, or, where the column as a whole is meant,
            all of them.
    """

    code: str
    severity: Severity
    column: str
    detail: str
    count: int = 1

    @property
    def told(self) -> str:
        """The detail with the rows concerned."""
        return f"{self.detail} ({self.count} {'row' if self.count == 1 else 'rows'})"

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return _plain(self)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> SchemaFinding:
        """Return what `to_dict` wrote."""
        return cls(**found)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConformanceReport:
    """The outcome of one check: ``rows_in == rows_out + quarantined + identical_duplicates``.

    Attributes:
        rules: every rule that was asked, those without a finding included.
        daily: ``symbol``, ``timeframe``, ``day``, ``days``, ``expected``, ``present``, ``flags``
            per series and day in UTC, bounded: an entry spans ``days`` days from ``day`` on.
        digest: the SHA-256 of everything else; computed when left empty.
    """

    node: str
    world: str
    start: str | None
    end: str | None
    as_of: str | None
    schema_id: str
    schema_fingerprint: str
    preset: str
    mode: Mode
    rows_in: int
    rows_out: int
    quarantined: int
    identical_duplicates: int
    rules: tuple[RuleCount, ...]
    schema_findings: tuple[SchemaFinding, ...]
    series: tuple[SeriesRollup, ...]
    daily: tuple[dict[str, Any], ...]
    verdict: Verdict
    digest: str = ""

    def __post_init__(self) -> None:
        if not self.digest:
            object.__setattr__(self, "digest", digest_of(self.to_dict()))

    @property
    def flags(self) -> int:
        """How many findings warn or block, of rules and of the schema."""
        return sum(self.flagged.values())

    @property
    def flagged(self) -> dict[str, int]:
        """The counts that make up `flags`, by rule or by the code of the schema finding."""
        counts = {
            each.rule: each.count for each in self.rules if each.severity in FLAGS and each.count
        }
        for finding in self.schema_findings:
            if finding.severity in FLAGS:
                counts[finding.code] = counts.get(finding.code, 0) + finding.count
        return counts

    @property
    def deviations(self) -> tuple[SchemaFinding, ...]:
        """The findings as a schema's governance judges them.

        A null in a required column blocks there, also where a rule refuses the row, so that here it
        is a note.
        """
        return tuple(
            replace(
                each,
                severity="block" if each.code == NULL else each.severity,
                detail=each.told,
            )
            for each in self.schema_findings
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, ``schema`` first."""
        return {"schema": SCHEMA, **_plain(self)}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> ConformanceReport:
        """Return what `to_dict` wrote.

        Raises:
            Corrupted: it is no report of this schema, or its digest is not that of its content.
        """
        digest = found.get("digest")
        if found.get("schema") != SCHEMA or digest != digest_of(found):
            raise Corrupted(
                f"this is no report of {SCHEMA}, or it was changed: its digest does not match",
                fix="run the check again",
                digest=digest,
            )
        parts = _frozen(found, "daily")
        del parts["schema"]
        parts["rules"] = tuple(map(RuleCount.from_dict, found["rules"]))
        parts["schema_findings"] = tuple(map(SchemaFinding.from_dict, found["schema_findings"]))
        parts["series"] = tuple(map(SeriesRollup.from_dict, found["series"]))
        return cls(**parts)


_PARTS: Final = (RuleCount, SeriesRollup, SchemaFinding)


def digest_of(report: Mapping[str, Any]) -> str:
    """Return the SHA-256 (hex) of a report's JSON form without its digest, keys sorted."""
    content = {key: value for key, value in report.items() if key != "digest"}
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()


def verdict_of(rules: Iterable[RuleCount], findings: Iterable[SchemaFinding]) -> Verdict:
    """Return the gravest that was found: ``block``, ``warn`` or ``pass``."""
    met = {each.severity for each in rules if each.count}
    met |= {each.severity for each in findings}
    return "block" if "block" in met else "warn" if "warn" in met else "pass"


def _plain(value: Any) -> dict[str, Any]:
    return {field.name: _json(getattr(value, field.name)) for field in fields(value)}


def _json(value: Any) -> Any:
    if isinstance(value, tuple):
        return [each.to_dict() if isinstance(each, _PARTS) else each for each in value]
    return value


def _frozen(found: Mapping[str, Any], *lists: str) -> dict[str, Any]:
    return {key: tuple(value) if key in lists else value for key, value in found.items()}
