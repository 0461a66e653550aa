"""Rule ``quote_crossed``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from quant_sdk.conformance.rule import Rule
from quant_sdk.conformance.rules._shared import say

if TYPE_CHECKING:
    from quant_sdk.conformance.rule import Asked


def quote_crossed(_: Asked) -> pl.Expr:
    """Mark the quotes whose bid is above their ask; a locked quote is fine."""
    return pl.col("bid") > pl.col("ask")


RULE: Final = Rule(
    id="quote_crossed",
    kind="quotes",
    severity="block",
    measures="quotes whose bid is above their ask",
    source="Barndorff-Nielsen, Hansen, Lunde, Shephard (2009), Realized kernels in practice, Q2",
    bad=quote_crossed,
    reason=say("bid {} is above ask {}", "bid", "ask"),
)
