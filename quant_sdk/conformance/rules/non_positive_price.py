"""Rule ``non_positive_price``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from quant_sdk.conformance.rule import Rule
from quant_sdk.conformance.rules._shared import OHLC, PRICES, say

if TYPE_CHECKING:
    from quant_sdk.conformance.rule import Asked


def non_positive_price(_: Asked) -> pl.Expr:
    """Mark the rows with a price of zero or below."""
    return pl.any_horizontal(pl.col(PRICES) <= 0)


RULE: Final = Rule(
    id="non_positive_price",
    kind="bars",
    severity="block",
    measures="bars with a price of zero or below",
    source="Barndorff-Nielsen, Hansen, Lunde, Shephard (2009), Realized kernels in practice, P2",
    bad=non_positive_price,
    reason=say(f"a price is not above zero: {OHLC}", *PRICES),
)
