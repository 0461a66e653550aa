"""The lakehouse: series, their grid, calendar and coverage.

Names resolve on first use (PEP 562), so that importing this package loads neither polars nor
deltalake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quant_registry.lazy import lazily

if TYPE_CHECKING:
    from quant_sdk.lakehouse.calendars import ALWAYS, FX, Calendar, calendar_for
    from quant_sdk.lakehouse.coverage import Gap, SeriesCoverage
    from quant_sdk.lakehouse.symbols import check_symbol, join_symbol, split_symbol
    from quant_sdk.lakehouse.timeframe import Timeframe

__all__ = [
    "ALWAYS",
    "FX",
    "Calendar",
    "Gap",
    "SeriesCoverage",
    "Timeframe",
    "calendar_for",
    "check_symbol",
    "join_symbol",
    "split_symbol",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        ".calendars": ("ALWAYS", "FX", "Calendar", "calendar_for"),
        ".coverage": ("Gap", "SeriesCoverage"),
        ".symbols": ("check_symbol", "join_symbol", "split_symbol"),
        ".timeframe": ("Timeframe",),
    },
)
