"""Rule ``identical_duplicate``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from quant_sdk.conformance.rule import Rule
from quant_sdk.conformance.rules._shared import say
from quant_sdk.conformance.rules.duplicate_conflict import differs_from_before

if TYPE_CHECKING:
    from quant_sdk.conformance.rule import Asked


def identical_duplicate(_: Asked) -> pl.Expr:
    """Mark the second and later ones of equal rows; rows come in time order, without conflicts."""
    return (pl.col("ts") == pl.col("ts").shift(1)) & ~differs_from_before()


RULE: Final = Rule(
    id="identical_duplicate",
    kind="bars",
    severity="note",
    measures="rows that equal another row of their series bit by bit in price and volume, whoever "
    "their source is: the same bar, told twice; the first one is kept, "
    "the others are dropped, or quarantined where it blocks",
    source="Wang and Strong (1996), Beyond accuracy: what data quality means to data consumers",
    scope="series",
    bad=identical_duplicate,
    reason=say("another row has this timestamp and the same values"),
)
