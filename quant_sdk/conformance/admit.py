"""Rows of one timeframe on their way into the tables: divided by the rules, without a report.

What a writer reads is in canonical types already; its rows meet the same tests, with the same
thresholds, as those of `ConformancePipeline.run`, in the mode ``partial_ok``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import polars as pl

from quant_registry.errors import ConformanceError, InvalidInput
from quant_sdk.conformance.bars import BAR_COLUMNS, CheckedBars, checked, look
from quant_sdk.conformance.divide import divide
from quant_sdk.conformance.divided import REFUSED
from quant_sdk.conformance.holes import never_came
from quant_sdk.conformance.report import NULL
from quant_sdk.conformance.rule import Asked
from quant_sdk.conformance.rules import BARS, VALUES
from quant_sdk.conformance.schema_rollup import NULL_VALUE, malformed, refuses_nulls
from quant_sdk.conformance.selection import PLACE, Selection
from quant_sdk.conformance.steps import steps_of
from quant_sdk.conformance.timestamps import instants
from quant_sdk.lakehouse.specs import UTC_MICROS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from quant_sdk.conformance.steps import Steps
    from quant_sdk.conformance.work import Setting
    from quant_sdk.lakehouse.calendars import Calendar
    from quant_sdk.lakehouse.timeframe import Timeframe

_CANONICAL: Final = {"ts": UTC_MICROS, **dict.fromkeys(VALUES, pl.Float64)}
_SMALL: Final = 200_000
"""Rows of one series for which a single query over all of them is the fastest look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """What rows are held against on their way into the tables; see `ConformancePipeline.admit`."""

    setting: Setting
    timeframe: Timeframe
    symbol: str | None
    calendar_of: Callable[[str], Calendar] | None
    across_gaps: bool

    def divide(self, rows: pl.DataFrame) -> CheckedBars:
        """Divide rows into good bars, quarantined rows and identical duplicates."""
        _check(rows)
        many = "symbol" in rows.columns
        rows = rows.select((["symbol"] if many else []) + ["row", *BAR_COLUMNS])
        fit, lost = _less(rows, _unfit(self.setting, rows))
        steps = self._steps(fit) if many else None
        names = [self.symbol] if steps is None else steps.names.unique()
        if wrong := malformed(names):
            fit, more = _less(fit, _malformed(fit, wrong))
            lost, steps = pl.concat([lost, more]), None
        found = self._of_fit(fit, steps)
        if lost.is_empty():
            return found
        quarantined = pl.concat([found.quarantined, lost]).sort("row")
        return replace(found, quarantined=quarantined, rows_in=rows.height)

    def _of_fit(self, rows: pl.DataFrame, steps: Steps | None) -> CheckedBars:
        """Divide rows that are what the schema says."""
        asked = Asked(timeframe=self.timeframe, thresholds=self.setting.thresholds)
        if "symbol" not in rows.columns and rows.height < _SMALL and _is_usual(self.setting):
            clean, notes = look(rows, asked)
            if clean:
                return _untouched(rows, notes)
        hole = None if self.across_gaps else self._hole
        divided = divide(rows, asked, self.setting.rules, hole, steps)
        if crashed := [*self.setting.broken, *divided.crashed]:
            raise ConformanceError(str(crashed[0]), fix="repair the rule, or take it out")
        return checked(rows, divided, rows.columns)

    def _steps(self, rows: pl.DataFrame) -> Steps:
        return steps_of(rows["ts"], rows["symbol"], self.timeframe)

    def _hole(self, pairs: pl.DataFrame, came: pl.DataFrame) -> pl.Series:
        named = [self._named(each) for each in (pairs, came)]
        calendar_of = self.calendar_of or self.setting.calendar_of
        return never_came(*named, timeframe=self.timeframe, calendar_of=calendar_of)

    def _named(self, rows: pl.DataFrame) -> pl.DataFrame:
        if "symbol" in rows.columns:
            return rows
        return rows.with_columns(symbol=pl.lit(self.symbol or ""))


def _check(rows: pl.DataFrame) -> None:
    for name, dtype in _CANONICAL.items():
        if rows.schema.get(name) != dtype:
            raise InvalidInput(
                f"the column {name} is {rows.schema.get(name)}, not {dtype}",
                fix="bring the rows into their canonical form: ConformancePipeline.run does",
            )


def _unfit(setting: Setting, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows that the schema refuses: at, rule, reason, each row once."""
    found = [pl.DataFrame(schema=REFUSED)]
    for name in setting.schema.names:
        if name in rows.columns:
            found += _refusals(setting, rows[name])
    return pl.concat(found).unique("at", keep="first", maintain_order=True)


def _refusals(setting: Setting, values: pl.Series) -> Iterator[pl.DataFrame]:
    column = setting.schema.column(values.name)
    taken = instants(values, column) if values.name == "ts" and column is not None else None
    for refusal in () if taken is None else taken.refused:
        yield _refusal(refusal.code, values.name, refusal.at, refusal.why)
    if values.null_count() and refuses_nulls(setting, values.name):
        yield _refusal(NULL, values.name, values.is_null().arg_true(), NULL_VALUE)


def _malformed(rows: pl.DataFrame, wrong: dict[str, str]) -> pl.DataFrame:
    """Return the rows whose symbol is none: all of them, where they are of one series."""
    at = pl.int_range(rows.height, dtype=PLACE, eager=True)
    if "symbol" not in rows.columns:
        return _refusal("malformed_symbol", "symbol", at, min(wrong.values()))
    at = at.filter(rows["symbol"].is_in(list(wrong)))
    why = rows["symbol"].gather(at).replace_strict(wrong, return_dtype=pl.String)
    return _refusal("malformed_symbol", "symbol", at, why)


def _refusal(rule: str, column: str, at: pl.Series, why: str | pl.Series) -> pl.DataFrame:
    reason = pl.lit(f"{column}: {why}") if isinstance(why, str) else f"{column}: " + why
    return pl.DataFrame({"at": at.cast(PLACE)}).with_columns(rule=pl.lit(rule), reason=reason)


def _less(rows: pl.DataFrame, refused: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows that are left, and the refused ones with rule and reason."""
    lost = rows[refused["at"]].with_columns(refused["rule", "reason"])
    return Selection(rows).without(refused["at"]).frame(), lost


def _is_usual(setting: Setting) -> bool:
    """Tell whether the rules are those that `look` knows."""
    return setting.rules == BARS and not setting.broken


def _untouched(rows: pl.DataFrame, notes: dict[str, int]) -> CheckedBars:
    nothing = rows.clear().with_columns(
        pl.lit(None, dtype=pl.String).alias(name) for name in ("rule", "reason")
    )
    return CheckedBars(
        bars=rows.select(BAR_COLUMNS),
        quarantined=nothing,
        identical_duplicates=0,
        notes=notes,
        rows_in=rows.height,
    )
