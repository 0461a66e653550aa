"""Rule ``quote_non_positive_size``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from quant_sdk.conformance.rule import Rule
from quant_sdk.conformance.rules._shared import is_positive, say

if TYPE_CHECKING:
    import polars as pl

    from quant_sdk.conformance.rule import Asked


def quote_non_positive_size(_: Asked) -> pl.Expr:
    """Mark the quotes with a size that is no finite number above zero."""
    return ~is_positive("bid_size", "ask_size")


RULE: Final = Rule(
    id="quote_non_positive_size",
    kind="quotes",
    severity="block",
    measures="quotes with a size that is null, not finite, zero or below",
    source="Falkenberry (2002), High frequency data filtering",
    bad=quote_non_positive_size,
    reason=say("size {} or {} is no number above zero", "bid_size", "ask_size"),
    nulls=("bid_size", "ask_size"),
)
