"""One report of several: the parts of a whole whose series are different ones.

`merge` is associative, and the order of the parts does not matter, so that parts can be checked in
any order, anywhere, and be merged two by two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from quant_registry.errors import InvalidInput
from quant_sdk.conformance import daily
from quant_sdk.conformance.quality import MOST_SAMPLED
from quant_sdk.conformance.report import (
    ConformanceReport,
    RuleCount,
    SchemaFinding,
    SeriesRollup,
    verdict_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

_SAME: Final = (
    "node",
    "world",
    "start",
    "end",
    "as_of",
    "schema_id",
    "schema_fingerprint",
    "preset",
    "mode",
)

_GRAVITY: Final = ("note", "warn", "block")


def merge(*reports: ConformanceReport) -> ConformanceReport:
    """Return the report of the union of the rows that `reports` are about.

    Rows in samples lose their place: it is one in their part.

    Raises:
        InvalidInput: there is none; they were made in different ways; or they share a series, whose
            gaps, duplicates and returns no report knows from end to end.
    """
    if not reports:
        raise InvalidInput("there is no report to merge", fix="give one at least")
    first = reports[0]
    for name in _SAME:
        if len({getattr(report, name) for report in reports}) > 1:
            raise InvalidInput(
                f"the reports differ in {name}", fix="merge reports of one check only"
            )
    rules = _rules(reports)
    findings = _findings(reports)
    return ConformanceReport(
        **{name: getattr(first, name) for name in _SAME},
        rows_in=sum(report.rows_in for report in reports),
        rows_out=sum(report.rows_out for report in reports),
        quarantined=sum(report.quarantined for report in reports),
        identical_duplicates=sum(report.identical_duplicates for report in reports),
        rules=rules,
        schema_findings=findings,
        series=_series(reports),
        daily=daily.joined(entry for report in reports for entry in report.daily),
        verdict=verdict_of(rules, findings),
    )


def _rules(reports: Iterable[ConformanceReport]) -> tuple[RuleCount, ...]:
    """Add up the counts of each rule, in the order in which they are asked."""
    found: dict[str, list[RuleCount]] = {}
    for report in reports:
        for each in report.rules:
            found.setdefault(each.rule, []).append(each)
    merged = [
        RuleCount(
            rule=rule,
            severity=max((part.severity for part in parts), key=_GRAVITY.index),
            count=sum(part.count for part in parts),
            sample=_sample([row for part in parts for row in part.sample]),
        )
        for rule, parts in found.items()
    ]
    # A rule that crashed stands last, wherever it did.
    return tuple(sorted(merged, key=lambda each: each.rule if _crashed(each) else ""))


def _crashed(count: RuleCount) -> bool:
    return any("error" in row for row in count.sample)


def _sample(rows: list[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    bare = [{name: value for name, value in row.items() if name != "row"} for row in rows]
    crashed = {str(row): row for row in bare if "error" in row}
    found = [*crashed.values(), *(row for row in bare if "error" not in row)]
    return tuple(sorted(found, key=_place)[:MOST_SAMPLED])


def _place(row: dict[str, Any]) -> tuple[Any, ...]:
    """Sort as in a single report: the worst series first, rows by series and time."""
    named = (row.get(name) for name in ("timeframe", "symbol", "ts"))
    return (
        -row.get("count", 0),
        *(part for value in named for part in (value is None, value or "")),
        str(row),
    )


def _findings(reports: Iterable[ConformanceReport]) -> tuple[SchemaFinding, ...]:
    """Add up the rows of each code and column; of the details the first by the alphabet stays."""
    found: dict[tuple[str, str], list[SchemaFinding]] = {}
    for report in reports:
        for each in report.schema_findings:
            found.setdefault((each.code, each.column), []).append(each)
    return tuple(
        SchemaFinding(
            code=code,
            column=column,
            severity=max((part.severity for part in parts), key=_GRAVITY.index),
            detail=min(part.detail for part in parts),
            count=sum(part.count for part in parts),
        )
        for (code, column), parts in sorted(found.items())
    )


def _series(reports: Iterable[ConformanceReport]) -> tuple[SeriesRollup, ...]:
    found: dict[tuple[str, str], SeriesRollup] = {}
    for report in reports:
        for each in report.series:
            key = (each.symbol, each.timeframe)
            if key in found:
                raise InvalidInput(
                    f"{' '.join(key).strip()} is in two of the reports",
                    fix="check a series as a whole: its gaps and duplicates cross any border",
                )
            found[key] = each
    return tuple(found[key] for key in sorted(found))
