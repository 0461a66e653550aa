"""Reports made by hand, for tests of what keeps, compares and shows them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from quant_sdk.conformance.report import (
    ConformanceReport,
    RuleCount,
    SchemaFinding,
    SeriesRollup,
    verdict_of,
)

NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)
FINGERPRINT = "ab" * 32
RULES = {
    "timestamp_missing": "block",
    "off_grid": "block",
    "non_finite": "block",
    "return_spike": "warn",
    "volume_spike": "note",
}


def report_of(
    node: str = "table:bars",
    *,
    counts: dict[str, int] | None = None,
    series: tuple[SeriesRollup, ...] | None = None,
    findings: tuple[SchemaFinding, ...] = (),
    **fields: Any,
) -> ConformanceReport:
    """Return a report whose rules counted `counts`, all others nothing."""
    found = counts or {}
    rules = tuple(
        RuleCount(
            rule=name,
            severity=severity,
            count=found.get(name, 0),
            sample=({"symbol": "X:A", "row": 7, "close": 1.5},) if found.get(name) else (),
        )
        for name, severity in RULES.items()
    )
    quarantined = sum(rule.count for rule in rules if rule.severity == "block")
    return ConformanceReport(
        **{
            "node": node,
            "world": "",
            "start": None,
            "end": None,
            "as_of": None,
            "schema_id": "bars/1",
            "schema_fingerprint": FINGERPRINT,
            "preset": "strict-blocking",
            "mode": "blocking",
            "rows_in": 1000,
            "rows_out": 1000 - quarantined,
            "quarantined": quarantined,
            "identical_duplicates": 0,
            "rules": rules,
            "schema_findings": findings,
            "series": (series_of(),) if series is None else series,
            "daily": (),
            "verdict": verdict_of(rules, findings),
            **fields,
        }
    )


def series_of(symbol: str = "X:A", *, missing: int = 0, **fields: Any) -> SeriesRollup:
    """Return an hourly series of a thousand expected bars."""
    gaps = ({"start": "2024-01-02T00:00:00Z", "end": "2024-01-02T05:00:00Z", "missing": missing},)
    return SeriesRollup(
        **{
            "symbol": symbol,
            "timeframe": "1h",
            "calendar": "24x7",
            "first": "2024-01-01T00:00:00Z",
            "last": "2024-02-11T15:00:00Z",
            "expected": 1000,
            "present": 1000 - missing,
            "missing": missing,
            "gap_count": 1 if missing else 0,
            "gaps": gaps if missing else (),
            **fields,
        }
    )


def daily_of(
    symbols: list[str], days: int, hole: Any = None, timeframe: str = "1h", step: int = 1
) -> tuple:
    """Return full days of 24 bars; `hole` tells (present, flags) of a symbol's number and a day."""
    entries = []
    for at, symbol in enumerate(symbols):
        for day in range(0, days, step):
            present, flags = hole(at, day) if hole else (24, 0)
            entries.append(
                {
                    "symbol": symbol,
                    "timeframe": timeframe,
                    "day": str(date(2022, 1, 1) + timedelta(days=day)),
                    "days": step,
                    "expected": 24,
                    "present": present,
                    "flags": flags,
                }
            )
    return tuple(entries)


def changed(report: ConformanceReport, **fields: Any) -> ConformanceReport:
    """Return the report with other fields, and its own digest."""
    return replace(report, **fields, digest="")
