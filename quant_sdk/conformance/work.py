"""What goes through the stages of the pipeline, and what it is held against."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from quant_sdk.conformance.report import SchemaFinding
from quant_sdk.conformance.selection import PLACE, Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from quant_sdk.conformance.asking import Crashed
    from quant_sdk.conformance.divided import Divided
    from quant_sdk.conformance.report import RuleCount, SeriesRollup, Severity
    from quant_sdk.conformance.rule import Rule
    from quant_sdk.conformance.steps import Steps
    from quant_sdk.lakehouse.calendars import Calendar
    from quant_sdk.lakehouse.timeframe import Timeframe
    from quant_sdk.schemas.schema import CanonicalSchema

GRADED: Final = ("unexpected_column", "missing_column", "cast", "epoch_read", "zone_assumed")
"""The findings that a preset may give another severity; all others refuse rows, and block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What data is held against; the same for every frame that goes through a pipeline.

    Attributes:
        kind: ``bars``, which have a grid; rows of any other kind, such as ``ticks``, are events.
        schema: of the frames.
        rules: asked in this order, each with the severity that it has here.
        thresholds: every one that a rule reads.
        severities: of findings about the schema, by code, where they are not the usual ones.
        calendar_of: gives the calendar of a symbol.
        broken: rules that somebody announced and that cannot be had.
        symbol: of frames without such a column.
        timeframe: of frames without such a column.
    """

    kind: str
    schema: CanonicalSchema
    rules: tuple[Rule, ...]
    thresholds: Mapping[str, float | None]
    severities: Mapping[str, Severity]
    calendar_of: Callable[[str], Calendar]
    broken: tuple[Crashed, ...] = ()
    symbol: str | None = None
    timeframe: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What is looked for: ``[start, end)`` and the time it is, microseconds since the epoch.

    Attributes:
        start: None: each series' first bar.
        end: None: after each series' last bar.
        as_of: bars that have not closed by then are not expected; None: it does not matter.
        verified_empty: ``symbol``, ``timeframe``, ``start``, ``end`` (Datetime us UTC) of intervals
            in which there is nothing.
    """

    start: int | None = None
    end: int | None = None
    as_of: int | None = None
    verified_empty: pl.DataFrame | None = None


@dataclass(slots=True, kw_only=True)
class Part:
    """The rows of one timeframe; `rows` are positions in the conformed frame.

    Ticks and quotes are one part, without a timeframe.
    """

    timeframe: Timeframe | None
    rows: Selection
    steps: Steps | None = None
    divided: Divided | None = None


@dataclass(slots=True, kw_only=True)
class Work:
    """A frame on its way through the stages, and what they found."""

    setting: Setting
    window: Window
    raw: pl.DataFrame
    frame: pl.DataFrame
    findings: list[SchemaFinding] = field(default_factory=list)
    refused: list[pl.DataFrame] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    series: tuple[SeriesRollup, ...] = ()
    daily: tuple[dict[str, Any], ...] = ()
    rules: tuple[RuleCount, ...] = ()
    crashed: tuple[Crashed, ...] = ()

    def find(
        self, code: str, severity: Severity, column: str, detail: str, rows: int | None = None
    ) -> None:
        """Record what is wrong with a column; what blocks refuses rows, and cannot be less.

        It concerns so many `rows`; None: all of them.
        """
        count = self.raw.height if rows is None else rows
        if severity != "block":
            severity = self.setting.severities.get(code, severity)
        self.findings.append(
            SchemaFinding(code=code, severity=severity, column=column, detail=detail, count=count)
        )

    def refuse(self, code: str, column: str, at: pl.Series, why: str | pl.Series) -> None:
        """Record a column's finding, and refuse the rows that it is about.

        Args:
            code: of the finding.
            column: the column.
            at: the rows.
            why: one reason for all of them, or one for each (String); the finding tells the first
                by the alphabet, which does not depend on how rows are divided into frames.
        """
        if at.is_empty():
            return
        told = why if isinstance(why, str) else str(why.min())
        self.findings.append(
            SchemaFinding(code=code, severity="block", column=column, detail=told, count=at.len())
        )
        reason = pl.lit(f"{column}: {why}") if isinstance(why, str) else f"{column}: " + why
        self.refused.append(
            pl.DataFrame({"at": at.cast(PLACE)}).with_columns(rule=pl.lit(code), reason=reason)
        )

    def crashes(self) -> Sequence[Crashed]:
        """Return the rules that could not be asked, each once."""
        found = [*self.setting.broken]
        for part in self.parts:
            if part.divided is not None:
                found += part.divided.crashed
        return list({crashed.rule: crashed for crashed in found}.values())
