"""Two reports of one node, compared: what is better, worse, new and gone.

Exact counts are compared, not shares: a flag that was not there makes a report worse, however many
good rows came with it. What makes it worse, so that a gate may refuse it:

- a rule or schema finding that flags (``warn``, ``block``) is ``new``, or counts more rows; a
  warning about a column as a whole is no more with more rows;
- a series lacks more bars than before, those that a source says are not there left out;
- a series is ``gone``, or it begins later or ends earlier although the window is the same.

Notes, staleness and new series are told, and make nothing worse.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from quant_sdk.conformance.report import FLAGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from quant_sdk.conformance.report import ConformanceReport, SeriesRollup

Trend = Literal["better", "worse", "new", "gone"]
Effect = Literal["worse", "better", "none"]
Measure = Literal["rule", "schema", "missing", "behind", "series", "first", "last"]
Outcome = Literal["first", "same", "better", "worse", "mixed"]
_Counts = dict[str, tuple[int, bool]]  # by name: how many, and whether they flag

MEASURES: Final[dict[Measure, str]] = {
    "rule": "rule",
    "schema": "schema finding",
    "missing": "missing bars",
    "behind": "bars behind",
    "series": "series, its bars",
    "first": "first bar",
    "last": "last bar",
}
"""What is compared, in words."""

MOST_CHANGES: Final = 200
"""So many changes are kept, those that make it worse first; the counts are exact."""

_COMPARED: Final = ("world", "start", "end", "preset", "mode", "schema_id", "schema_fingerprint")
_ORDER: Final = ("worse", "better", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that is not as it was.

    ``name`` is a rule, a schema finding, or a series. ``trend`` says what it did, ``effect`` what
    that makes of the report: a note that is ``new`` makes it neither better nor worse.
    """

    measure: Measure
    name: str
    trend: Trend
    before: int | str | None
    after: int | str | None
    effect: Effect

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Regression:
    """How a report compares with an earlier one of its node.

    ``before`` and ``after`` are digests; ``before`` is None for a node's first report. ``counts``
    by trend are exact, ``changes`` are bounded. ``caveats`` name what the two reports do not have
    in common, such as the window or the preset.
    """

    before: str | None
    after: str
    outcome: Outcome
    counts: Mapping[str, int]
    changes: tuple[Change, ...]
    caveats: tuple[str, ...]

    @property
    def is_worse(self) -> bool:
        """Whether anything became worse, whatever else became better."""
        return self.outcome in {"worse", "mixed"}

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "before": self.before,
            "after": self.after,
            "outcome": self.outcome,
            "counts": dict(self.counts),
            "changes": [change.to_dict() for change in self.changes],
            "caveats": list(self.caveats),
        }

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Regression:
        """Return what `to_dict` wrote."""
        changes = tuple(Change(**change) for change in found["changes"])
        return cls(**{**found, "changes": changes, "caveats": tuple(found["caveats"])})


def compare(before: ConformanceReport | None, after: ConformanceReport) -> Regression:
    """Compare a report with an earlier one; without one it is the node's first."""
    found = [] if before is None else [*_findings(before, after), *_series(before, after)]
    found.sort(key=lambda change: (_ORDER.index(change.effect), change.measure, change.name))
    return Regression(
        before=None if before is None else before.digest,
        after=after.digest,
        outcome="first" if before is None else _outcome(found),
        counts=_counted(found),
        changes=tuple(found[:MOST_CHANGES]),
        caveats=() if before is None else tuple(_caveats(before, after)),
    )


def _outcome(found: Iterable[Change]) -> Outcome:
    effects = {change.effect for change in found}
    if "worse" in effects:
        return "mixed" if "better" in effects else "worse"
    return "better" if "better" in effects else "same"


def _counted(found: Iterable[Change]) -> dict[str, int]:
    counts = {"better": 0, "worse": 0, "new": 0, "gone": 0}
    for change in found:
        counts[change.trend] += 1
    return counts


