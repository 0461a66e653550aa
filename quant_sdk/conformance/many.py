"""Check the raw bars of many series of one timeframe at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from quant_sdk.conformance.bars import BAR_COLUMNS, CheckedBars
from quant_sdk.conformance.divide import Divided, divide
from quant_sdk.conformance.presets import STRICT
from quant_sdk.conformance.rule import Asked
from quant_sdk.conformance.rules import BARS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from quant_sdk.lakehouse.timeframe import Timeframe

NOTED: Final = ("volume_spike", "flat_close")
"""The notes that are kept with a source."""


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
    names = ("symbol", "row", *BAR_COLUMNS)
    rows = raw.select(names)
    return checked(rows, divide(rows, asked, BARS), names)


def checked(rows: pl.DataFrame, divided: Divided, names: Sequence[str]) -> CheckedBars:
    """Return what was divided as frames.

    Args:
        rows: with the columns `names`; ``row`` numbers them.
        divided: the rows, divided.
        names: symbol, if there are several; row; ts and the values.
    """
    refused = rows[divided.refused["at"]].with_columns(divided.refused["rule", "reason"])
    return CheckedBars(
        bars=divided.selection.frame().select(name for name in names if name != "row"),
        quarantined=refused.select(*names, "rule", "reason").sort("row"),
        identical_duplicates=divided.twins.len(),
        notes={name: divided.marks[name].len() if name in divided.marks else 0 for name in NOTED},
        rows_in=rows.height,
    )
