"""What became of bars: their old and new values, correction after correction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from quant_sdk.lakehouse.overlap import KEY

if TYPE_CHECKING:
    from quant_sdk.lakehouse.table import Table


def newest_corrections(corrections: Table, symbols: pl.Series) -> pl.DataFrame:
    """Return the last correction of each bar of some symbols, with the table's columns."""
    return (
        corrections.scan()
        .filter(pl.col("symbol").is_in(symbols.unique().to_list()))
        .collect()
        .sort("corrected_at", maintain_order=True)
        .unique(KEY, keep="last", maintain_order=True)
    )
