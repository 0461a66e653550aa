"""The lakehouse: series, their grid, calendar, coverage and fingerprints.

Names resolve on first use (PEP 562), so that importing this package loads neither polars nor
deltalake.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quant_sdk.lakehouse.calendars import ALWAYS, FX, Calendar, calendar_for
    from quant_sdk.lakehouse.coverage import Gap, SeriesCoverage, coverage
    from quant_sdk.lakehouse.fingerprint import combine, fingerprint
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
    "combine",
    "coverage",
    "fingerprint",
    "join_symbol",
    "split_symbol",
]

_HOMES = {
    "calendars": ("ALWAYS", "FX", "Calendar", "calendar_for"),
    "coverage": ("Gap", "SeriesCoverage", "coverage"),
    "fingerprint": ("combine", "fingerprint"),
    "symbols": ("check_symbol", "join_symbol", "split_symbol"),
    "timeframe": ("Timeframe",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
