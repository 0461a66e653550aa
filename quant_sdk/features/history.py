"""The history of features, computed from `bars` by TA-Lib, for the bars that need it.

Each row carries ``inputs``, a hash of the bars that it was computed from: all of its run up to its
own. A row whose hash still holds is left alone; so what is new is added, and what follows a
corrected, filled or withdrawn bar is computed again, from the begin of its run.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

import polars as pl

from quant_sdk.features.indicators import indicators, require_talib, talib_version
from quant_sdk.features.runs import PRICES, cut_runs
from quant_sdk.features.times import bars_per_year, close_of, per_timeframe
from quant_sdk.lakehouse.buckets import bucket_of
from quant_sdk.lakehouse.specs import BARS, FEATURE_VALUES, FEATURES
from quant_sdk.lakehouse.table import Table
from quant_sdk.lakehouse.timeframe import Timeframe

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from datetime import datetime
    from pathlib import Path

    from quant_sdk.lakehouse.calendars import Calendar

SOURCE: Final = "talib"
"""What the column ``source`` says of these rows."""
FORMULAS: Final = 1
"""Raised when a formula changes, so that all rows are computed again."""
BATCH_ROWS: Final = 250_000
KEY: Final = ("symbol", "timeframe", "ts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Series of one timeframe that are looked at together, and the rows they have at most."""

    timeframe: str
    symbols: tuple[str, ...]
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """What a look found to be done.

    Attributes:
        series: how many were looked at.
        bars: their closed bars.
        rows: rows to be added or put in the place of others, in the columns of `features`.
        gone: symbol, timeframe, bucket, ts, source of rows whose bar is no more.
    """

    series: int
    bars: int
    rows: pl.DataFrame
    gone: pl.DataFrame


def features_of(bars: pl.DataFrame, calendar_of: Callable[[str], Calendar]) -> pl.DataFrame:
    """Return the features of every bar; a row at t rests on bars up to and including t.

    Args:
        bars: ``symbol``, ``timeframe`` (String), ``ts`` (Datetime us UTC, opening), ``open``,
            ``high``, ``low``, ``close`` (Float64); closed bars, one a series and ts.
        calendar_of: gives the calendar of a symbol; it says what is a gap, and how many bars a
            year has, by which ``volatility_20`` is annualised (times the square root).

    Returns:
        The columns of `features`, a row a bar with finite prices, sorted by timeframe, symbol and
        time; windows that are not full yet, or reach across a gap, are null.

    Raises:
        MissingExtra: TA-Lib is not installed.
        InvalidInput: a timeframe or symbol is malformed.
    """
    return _computed(_cut(bars, calendar_of))


class History:
    """Finds and computes what the history of features lacks; writes nothing.

    Args:
        lakehouse: the folder of the tables.
        calendar_of: gives the calendar of a symbol.
        now: bars that close later are not looked at (aware).
    """

    def __init__(
        self, lakehouse: Path, calendar_of: Callable[[str], Calendar], now: datetime
    ) -> None:
        require_talib()
        self._bars = Table(lakehouse, BARS)
        self._features = Table(lakehouse, FEATURES)
        self._calendar_of = calendar_of
        self._now = now

    def series(
        self,
        symbols: Collection[str] | None = None,
        timeframes: Collection[str] | None = None,
        *,
        most_rows: int = BATCH_ROWS,
    ) -> list[Series]:
        """Return the series that have bars or rows here, in groups of at most `most_rows` bars."""
        wanted = [
            pl.col(name).is_in(list(names))
            for name, names in (("symbol", symbols), ("timeframe", timeframes))
            if names is not None
        ]
        keys = ["timeframe", "symbol"]
        mine = pl.col("source") == SOURCE
        parts = (
            self._bars.scan().filter(*wanted).group_by(keys).len(),
            self._features.scan().filter(mine, *wanted).group_by(keys).len(),
        )
        found = pl.concat(parts).group_by(keys).agg(pl.col("len").max()).sort(keys).collect()
        groups: list[Series] = []
        for (timeframe,), part in found.partition_by(
            "timeframe", as_dict=True, maintain_order=True
        ).items():
            groups += _groups(str(timeframe), part, most_rows)
        return groups

    def pending(self, series: Series) -> Pending:
        """Return what of these series is new, or rests on other bars than those that stand."""
        bars = self._read(self._bars, series).select(*KEY, *PRICES).collect()
        timeframe = Timeframe.parse(series.timeframe)
        cut = _cut(bars.filter(close_of(timeframe) <= self._now), self._calendar_of)
        standing = (
            self._read(self._features, series)
            .filter(pl.col("source") == SOURCE)
            .select(*KEY, "bucket", "source", stood="inputs")
            .collect()
        )
        on = ["symbol", "ts"]  # one timeframe
        met = cut.join(standing.select(*on, "stood"), on=on, how="left", maintain_order="left")
        stale = met.select(*on, "run").filter(met["inputs"].ne_missing(met["stood"]))
        runs = cut.filter(pl.col("run").is_in(stale["run"].unique().implode()))
        return Pending(
            series=len(series.symbols),
            bars=cut.height,
            rows=_computed(runs).join(stale, on=on, how="semi", maintain_order="left"),
            gone=standing.join(cut, on=on, how="anti").drop("stood"),
        )

    def _read(self, table: Table, series: Series) -> pl.LazyFrame:
        symbols = series.symbols
        return table.scan().filter(
            pl.col("timeframe") == series.timeframe,
            # The range skips files and row groups by their statistics.
            pl.col("symbol").is_between(pl.lit(symbols[0]), pl.lit(symbols[-1])),
            pl.col("symbol").is_in(list(symbols)),
        )


