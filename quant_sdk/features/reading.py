"""Reading features back, as they were known at an instant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from quant_sdk.features.times import micros_of
from quant_sdk.lakehouse.buckets import bucket_at
from quant_sdk.lakehouse.specs import FEATURES, UTC_MICROS
from quant_sdk.lakehouse.symbols import check_symbol
from quant_sdk.lakehouse.table import Table
from quant_sdk.lakehouse.timeframe import Timeframe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path


def read(  # noqa: PLR0913 - each narrows what is read
    lakehouse: Path,
    *,
    timeframe: str,
    symbol: str | None = None,
    source: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    known_by: datetime | None = None,
) -> pl.DataFrame:
    """Return features of one timeframe whose bars open in ``[start, end)``.

    Args:
        lakehouse: the folder of the tables.
        timeframe: such as ``1h``.
        symbol: only this one.
        source: only this one: ``talib`` for history, a scanner's id for technicals.
        start: aware; of the bar's opening.
        end: aware, exclusive.
        known_by: aware; only what could be known then, at the latest. A row that follows a
            corrected bar says what the correction makes of it, from its bar's close on.

    Returns:
        The columns of `features`, sorted by symbol, ts and source.

    Raises:
        InvalidInput: a malformed symbol or timeframe, a naive datetime.
    """
    step = Timeframe.parse(timeframe)
    filters = [pl.col("timeframe") == step.text, *_within(step, start, end)]
    if symbol is not None:
        filters.append(pl.col("symbol") == check_symbol(symbol))
    if source is not None:
        filters.append(pl.col("source") == source)
    if known_by is not None:
        filters.append(pl.col("known_at") <= _instant(known_by))
    order = ("symbol", "ts", "source")
    return Table(lakehouse, FEATURES).read(lambda rows: rows.filter(*filters).sort(order).collect())


def _within(step: Timeframe, start: datetime | None, end: datetime | None) -> Iterator[pl.Expr]:
    """Yield the bounds of ``ts``, and of the bucket, which is a folder and spares its files."""
    if start is not None:
        yield pl.col("ts") >= _instant(start)
        yield pl.col("bucket") >= pl.lit(bucket_at(start, step))
    if end is not None:
        yield pl.col("ts") < _instant(end)
        yield pl.col("bucket") <= pl.lit(bucket_at(end, step))


def _instant(at: datetime) -> pl.Expr:
    return pl.lit(micros_of(at), dtype=pl.Int64).cast(UTC_MICROS)
