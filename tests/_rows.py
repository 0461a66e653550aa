"""Rows of the table of bars, and commits to write them with."""

from __future__ import annotations

import polars as pl

from quant_registry.run import Commit
from quant_sdk.lakehouse.specs import BARS


def bars(rows: int) -> pl.DataFrame:
    opens = pl.Series(range(rows)).cast(pl.Int64) * 3_600_000_000 + 1_705_708_800_000_000
    return (
        pl.DataFrame({"ts": opens.cast(pl.Datetime("us", "UTC"))})
        .with_columns(
            symbol=pl.lit("BINANCE:ADABTC"),
            timeframe=pl.lit("1h"),
            bucket=pl.col("ts").dt.strftime("%Y-%m"),
            source=pl.lit("s"),
            **{n: pl.lit(1.5) for n in ("open", "high", "low", "close", "volume")},
        )
        .select(list(BARS.columns))
    )


def commit(epoch: int = 0) -> Commit:
    return Commit(batch_id="b", run_id="r", stage_id="data.ingest", epoch=epoch, lock_id=None)
