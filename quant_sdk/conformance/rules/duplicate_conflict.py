"""Rule ``duplicate_conflict``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from quant_sdk.conformance.rule import Rule
from quant_sdk.conformance.rules._shared import OHLC, PRICES, VALUES, say

if TYPE_CHECKING:
    from quant_sdk.conformance.rule import Asked


def differs_from_before() -> pl.Expr:
    """Tell whether a row has other bits than the row before it, in price or volume."""
    bits = [pl.col(name).reinterpret(dtype=pl.UInt64) for name in VALUES]
    return pl.any_horizontal(each.ne_missing(each.shift(1)) for each in bits)


def duplicate_conflict(_: Asked) -> pl.Expr:
    """Mark the rows whose ``ts`` another row has with other values; rows come in time order."""
    ts = pl.col("ts")
    return ts.is_in(ts.filter((ts == ts.shift(1)) & differs_from_before()).implode())


RULE: Final = Rule(
    id="duplicate_conflict",
    kind="bars",
    severity="block",
    measures="bars of one opening that differ: none of them is taken, and none is blended",
    source="a key that determines its row: Codd (1970), A relational model of data",
    scope="series",
    bad=duplicate_conflict,
    reason=say(f"another row has this timestamp and other values: {OHLC}", *PRICES),
)
