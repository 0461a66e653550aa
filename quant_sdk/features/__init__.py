"""Features of bars: today's technicals from a scanner, history by TA-Lib; point in time.

Names resolve on first use (PEP 562), so that importing this package loads neither polars nor
TA-Lib.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quant_registry.lazy import lazily

if TYPE_CHECKING:
    from quant_sdk.features.history import BATCH_ROWS, History, Pending, Series, features_of
    from quant_sdk.features.indicators import require_talib
    from quant_sdk.features.reading import read
    from quant_sdk.features.store import FeatureStore, Stored
    from quant_sdk.features.technicals import rows_of, scanner_columns

__all__ = [
    "BATCH_ROWS",
    "FeatureStore",
    "History",
    "Pending",
    "Series",
    "Stored",
    "features_of",
    "read",
    "require_talib",
    "rows_of",
    "scanner_columns",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        ".history": ("BATCH_ROWS", "History", "Pending", "Series", "features_of"),
        ".indicators": ("require_talib",),
        ".reading": ("read",),
        ".store": ("FeatureStore", "Stored"),
        ".technicals": ("rows_of", "scanner_columns"),
    },
)
