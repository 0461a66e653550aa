"""Rule ``out_of_order``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from quant_sdk.conformance.rule import Rule
from quant_sdk.conformance.rules._shared import shown_time

if TYPE_CHECKING:
    from quant_sdk.conformance.rule import Asked


def out_of_order(_: Asked) -> pl.Expr:
    """Mark the rows that came right after a later one of their series."""
    return pl.col("ts") < pl.col("ts").shift(1)


def _reason(_: Asked) -> pl.Expr:
    before = pl.col("ts").shift(1).dt.to_string("%Y-%m-%dT%H:%M:%S%.6fZ")
    return pl.format("{} came after {}", shown_time(), before)


RULE: Final = Rule(
    id="out_of_order",
    kind="bars",
    severity="note",
    measures="rows that came right after a later one of their series; they are put in order, or "
    "refused where it blocks",
    source="Falkenberry (2002), High frequency data filtering: sequence errors",
    scope="arrival",
    bad=out_of_order,
    reason=_reason,
)
