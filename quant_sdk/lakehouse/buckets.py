"""Buckets: the year of a bar, or its year and month, by which tables are partitioned."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from datetime import datetime

    from quant_sdk.lakehouse.timeframe import Timeframe


def bucket_of(timeframe: Timeframe) -> pl.Expr:
    """Return the bucket (String) of each ``ts`` (Datetime, UTC)."""
    ts = pl.col("ts")
    year = ts.dt.year().cast(pl.String).str.zfill(4)
    if timeframe.is_daily:
        return year
    return year + pl.lit("-") + ts.dt.month().cast(pl.String).str.zfill(2)


def bucket_at(at: datetime, timeframe: Timeframe) -> str:
    """Return the bucket of an aware instant; ``strftime`` would write the year 999 so."""
    day = at.astimezone(UTC)
    year = f"{day.year:04d}"
    return year if timeframe.is_daily else f"{year}-{day.month:02d}"