def _groups(timeframe: str, found: pl.DataFrame, most: int) -> list[Series]:
    """Cut symbols, sorted, with their ``len``, into groups of at most `most` rows."""
    groups: list[Series] = []
    symbols: list[str] = []
    rows = 0
    for symbol, count in found.select("symbol", "len").iter_rows():
        if symbols and rows + count > most:
            groups.append(Series(timeframe=timeframe, symbols=tuple(symbols), rows=rows))
            symbols, rows = [], 0
        symbols.append(symbol)
        rows += count
    return [*groups, Series(timeframe=timeframe, symbols=tuple(symbols), rows=rows)]


def _cut(bars: pl.DataFrame, calendar_of: Callable[[str], Calendar]) -> pl.DataFrame:
    """Return the bars in runs, with ``inputs`` (Int64) and ``yearly``, the root of bars a year."""
    known = cache(calendar_of)
    cut = cut_runs(bars, known)
    facts = _facts_of(cut, known)
    told = cut.join(facts, on=["symbol", "timeframe"], how="left", maintain_order="left")
    inputs = (pl.col("inputs") + pl.col("salt")).reinterpret(dtype=pl.Int64)
    return told.with_columns(inputs=inputs).drop("salt")


def _facts_of(bars: pl.DataFrame, calendar_of: Callable[[str], Calendar]) -> pl.DataFrame:
    """Return of each series what its rows depend on besides its bars."""
    facts: dict[tuple[str, str], tuple[int, float]] = {}
    rows = []
    for symbol, timeframe in bars.select("symbol", "timeframe").unique().iter_rows():
        calendar = calendar_of(symbol)
        key = (calendar.name, timeframe)
        if key not in facts:
            yearly = math.sqrt(bars_per_year(Timeframe.parse(timeframe), calendar))
            facts[key] = (_salt(calendar.name), yearly)
        rows.append((symbol, timeframe, *facts[key]))
    schema = {
        "symbol": pl.String,
        "timeframe": pl.String,
        "salt": pl.UInt64,
        "yearly": pl.Float64,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def _salt(calendar: str) -> int:
    """Return what makes the same bars other inputs, where formulas or the calendar differ."""
    text = f"{FORMULAS}\0{talib_version()}\0{calendar}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def _computed(cut: pl.DataFrame) -> pl.DataFrame:
    """Return the features of whole runs, in the columns of `features`."""
    if not cut.height:
        return FEATURES.empty
    filled = cut.with_columns(_values(cut)).with_columns(
        pl.col("volatility_20") * pl.col("yearly"),
        bucket=per_timeframe(cut, bucket_of),
        known_at=per_timeframe(cut, close_of),
        source=pl.lit(SOURCE),
    )
    return filled.select(
        (pl.col(name) if name in filled.columns else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in FEATURES.columns.items()
    )


def _values(cut: pl.DataFrame) -> list[pl.Series]:
    """Return the value columns, each run computed by itself."""
    import numpy as np

    high, low, close = (cut[name].to_numpy() for name in ("high", "low", "close"))
    starts = [0, *(np.flatnonzero(np.diff(cut["run"].to_numpy())) + 1).tolist()]
    columns: dict[str, np.ndarray] = {}
    for start, end in zip(starts, [*starts[1:], cut.height], strict=True):
        run = slice(start, end)
        for name, values in indicators(high[run], low[run], close[run]).items():
            if name not in columns:
                columns[name] = np.full(cut.height, np.nan)
            columns[name][run] = values
    return [
        pl.Series(name, columns[name]).fill_nan(None) for name in FEATURE_VALUES if name in columns
    ]
