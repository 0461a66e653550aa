"""Rule ``return_spike``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from quant_sdk.conformance.rule import Rule
from quant_sdk.conformance.rules._shared import close_return, shown

if TYPE_CHECKING:
    from quant_sdk.conformance.rule import Asked

MAX_RETURN: Final = 5.0
"""The largest close-to-close return that is believed: +500 %."""


def return_spike(asked: Asked) -> pl.Expr:
    """Mark the bars whose close is too far above that of the bar before."""
    return (close_return() > asked.limit("max_return")).fill_null(value=False)


def _reason(asked: Asked) -> pl.Expr:
    before = pl.col("close").shift(1).cast(pl.String).fill_null("null")
    percent = (close_return() * 100).round(1).cast(pl.String).fill_null("null")
    limit = f"{asked.limit('max_return'):.0%}".replace("%", " %")
    template = f"close {{}} after {{}} is a return of +{{}} %, above +{limit}"
    return pl.format(template, shown("close"), before, percent)


RULE: Final = Rule(
    id="return_spike",
    kind="bars",
    severity="block",
    measures="bars whose close-to-close return is above `max_return` (1 is +100 %); not where an "
    "expected bar never came between the two: that is noted, as `return_after_gap`",
    source="Brownlees and Gallo (2006), Financial econometric analysis at ultra-high frequency",
    scope="series",
    thresholds={"max_return": MAX_RETURN},
    bad=return_spike,
    reason=_reason,
)
