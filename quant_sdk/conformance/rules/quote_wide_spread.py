"""Rule ``quote_wide_spread``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from quant_sdk.conformance.rule import Rule
from quant_sdk.conformance.rules._shared import shown

if TYPE_CHECKING:
    from quant_sdk.conformance.rule import Asked

MAX_SPREAD: Final = 0.5
"""The widest spread that is believed, as a share of the middle of bid and ask."""


def quote_wide_spread(asked: Asked) -> pl.Expr:
    """Mark the quotes whose spread is too large a share of their middle."""
    bid, ask = pl.col("bid"), pl.col("ask")
    middle = bid / 2 + ask / 2  # their sum may be more than a float holds
    return (ask - bid) > asked.limit("max_spread") * middle


def _reason(asked: Asked) -> pl.Expr:
    share = f"{asked.limit('max_spread'):g}"
    template = f"from bid {{}} to ask {{}} is more than {share} of their middle"
    return pl.format(template, shown("bid"), shown("ask"))


RULE: Final = Rule(
    id="quote_wide_spread",
    kind="quotes",
    severity="block",
    measures="quotes whose spread is more than `max_spread` of the middle of bid and ask",
    source="Barndorff-Nielsen, Hansen, Lunde, Shephard (2009), Realized kernels in practice, Q3",
    thresholds={"max_spread": MAX_SPREAD},
    bad=quote_wide_spread,
    reason=_reason,
)
