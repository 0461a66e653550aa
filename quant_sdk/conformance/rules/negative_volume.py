"""Rule ``negative_volume``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from quant_sdk.conformance.rule import Rule
from quant_sdk.conformance.rules._shared import say

if TYPE_CHECKING:
    from quant_sdk.conformance.rule import Asked


def negative_volume(_: Asked) -> pl.Expr:
    """Mark the rows with a volume below zero; no volume at all is fine."""
    return (pl.col("volume") < 0).fill_null(value=False)


RULE: Final = Rule(
    id="negative_volume",
    kind="bars",
    severity="block",
    measures="bars whose volume is below zero",
    source="what a volume is: a count of units traded",
    bad=negative_volume,
    reason=say("volume {} is below zero", "volume"),
)
