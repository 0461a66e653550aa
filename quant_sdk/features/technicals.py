"""Today's technicals: what a scanner says of symbols now, per timeframe, as rows of `features`.

The scanner's words: a column such as ``RSI`` is of daily bars, ``RSI|60`` of bars of 60 minutes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from quant_registry.errors import InvalidInput
from quant_sdk.features.times import micros_of
from quant_sdk.lakehouse.buckets import bucket_of
from quant_sdk.lakehouse.specs import FEATURES, UTC_MICROS
from quant_sdk.lakehouse.timeframe import Timeframe
from quant_sdk.sources.scanner.timeframes import SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

OF_A_TIMEFRAME: Final = {
    "recommend_all": "Recommend.All",
    "recommend_ma": "Recommend.MA",
    "recommend_other": "Recommend.Other",
    "rsi_14": "RSI",
    "adx_14": "ADX",
    "atr_14": "ATR",
    "ema_50": "EMA50",
    "sma_50": "SMA50",
    "sma_200": "SMA200",
    "macd": "MACD.macd",
    "macd_signal": "MACD.signal",
}
"""Columns of `features`, and of the scanner, that each timeframe has; ratings are -1 to 1."""

OF_A_DAY: Final = {
    "volatility_day": "Volatility.D",
    "volatility_week": "Volatility.W",
    "volatility_month": "Volatility.M",
    "perf_week": "Perf.W",
    "perf_month": "Perf.1M",
    "perf_3_months": "Perf.3M",
    "perf_6_months": "Perf.6M",
    "perf_year": "Perf.Y",
}
"""Columns that only the rows of ``1d`` have; the scanner tells percent, `features` fractions."""

_DAY: Final = "1d"
_PERCENT: Final = 100.0


def scanner_columns(timeframes: Sequence[str]) -> tuple[str, ...]:
    """Return the columns to ask a scanner for.

    Raises:
        InvalidInput: the scanner has no such timeframe.
    """
    return tuple(asked for timeframe in timeframes for asked in _columns_of(timeframe).values())


def rows_of(
    answer: pl.DataFrame, timeframes: Sequence[str], *, at: datetime, source: str
) -> pl.DataFrame:
    """Return the rows of `features` that an answer makes; one a symbol and timeframe.

    Args:
        answer: ``symbol`` and the columns of `scanner_columns`, one row a symbol.
        timeframes: those asked for.
        at: when the scanner was asked (aware): the rows' ``known_at``; ``ts`` is the opening of
            the bar that holds it.
        source: the scanner's id.

    Returns:
        The columns of `features`; a symbol of which the scanner knows nothing in a timeframe has
        no row there. What is no number is null.

    Raises:
        InvalidInput: the scanner has no such timeframe; `at` is naive.
    """
    parts = [_of_timeframe(answer, timeframe, at, source) for timeframe in timeframes]
    return pl.concat([FEATURES.empty, *parts])


def _of_timeframe(answer: pl.DataFrame, timeframe: str, at: datetime, source: str) -> pl.DataFrame:
    asked = _columns_of(timeframe)
    step = Timeframe.parse(timeframe)
    values = [
        _number(column, answer).truediv(_PERCENT if name in OF_A_DAY else 1.0).alias(name)
        for name, column in asked.items()
    ]
    named = answer.select(
        "symbol",
        *values,
        timeframe=pl.lit(timeframe),
        ts=pl.lit(step.floor(micros_of(at)), dtype=pl.Int64).cast(UTC_MICROS),
        known_at=pl.lit(at, dtype=UTC_MICROS),
        source=pl.lit(source),
    ).with_columns(bucket=bucket_of(step))
    told = named.filter(pl.any_horizontal(pl.col(name).is_not_null() for name in asked))
    return told.select(
        (pl.col(name) if name in told.columns else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in FEATURES.columns.items()
    )


def _number(column: str, answer: pl.DataFrame) -> pl.Expr:
    if column not in answer.columns:
        return pl.lit(None, dtype=pl.Float64)
    value = pl.col(column).cast(pl.Float64, strict=False)
    return pl.when(value.is_finite()).then(value)


def _columns_of(timeframe: str) -> dict[str, str]:
    if timeframe not in SUFFIXES:
        raise InvalidInput(
            f"the scanner has no technicals of {timeframe!r}",
            fix=f"its timeframes are {', '.join(SUFFIXES)}",
        )
    suffix = SUFFIXES[timeframe]
    asked = {name: f"{column}{suffix}" for name, column in OF_A_TIMEFRAME.items()}
    return asked | (OF_A_DAY if timeframe == _DAY else {})
