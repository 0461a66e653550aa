"""Rule ``non_finite``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from quant_sdk.conformance.rule import Rule
from quant_sdk.conformance.rules._shared import OHLC, PRICES, VALUES, say

if TYPE_CHECKING:
    from quant_sdk.conformance.rule import Asked


def non_finite(_: Asked) -> pl.Expr:
    """Mark the rows with a price that is null, NaN or infinite, or a volume that is no number."""
    prices = [~pl.col(name).is_finite().fill_null(value=False) for name in PRICES]
    return pl.any_horizontal(*prices, ~pl.col("volume").is_finite().fill_null(value=True))


RULE: Final = Rule(
    id="non_finite",
    kind="bars",
    severity="block",
    measures="bars with a price that is null, NaN or infinite, or a volume that is NaN or infinite",
    source="IEEE 754: NaN and infinities spread through every sum that they enter",
    bad=non_finite,
    reason=say(f"a value is null or not finite: {OHLC}, volume {{}}", *VALUES),
    nulls=PRICES,
)
