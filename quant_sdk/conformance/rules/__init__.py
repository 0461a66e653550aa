"""The built-in rules, one a file, in the order in which they are asked.

A row is quarantined under the first blocking rule that it breaks, and sees only the rows that
passed the rules before it.
"""

from __future__ import annotations

from typing import Final

from quant_sdk.conformance.rule import Asked, Rule
from quant_sdk.conformance.rules._shared import PRICES, VALUES, close_return, on_grid
from quant_sdk.conformance.rules.duplicate_conflict import RULE as DUPLICATE_CONFLICT
from quant_sdk.conformance.rules.flat_close import FLAT_RUN
from quant_sdk.conformance.rules.flat_close import RULE as FLAT_CLOSE
from quant_sdk.conformance.rules.identical_duplicate import RULE as IDENTICAL_DUPLICATE
from quant_sdk.conformance.rules.missing_bars import RULE as MISSING_BARS
from quant_sdk.conformance.rules.negative_volume import RULE as NEGATIVE_VOLUME
from quant_sdk.conformance.rules.non_finite import RULE as NON_FINITE
from quant_sdk.conformance.rules.non_positive_price import RULE as NON_POSITIVE_PRICE
from quant_sdk.conformance.rules.off_grid import RULE as OFF_GRID
from quant_sdk.conformance.rules.ohlc_order import RULE as OHLC_ORDER
from quant_sdk.conformance.rules.out_of_order import RULE as OUT_OF_ORDER
from quant_sdk.conformance.rules.quote_crossed import RULE as QUOTE_CROSSED
from quant_sdk.conformance.rules.quote_non_positive_price import RULE as QUOTE_NON_POSITIVE_PRICE
from quant_sdk.conformance.rules.quote_non_positive_size import RULE as QUOTE_NON_POSITIVE_SIZE
from quant_sdk.conformance.rules.quote_wide_spread import RULE as QUOTE_WIDE_SPREAD
from quant_sdk.conformance.rules.return_after_gap import RULE as RETURN_AFTER_GAP
from quant_sdk.conformance.rules.return_spike import RULE as RETURN_SPIKE
from quant_sdk.conformance.rules.stale_series import RULE as STALE_SERIES
from quant_sdk.conformance.rules.timestamp_missing import RULE as TIMESTAMP_MISSING
from quant_sdk.conformance.rules.trade_id_repeated import RULE as TRADE_ID_REPEATED
from quant_sdk.conformance.rules.trade_non_positive import RULE as TRADE_NON_POSITIVE
from quant_sdk.conformance.rules.volume_spike import RULE as VOLUME_SPIKE

__all__ = [
    "BARS",
    "BUILT_IN",
    "FLAT_RUN",
    "NOTES",
    "PRICES",
    "QUOTES",
    "RULES",
    "TICKS",
    "VALUES",
    "Asked",
    "Rule",
    "close_return",
    "on_grid",
]

RULES: Final = (
    TIMESTAMP_MISSING,
    OFF_GRID,
    NON_FINITE,
    NON_POSITIVE_PRICE,
    NEGATIVE_VOLUME,
    OHLC_ORDER,
    DUPLICATE_CONFLICT,
    RETURN_SPIKE,
)
"""Of bars: what is quarantined."""

NOTES: Final = (
    OUT_OF_ORDER,
    IDENTICAL_DUPLICATE,
    RETURN_AFTER_GAP,
    VOLUME_SPIKE,
    FLAT_CLOSE,
    MISSING_BARS,
    STALE_SERIES,
)
"""Of bars: what is worth a look, and stays."""

BARS: Final = (*RULES, *NOTES)

TICKS: Final = (
    TRADE_NON_POSITIVE,
    TRADE_ID_REPEATED,
)

QUOTES: Final = (
    QUOTE_NON_POSITIVE_PRICE,
    QUOTE_NON_POSITIVE_SIZE,
    QUOTE_CROSSED,
    QUOTE_WIDE_SPREAD,
)

BUILT_IN: Final = (*BARS, *TICKS, *QUOTES)
"""All of them; plugins add theirs by the entry-point group ``quant_sdk.conformance_rules``."""
