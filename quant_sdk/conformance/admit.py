"""Rows of one timeframe on their way into the tables: divided by the rules, without a report.

What a writer reads is in canonical types already; its rows meet the same rules, with the same
thresholds, as those of `ConformancePipeline.run`, in the mode ``partial_ok``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from quant_registry.errors import ConformanceError, InvalidInput
from quant_sdk.conformance.bars import BAR_COLUMNS, CheckedBars, look
from quant_sdk.conformance.divide import divide
from quant_sdk.conformance.holes import never_came
from quant_sdk.conformance.many import checked
from quant_sdk.conformance.presets import STRICT
from quant_sdk.conformance.rule import Asked
from quant_sdk.conformance.rules import BARS, VALUES
from quant_sdk.conformance.timestamps import UTC_MICROS

if TYPE_CHECKING:
    from collections.abc import Callable

    from quant_sdk.conformance.work import Setting
    from quant_sdk.lakehouse.calendars import Calendar
    from quant_sdk.lakehouse.timeframe import Timeframe

_CANONICAL: Final = {"ts": UTC_MICROS, **dict.fromkeys(VALUES, pl.Float64)}
_SMALL: Final = 200_000
"""Rows of one series for which a single query over all of them is the fastest look."""


def admit(  # noqa: PLR0913  as the pipeline's
    setting: Setting,
    rows: pl.DataFrame,
    timeframe: Timeframe,
    *,
    symbol: str | None,
    calendar_of: Callable[[str], Calendar] | None,
    across_gaps: bool,
) -> CheckedBars:
    """Divide rows into good bars, quarantined rows and identical duplicates.

    See `ConformancePipeline.admit`.
    """
    _check(rows)
    asked = Asked(timeframe=timeframe, thresholds=setting.thresholds)
    many = "symbol" in rows.columns
    names = (["symbol"] if many else []) + ["row", *BAR_COLUMNS]
    rows = rows.select(names)
    if not many and rows.height < _SMALL and _is_usual(setting):
        clean, notes = look(rows, timeframe)
        if clean:
            return _untouched(rows, notes)

    def hole(pairs: pl.DataFrame, came: pl.DataFrame) -> pl.Series:
        named = [each if many else _named(each, symbol or "") for each in (pairs, came)]
        return never_came(
            *named, timeframe=timeframe, calendar_of=calendar_of or setting.calendar_of
        )

    divided = divide(rows, asked, setting.rules, None if across_gaps else hole)
    if crashed := [*setting.broken, *divided.crashed]:
        raise ConformanceError(str(crashed[0]), fix="repair the rule, or take it out")
    return checked(rows, divided, names)


def _check(rows: pl.DataFrame) -> None:
    for name, dtype in _CANONICAL.items():
        if rows.schema.get(name) != dtype:
            raise InvalidInput(
                f"the column {name} is {rows.schema.get(name)}, not {dtype}",
                fix="bring the rows into their canonical form: ConformancePipeline.run does",
            )


def _is_usual(setting: Setting) -> bool:
    """Tell whether the rules and thresholds are those that `look` knows."""
    usual = setting.rules == BARS and not setting.broken
    return usual and setting.thresholds == STRICT.thresholds


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


def _named(rows: pl.DataFrame, symbol: str) -> pl.DataFrame:
    return rows.with_columns(symbol=pl.lit(symbol))
