"""Runs: stretches of bars of one series in which no expected bar is missing.

A window of a feature never reaches across the end of a run. A week-end that the calendar knows is
no end; a bar that is missing, or has a price that is no number, is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import polars as pl

from quant_sdk.features.times import close_of, per_timeframe
from quant_sdk.lakehouse.coverage import coverage
from quant_sdk.lakehouse.fingerprint import row_hashes
from quant_sdk.lakehouse.specs import UTC_MICROS

if TYPE_CHECKING:
    from collections.abc import Callable

    from quant_sdk.lakehouse.calendars import Calendar

PRICES: Final = ("open", "high", "low", "close")
SERIES: Final = ("symbol", "timeframe")
_GAPS: Final[dict[str, Any]] = {"symbol": pl.String, "timeframe": pl.String, "start": UTC_MICROS}


def cut_runs(bars: pl.DataFrame, calendar_of: Callable[[str], Calendar]) -> pl.DataFrame:
    """Return the usable bars, sorted by timeframe, symbol and time, each with its run.

    Args:
        bars: ``symbol``, ``timeframe`` (String), ``ts`` (Datetime us UTC, opening), ``open``,
            ``high``, ``low``, ``close`` (Float64), and any other columns; one bar a series and ts.
        calendar_of: gives the calendar of a symbol.

    Returns:
        The columns of `bars`; ``run`` (UInt32), counted over the whole frame; ``inputs`` (UInt64),
        a hash of the prices and times of the run's bars up to and including this one.

    Raises:
        InvalidInput: a timeframe or symbol is malformed.
    """
    finite = pl.all_horizontal(pl.col(name).is_finite() for name in PRICES)
    # A hash over several chunks would be one over several frames.
    usable = bars.filter(finite).sort("timeframe", "symbol", "ts").rechunk()
    begins = _begins(usable, calendar_of)
    hashes = row_hashes(usable.lazy().with_columns(volume=pl.lit(None, dtype=pl.Float64)))
    # Sums wrap, so the difference of two is the sum of the rows between them.
    before = pl.col("total") - pl.col("value_hash")
    return (
        usable.with_columns(hashes.select("value_hash").collect().to_series(), begins)
        .with_columns(total=pl.col("value_hash").cum_sum(), run=pl.col("begins").cum_sum())
        .with_columns(
            pl.col("run").cast(pl.UInt32),
            inputs=pl.col("total") - pl.when("begins").then(before).forward_fill(),
        )
        .drop("value_hash", "total", "begins")
    )


def _begins(bars: pl.DataFrame, calendar_of: Callable[[str], Calendar]) -> pl.Series:
    """Return a Boolean ``begins``: the bar is the first of its series, or follows a gap.

    Of markets that never close, any jump is a gap; of the others, coverage tells.
    """
    changes = [pl.col(name).ne_missing(pl.col(name).shift(1)) for name in SERIES]
    steps = bars.select(
        first=pl.any_horizontal(changes) | (pl.int_range(pl.len()) == 0),
        jump=per_timeframe(bars, close_of).shift(1).ne_missing(pl.col("ts")),
    )
    symbols = bars["symbol"].unique().to_list()
    closing = [symbol for symbol in symbols if not calendar_of(symbol).always_open]
    if not closing:
        return (steps["first"] | steps["jump"]).alias("begins")
    closes = bars["symbol"].is_in(closing)
    after = _first_after(_gaps(bars.filter(closes), calendar_of), bars)
    rows = pl.int_range(bars.height, eager=True, dtype=pl.UInt32)
    return (steps["first"] | (steps["jump"] & ~closes) | rows.is_in(after)).alias("begins")


def _gaps(bars: pl.DataFrame, calendar_of: Callable[[str], Calendar]) -> pl.DataFrame:
    """Return symbol, timeframe and begin of each gap, sorted by begin."""
    rows = [
        (series.symbol, series.timeframe, gap.start)
        for series in coverage(bars, calendar_of)
        for gap in series.gaps
    ]
    return pl.DataFrame(rows, schema=_GAPS, orient="row").sort("start")


def _first_after(gaps: pl.DataFrame, bars: pl.DataFrame) -> pl.Series:
    """Return the row of the first bar after each gap."""
    rows = bars.select(*SERIES, "ts").with_row_index("row").sort("ts")
    followed = gaps.join_asof(
        rows,
        left_on="start",
        right_on="ts",
        by=list(SERIES),
        strategy="forward",
        check_sortedness=False,  # it cannot be checked within groups; both sides are sorted
    )
    return followed["row"].drop_nulls().implode()
