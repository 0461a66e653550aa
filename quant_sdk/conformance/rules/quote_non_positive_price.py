"""Rule ``quote_non_positive_price``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from quant_sdk.conformance.rule import Rule
from quant_sdk.conformance.rules._shared import is_positive, say

if TYPE_CHECKING:
    import polars as pl

    from quant_sdk.conformance.rule import Asked


def quote_non_positive_price(_: Asked) -> pl.Expr:
    """Mark the quotes whose bid or ask is no finite number above zero."""
    return ~is_positive("bid", "ask")


RULE: Final = Rule(
    id="quote_non_positive_price",
    kind="quotes",
    severity="block",
    measures="quotes whose bid or ask is null, not finite, zero or below",
    source="Barndorff-Nielsen, Hansen, Lunde, Shephard (2009), Realized kernels in practice, P2",
    bad=quote_non_positive_price,
    reason=say("bid {} or ask {} is no number above zero", "bid", "ask"),
    nulls=("bid", "ask"),
)