def _findings(before: ConformanceReport, after: ConformanceReport) -> Iterator[Change]:
    """Compare rules that both reports asked, or that only the new one did, and schema findings."""
    asked = {rule.rule for rule in after.rules}
    old_rules = {name: at for name, at in _rules(before).items() if name in asked}
    pairs: tuple[tuple[Measure, _Counts, _Counts], ...] = (
        ("rule", old_rules, _rules(after)),
        ("schema", _schema(before), _schema(after)),
    )
    lasting = _columns(before) & _columns(after)
    for measure, old, new in pairs:
        for name in sorted({*old, *new} - lasting):
            was, flagged = old.get(name, (0, False))
            now, flags = new.get(name, (0, False))
            if was != now:
                counts = flags if now else flagged
                grave: Effect = "worse" if now > was else "better"
                yield Change(
                    measure=measure,
                    name=name,
                    trend=_trend(was, now),
                    before=was,
                    after=now,
                    effect=grave if counts else "none",
                )


def _trend(was: int, now: int) -> Trend:
    if not was:
        return "new"
    if not now:
        return "gone"
    return "worse" if now > was else "better"


def _rules(report: ConformanceReport) -> _Counts:
    return {rule.rule: (rule.count, rule.severity in FLAGS) for rule in report.rules}


def _schema(report: ConformanceReport) -> _Counts:
    counts: _Counts = {}
    for finding in report.schema_findings:
        name = f"{finding.code} {finding.column}".strip()
        count, flags = counts.get(name, (0, False))
        counts[name] = (count + finding.count, flags or finding.severity in FLAGS)
    return counts


def _columns(report: ConformanceReport) -> set[str]:
    """Return the findings that are about a column as a whole, in all rows, and refuse none."""
    return {
        f"{each.code} {each.column}".strip()
        for each in report.schema_findings
        if each.severity != "block" and each.count == report.rows_in
    }


def _series(before: ConformanceReport, after: ConformanceReport) -> Iterator[Change]:
    old, new = _by_name(before), _by_name(after)
    for name in sorted({*old, *new}):
        was, now = old.get(name), new.get(name)
        if was is None or now is None:
            yield _come_or_gone(name, was, now)
            continue
        yield from _grown("missing", name, _unexplained(was), _unexplained(now))
        yield from _grown("behind", name, was.behind, now.behind)
        if before.start == after.start and _is_before(was.first, now.first):
            yield _lost("first", name, was.first, now.first)
        if before.end == after.end and _is_before(now.last, was.last):
            yield _lost("last", name, was.last, now.last)


def _come_or_gone(name: str, was: SeriesRollup | None, now: SeriesRollup | None) -> Change:
    """Tell of a series that only one report has; the numbers are the bars present."""
    return Change(
        measure="series",
        name=name,
        trend="new" if was is None else "gone",
        before=None if was is None else was.present,
        after=None if now is None else now.present,
        effect="none" if was is None else "worse",
    )


def _grown(measure: Measure, name: str, was: int, now: int) -> Iterator[Change]:
    if was == now:
        return
    trend: Literal["better", "worse"] = "worse" if now > was else "better"
    effect: Effect = trend if measure == "missing" else "none"
    yield Change(measure=measure, name=name, trend=trend, before=was, after=now, effect=effect)


def _lost(measure: Measure, name: str, was: str | None, now: str | None) -> Change:
    return Change(measure=measure, name=name, trend="worse", before=was, after=now, effect="worse")


def _is_before(one: str | None, other: str | None) -> bool:
    return one is not None and other is not None and _at(one) < _at(other)


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _unexplained(item: SeriesRollup) -> int:
    return item.missing - item.verified_empty


def _by_name(report: ConformanceReport) -> dict[str, SeriesRollup]:
    return {f"{item.symbol} {item.timeframe}".strip(): item for item in report.series}


def _caveats(before: ConformanceReport, after: ConformanceReport) -> Iterator[str]:
    for name in _COMPARED:
        was, now = getattr(before, name), getattr(after, name)
        if was != now:
            yield f"{name} was {was or 'not set'}, is {now or 'not set'}"
    old, new = ({rule.rule for rule in report.rules} for report in (before, after))
    yield from (f"the rule {name} is not asked any more" for name in sorted(old - new))
    yield from (f"the rule {name} was not asked before" for name in sorted(new - old))
