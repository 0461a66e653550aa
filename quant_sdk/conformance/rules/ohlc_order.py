"""Rule ``ohlc_order``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from quant_sdk.conformance.rule import Rule
from quant_sdk.conformance.rules._shared import OHLC, PRICES, say

if TYPE_CHECKING:
    from quant_sdk.conformance.rule import Asked


def ohlc_order(_: Asked) -> pl.Expr:
    """Mark the rows whose low and high do not bound the rest."""
    low, high = pl.col("low"), pl.col("high")
    return (
        (low > pl.min_horizontal("open", "close"))
        | (high < pl.max_horizontal("open", "close"))
        | (low > high)
    )


RULE: Final = Rule(
    id="ohlc_order",
    kind="bars",
    severity="block",
    measures="bars of which low <= open, close <= high does not hold",
    source="what high and low are: the extremes of the prices of the bar",
    bad=ohlc_order,
    reason=say(f"low <= open, close <= high does not hold: {OHLC}", *PRICES),
)
