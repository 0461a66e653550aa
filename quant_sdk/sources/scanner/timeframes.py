"""What the scanner calls a timeframe."""

from __future__ import annotations

from typing import Final

SUFFIXES: Final = {
    "1m": "|1",
    "5m": "|5",
    "15m": "|15",
    "30m": "|30",
    "1h": "|60",
    "2h": "|120",
    "4h": "|240",
    "1d": "",
    "1w": "|1W",
    "1M": "|1M",
}
"""Suffix of a technical column at a timeframe: ``RSI|60`` is the RSI of hourly bars."""
