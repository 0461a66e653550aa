"""Rule ``off_grid``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from quant_sdk.conformance.rule import Rule
from quant_sdk.conformance.rules._shared import on_grid, shown_time

if TYPE_CHECKING:
    from quant_sdk.conformance.rule import Asked


def off_grid(asked: Asked) -> pl.Expr:
    """Mark the rows that open between two openings of the grid."""
    return ~on_grid(asked.grid)


def _reason(asked: Asked) -> pl.Expr:
    return pl.format(f"{{}} is not an opening of the {asked.grid.text} grid", shown_time())


RULE: Final = Rule(
    id="off_grid",
    kind="bars",
    severity="block",
    measures="bars whose timestamp is no opening of their timeframe's grid",
    source="the grid of `quant_sdk.lakehouse.timeframe`: UTC, weeks from Monday, months from day 1",
    bad=off_grid,
    reason=_reason,
)
