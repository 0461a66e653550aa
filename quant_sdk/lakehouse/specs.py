"""The tables of the lakehouse, declared: columns with dtypes, which may be null, partitions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import polars as pl

UTC_MICROS: Final = pl.Datetime("us", "UTC")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSpec:
    """A table's name, columns with dtypes, which may be null, and its partitions.

    A table that stands already may lack the columns in `later`, nullable ones, until it is
    written to.
    """

    name: str
    columns: dict[str, Any]
    nullable: frozenset[str]
    partition_by: tuple[str, ...]
    later: frozenset[str] = frozenset()

    @property
    def empty(self) -> pl.DataFrame:
        """A frame of the table's columns without rows."""
        return pl.DataFrame(schema=self.columns)

    def fit(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return rows with the table's columns and dtypes; what they lack is null."""
        return rows.select(
            (pl.col(name) if name in rows.columns else pl.lit(None)).cast(dtype).alias(name)
            for name, dtype in self.columns.items()
        )


BARS: Final = TableSpec(
    name="bars",
    columns={
        "symbol": pl.String,
        "timeframe": pl.String,
        "bucket": pl.String,
        "ts": UTC_MICROS,
        "open": pl.Float64,
        "high": pl.Float64,
        "low": pl.Float64,
        "close": pl.Float64,
        "volume": pl.Float64,
        "source": pl.String,
    },
    nullable=frozenset({"volume"}),
    partition_by=("timeframe", "bucket"),
)
"""Bars by opening time (`ts`, UTC); `bucket` is the year for ``1d`` and longer, else the month."""

_RAW: Final = dict.fromkeys(("open", "high", "low", "close", "volume"), pl.Float64)

QUARANTINE: Final = TableSpec(
    name="quarantine",
    columns={
        "symbol": pl.String,
        "timeframe": pl.String,
        "ts": UTC_MICROS,
        **_RAW,
        "rule": pl.String,
        "reason": pl.String,
        "source": pl.String,
        "source_sha256": pl.String,
        "row": pl.Int64,
        "run_id": pl.String,
        "batch_id": pl.String,
        "quarantined_at": UTC_MICROS,
        "replayed_by": pl.String,
    },
    nullable=frozenset({"ts", "row", "replayed_by", *_RAW}),
    partition_by=(),
    later=frozenset({"replayed_by"}),
)
"""Rows refused or withdrawn, as they were, with rule and reason; keyed by series, source, sha256,
row, ts, and rule. ``replayed_by`` is the run that made a bar of the row after all; null before."""

CORRECTIONS: Final = TableSpec(
    name="corrections",
    columns={
        "symbol": pl.String,
        "timeframe": pl.String,
        "ts": UTC_MICROS,
        **{f"old_{name}": dtype for name, dtype in _RAW.items()},
        **{f"new_{name}": dtype for name, dtype in _RAW.items()},
        "old_source": pl.String,
        "source": pl.String,
        "source_sha256": pl.String,
        "run_id": pl.String,
        "batch_id": pl.String,
        "corrected_at": UTC_MICROS,
    },
    nullable=frozenset({"old_volume", "new_volume"}),
    partition_by=(),
)
"""Bars that changed: old and new values; keyed by series, ts, source, sha256 and corrected_at."""

_INTERVALS: Final = {
    "symbol": pl.String,
    "timeframe": pl.String,
    "start": UTC_MICROS,
    "end": UTC_MICROS,
    "cause": pl.String,
    "detail": pl.String,
    "source": pl.String,
    "noted_at": UTC_MICROS,
    "expires_at": UTC_MICROS,
    "run_id": pl.String,
}

VERIFIED_EMPTY: Final = TableSpec(
    name="verified_empty", columns=_INTERVALS, nullable=frozenset(), partition_by=()
)
"""Intervals ``[start, end)`` of which a source said that it has no bar; believed until they expire.
Those of one series do not overlap."""

UNFILLED: Final = TableSpec(
    name="unfilled", columns=_INTERVALS, nullable=frozenset(), partition_by=()
)
"""Intervals that a source was asked for in vain, with the cause; not asked for again until they
expire. Those of one series do not overlap."""

SYMBOLS: Final = TableSpec(
    name="symbols",
    columns={
        "symbol": pl.String,
        "exchange": pl.String,
        "base": pl.String,
        "quote": pl.String,
        "asset_type": pl.String,
        "description": pl.String,
        "active": pl.Boolean,
        "listed_at": UTC_MICROS,
        "source": pl.String,
        "valid_from": UTC_MICROS,
        "valid_until": UTC_MICROS,
    },
    nullable=frozenset(
        {"base", "quote", "asset_type", "description", "active", "listed_at", "valid_until"}
    ),
    partition_by=("exchange",),
)
"""What is known of symbols, a row a version, each valid in ``[valid_from, valid_until)``."""

EXECUTION: Final = TableSpec(
    name="execution",
    columns={
        "symbol": pl.String,
        "exchange": pl.String,
        "tick_size": pl.Float64,
        "lot_step": pl.Float64,
        "min_quantity": pl.Float64,
        "min_notional": pl.Float64,
        "maker_fee": pl.Float64,
        "taker_fee": pl.Float64,
        "source": pl.String,
        "valid_from": UTC_MICROS,
        "valid_until": UTC_MICROS,
    },
    nullable=frozenset(
        {
            "tick_size",
            "lot_step",
            "min_quantity",
            "min_notional",
            "maker_fee",
            "taker_fee",
            "valid_until",
        }
    ),
    partition_by=("exchange",),
)
"""How a symbol trades, in versions: steps and minima in quote or base units, fees as fractions."""

EXCHANGES: Final = TableSpec(
    name="exchanges",
    columns={
        "venue": pl.String,
        "name": pl.String,
        "timeframes": pl.String,
        "max_requests_per_second": pl.Float64,
        "calendar": pl.String,
        "source": pl.String,
        "valid_from": UTC_MICROS,
        "valid_until": UTC_MICROS,
    },
    nullable=frozenset(
        {"name", "timeframes", "max_requests_per_second", "calendar", "valid_until"}
    ),
    partition_by=(),
)
"""What a venue can do, in versions; ``timeframes`` is a text such as ``1m,5m,1h``."""

FEATURE_VALUES: Final = (
    "recommend_all",
    "recommend_ma",
    "recommend_other",
    "rsi_14",
    "adx_14",
    "atr_14",
    "natr_14",
    "ema_20",
    "ema_50",
    "sma_50",
    "sma_200",
    "macd",
    "macd_signal",
    "bb_upper",
    "bb_lower",
    "return_1",
    "return_5",
    "return_20",
    "volatility_20",
    "volatility_day",
    "volatility_week",
    "volatility_month",
    "perf_week",
    "perf_month",
    "perf_3_months",
    "perf_6_months",
    "perf_year",
)
"""The columns of `features` that hold values; a null says that there is none."""

FEATURES: Final = TableSpec(
    name="features",
    columns={
        "symbol": pl.String,
        "timeframe": pl.String,
        "bucket": pl.String,
        "ts": UTC_MICROS,
        "known_at": UTC_MICROS,
        "source": pl.String,
        "inputs": pl.Int64,
        **dict.fromkeys(FEATURE_VALUES, pl.Float64),
    },
    nullable=frozenset({"inputs", *FEATURE_VALUES}),
    partition_by=("timeframe", "bucket"),
)
"""Values that belong to a bar, by its opening `ts`; keyed by symbol, timeframe, ts and source.
``known_at`` is when they could be known; ``inputs`` names the bars they were computed from."""

TABLES: Final = {
    spec.name: spec
    for spec in (
        BARS,
        QUARANTINE,
        CORRECTIONS,
        VERIFIED_EMPTY,
        UNFILLED,
        SYMBOLS,
        EXECUTION,
        EXCHANGES,
        FEATURES,
    )
}
