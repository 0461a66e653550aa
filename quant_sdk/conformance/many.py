"""Check the raw bars of many series of one timeframe at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from quant_sdk.conformance.bars import BAR_COLUMNS, CheckedBars
from quant_sdk.conformance.divide import divide
from quant_sdk.conformance.presets import STRICT
from quant_sdk.conformance.rule import Asked
from quant_sdk.conformance.rules import BARS

if TYPE_CHECKING:
    import polars as pl

    from quant_sdk.lakehouse.timeframe import Timeframe

_REFUSED: Final = ("symbol", "row", *BAR_COLUMNS, "rule", "reason")
_NOTES: Final = ("volume_spike", "flat_close")


def check_many(raw: pl.DataFrame, timeframe: Timeframe) -> CheckedBars:
    """Divide the rows of many series into good bars, quarantined rows and identical duplicates.

    Args:
        raw: symbol (String), row (UInt32), ts (Datetime us UTC, nullable), open, high, low, close,
            volume (Float64, nullable). Any order; sorted by symbol and ts is several times faster.
        timeframe: gives the grid that timestamps must lie on.

    Returns:
        As `check_bars`, with ``symbol`` as the first column of ``bars`` and ``quarantined``;
        ``bars`` is sorted by symbol and ts.
    """
    asked = Asked(timeframe=timeframe, thresholds=STRICT.thresholds)
    divided = divide(raw.select("symbol", "row", *BAR_COLUMNS), asked, BARS)
    nothing = divided.twins[:0]
    refused = raw[divided.refused["at"]].with_columns(divided.refused["rule", "reason"])
    return CheckedBars(
        bars=divided.selection.frame().select("symbol", *BAR_COLUMNS),
        quarantined=refused.select(_REFUSED).sort("row"),
        identical_duplicates=divided.twins.len(),
        notes={name: divided.marks.get(name, nothing).len() for name in _NOTES},
        rows_in=raw.height,
    )
