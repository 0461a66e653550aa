"""Rule ``trade_non_positive``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from quant_sdk.conformance.rule import Rule
from quant_sdk.conformance.rules._shared import is_positive, say

if TYPE_CHECKING:
    import polars as pl

    from quant_sdk.conformance.rule import Asked


def trade_non_positive(_: Asked) -> pl.Expr:
    """Mark the trades whose price or size is no finite number above zero."""
    return ~is_positive("price", "size")


RULE: Final = Rule(
    id="trade_non_positive",
    kind="ticks",
    severity="block",
    measures="trades whose price or size is null, not finite, zero or below",
    source="Barndorff-Nielsen, Hansen, Lunde, Shephard (2009), Realized kernels in practice, P2",
    bad=trade_non_positive,
    reason=say("price {} or size {} is no number above zero", "price", "size"),
    nulls=("price", "size"),
)
