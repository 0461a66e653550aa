"""The third stage: how often each rule was broken, exactly, with a bounded sample."""

from __future__ import annotations

import math
from collections import defaultdict
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from quant_sdk.conformance.asking import Crashed, tally
from quant_sdk.conformance.report import RuleCount
from quant_sdk.conformance.rule import Asked

if TYPE_CHECKING:
    from quant_sdk.conformance.report import SeriesRollup
    from quant_sdk.conformance.rule import Rule
    from quant_sdk.conformance.work import Work

MOST_SAMPLED: Final = 5
_Broken = dict[str, list[pl.DataFrame]]
_ORDER: Final = ("timeframe", "symbol", "ts")


def quality_flags(work: Work) -> None:
    """Count what broke each rule; a rule that crashed breaks itself, once."""
    crashes = {crashed.rule: crashed for crashed in work.crashes()}
    counts, broken = [], _broken(work)
    for rule in work.setting.rules:
        if rule.id in crashes:
            continue
        try:
            counts.append(_count(work, rule, broken))
        except Crashed as error:
            crashes[rule.id] = error
    counts += [
        RuleCount(rule=name, severity="block", count=1, sample=({"error": crashed.error},))
        for name, crashed in crashes.items()
    ]
    work.rules = tuple(counts)
    work.crashed = tuple(crashes.values())


def _count(work: Work, rule: Rule, broken: _Broken) -> RuleCount:
    return _rolled_up(work, rule) if rule.scope == "rollup" else _counted(work, rule, broken)


def _counted(work: Work, rule: Rule, broken: _Broken) -> RuleCount:
    found = broken.get(rule.id, [])
    return RuleCount(
        rule=rule.id,
        severity=rule.severity,
        count=sum(rows.height for rows in found),
        sample=_sample(work, found),
    )


def _broken(work: Work) -> _Broken:
    """Return by rule where in the input rows break it, with the reason if it is known."""
    found: _Broken = defaultdict(list)
    for part in work.parts:
        assert part.divided is not None  # noqa: S101  the stage before divides
        refused = part.divided.refused
        told = refused.with_columns(part.rows.origin(refused["at"]).alias("at"))
        for (rule,), rows in told.group_by("rule", maintain_order=True):
            found[str(rule)].append(rows.select("at", "reason"))
        for name, marked in part.divided.marks.items():
            at = pl.DataFrame({"at": part.rows.origin(marked)})
            found[name].append(at.with_columns(reason=pl.lit(None, dtype=pl.String)))
    return found


def _sample(work: Work, found: list[pl.DataFrame]) -> tuple[dict[str, Any], ...]:
    """Return the first rows by series and time."""
    if not found:
        return ()
    places = pl.concat(found)
    keys = [name for name in _ORDER if name in work.frame.columns]
    order = [work.frame[name].gather(places["at"]) for name in keys]
    told = pl.DataFrame([*order, places["at"].alias("row"), places["reason"]])
    first = told.sort([*keys, "row"], nulls_last=True)
    first = first.head(MOST_SAMPLED)
    rows = work.frame[first["row"]]
    return tuple(
        _json({"row": row, **values, **({"reason": reason} if reason else {})})
        for row, reason, values in zip(
            first["row"], first["reason"], rows.iter_rows(named=True), strict=True
        )
    )


def _json(row: dict[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return value.isoformat() if isinstance(value, date) else value


def _rolled_up(work: Work, rule: Rule) -> RuleCount:
    """Ask a rule of the completeness of each series."""
    asked = Asked(thresholds=work.setting.thresholds)
    found = [(tally(rule, each, asked), each) for each in work.series]
    worst = sorted(
        ((count, each) for count, each in found if count),
        key=lambda pair: (-pair[0], pair[1].symbol, pair[1].timeframe),
    )
    return RuleCount(
        rule=rule.id,
        severity=rule.severity,
        count=sum(count for count, _ in found),
        sample=tuple(_told(count, each) for count, each in worst[:MOST_SAMPLED]),
    )


def _told(count: int, series: SeriesRollup) -> dict[str, Any]:
    return {
        "symbol": series.symbol,
        "timeframe": series.timeframe,
        "count": count,
        "expected": series.expected,
        "last": series.last,
    }
