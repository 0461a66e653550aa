"""Rule ``trade_id_repeated``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from quant_sdk.conformance.rule import Rule
from quant_sdk.conformance.rules._shared import say

if TYPE_CHECKING:
    from quant_sdk.conformance.rule import Asked


def trade_id_repeated(_: Asked) -> pl.Expr:
    """Mark the trades whose id another, different trade of the symbol has.

    Identical rows are dropped before, so that whatever repeats an id is another trade.
    """
    return pl.struct("symbol", "trade_id").is_duplicated()


RULE: Final = Rule(
    id="trade_id_repeated",
    kind="ticks",
    severity="block",
    measures="different trades of one symbol with the same id: none of them is taken",
    source="a key that determines its row: Codd (1970), A relational model of data",
    scope="series",
    bad=trade_id_repeated,
    reason=say("another trade has the id {}", "trade_id"),
)
