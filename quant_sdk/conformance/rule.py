"""`Rule`: one thing that data must satisfy, and the expression that finds what does not.

A rule marks rows with an expression. It is asked in one of four ways:

- ``row``: of each row by itself, in the order in which the rows came;
- ``series``: of the good rows of one series, in the order of time;
- ``arrival``: of the rows of one series, in the order in which they came;
- ``rollup``: not of rows, but of the completeness of one series.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import polars as pl

from quant_sdk.conformance.report import Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from quant_sdk.conformance.report import SeriesRollup
    from quant_sdk.lakehouse.timeframe import Timeframe

Scope = Literal["row", "series", "arrival", "rollup"]
_ID: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a rule is asked with: the grid of the rows (bars only), and every threshold by name."""

    timeframe: Timeframe | None = None
    thresholds: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def grid(self) -> Timeframe:
        """The grid of the rows, for a rule that cannot do without one."""
        if self.timeframe is None:
            raise ValueError("this rule is asked of bars, with their timeframe")
        return self.timeframe

    def limit(self, name: str) -> float:
        """Return a threshold that must have a value."""
        found = self.thresholds[name]
        if found is None:
            raise ValueError(f"the threshold {name} has no value")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule.

    Attributes:
        id: unique among all kinds; quarantined rows carry it as ``rule``.
        kind: of what it is asked: ``bars``, ``ticks``, ``quotes``, or another schema's name.
        severity: ``block``: the row is quarantined; ``warn`` and ``note``: it is counted and stays.
        measures: one sentence for people.
        source: where the idea comes from.
        bad: the rows that break it (Boolean; null counts as not broken). Of a ``rollup``: None.
        reason: why, a sentence with the numbers; it may look at the row before.
        scope: see the module.
        thresholds: those it reads, with their values where a preset gives none.
        nulls: the columns whose nulls it refuses itself, so that the schema need not.
        counts: of a ``rollup``: how much of one series breaks it.
        graver: the threshold that makes a note of a ``rollup`` a warning, once it has a value.
    """

    id: str
    kind: str
    severity: Severity
    measures: str
    source: str
    bad: Callable[[Asked], pl.Expr] | None = None
    reason: Callable[[Asked], pl.Expr] | None = None
    scope: Scope = "row"
    thresholds: Mapping[str, float | None] = field(default_factory=dict)
    nulls: tuple[str, ...] = ()
    counts: Callable[[SeriesRollup, Asked], int] | None = None
    graver: str | None = None

    def __post_init__(self) -> None:
        """Refuse what would never be asked, or never stop anything, for a slip of the pen.

        Raises:
            ValueError: a field is not possible; it is named.
        """
        texts = {"severity": get_args(Severity), "scope": get_args(Scope)}
        for name, known in texts.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} of the rule {self.id!r} is none of {', '.join(known)}")
        for name in ("id", "kind"):
            text = getattr(self, name)
            if not isinstance(text, str) or not _ID.fullmatch(text):
                raise ValueError(f"{name} of a rule is {text!r}: write small letters, digits and _")
        if (self.counts if self.scope == "rollup" else self.bad) is None:
            needed = "counts" if self.scope == "rollup" else "bad"
            raise ValueError(f"the rule {self.id} of scope {self.scope} has no `{needed}`")

    def to_dict(self) -> dict[str, Any]:
        """Return the declaration as JSON."""
        return {
            "id": self.id,
            "kind": self.kind,
            "severity": self.severity,
            "scope": self.scope,
            "measures": self.measures,
            "source": self.source,
            "thresholds": dict(self.thresholds),
        }


def marks(rule: Rule, asked: Asked) -> pl.Expr:
    """Return the expression that marks the rows that break `rule` (Boolean, never null)."""
    if rule.bad is None:
        raise ValueError(f"the rule {rule.id} marks no rows")
    return rule.bad(asked).fill_null(value=False)


def said(rule: Rule, asked: Asked) -> pl.Expr:
    """Return the expression that says why a row breaks `rule` (String)."""
    if rule.reason is None:
        return pl.lit(rule.measures)
    return rule.reason(asked)
