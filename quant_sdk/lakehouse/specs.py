"""The tables of the lakehouse, declared: columns with dtypes, which may be null, partitions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import polars as pl

UTC_MICROS: Final = pl.Datetime("us", "UTC")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSpec:
    """A table's name, columns with dtypes, which may be null, and its partitions."""

    name: str
    columns: dict[str, Any]
    nullable: frozenset[str]
    partition_by: tuple[str, ...]

    @property
    def empty(self) -> pl.DataFrame:
        """A frame of the table's columns without rows."""
        return pl.DataFrame(schema=self.columns)


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
    },
    nullable=frozenset({"ts", "row", *_RAW}),
    partition_by=(),
)
"""Rows refused, as they were read, with rule and reason; keyed by series, source, sha256, row, ts,
and rule."""

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

TABLES: Final = {spec.name: spec for spec in (BARS, QUARANTINE, CORRECTIONS)}
