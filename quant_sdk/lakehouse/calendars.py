"""When a market trades, and so which bars of the grid are expected.

Two calendars of our own: `ALWAYS` (24x7, crypto) and `FX` (24x5, closed from Friday 17:00 to Sunday
17:00 in New York, daylight saving time included). A bar is expected when any part of its half-open
``[ts, ts + timeframe)`` is open. Holidays are not modelled: a quiet Christmas is missing bars.
Exchanges' calendars (``XNYS``, ``XLON`` …), with their holidays, come from the package
exchange-calendars; see `quant_sdk.lakehouse.sessions`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import polars as pl

from quant_sdk.lakehouse.symbols import split_symbol
from quant_sdk.lakehouse.timeframe import Timeframe

FX_VENUES: Final = frozenset({"DUKASCOPY", "FOREXCOM", "FX", "FXCM", "FX_IDC", "OANDA"})
"""Exchanges whose symbols trade 24x5 unless the manifest names a calendar."""

SESSION_VENUES: Final = {
    **dict.fromkeys(("AMEX", "ARCA", "BATS", "NASDAQ", "NYSE"), "XNYS"),
    "ASX": "XASX",
    "EURONEXT": "XPAR",
    "HKEX": "XHKG",
    "KRX": "XKRX",
    "LSE": "XLON",
    "SIX": "XSWX",
    "SSE": "XSHG",
    "SZSE": "XSHG",
    "TSE": "XTKS",
    "TSX": "XTSE",
    "XETR": "XETR",
}
"""Exchanges whose symbols trade in sessions, as the scanner names them, and their calendars."""

_CLOSING_HOUR: Final = 17
_FRIDAY, _SATURDAY, _SUNDAY = 5, 6, 7
_SURELY_OPEN: Final = Timeframe.parse("3d").micros or 0
"""A bar this long cannot lie within one week-end, of 49 hours at most."""


class Calendar(Protocol):
    """Which bars are expected."""

    @property
    def name(self) -> str:
        """The name the manifest uses: ``24x7``, ``24x5``, or an exchange's such as ``XNYS``."""

    @property
    def always_open(self) -> bool:
        """True when every bar of the grid is expected."""

    def expected(self, ts: pl.Expr, timeframe: Timeframe) -> pl.Expr:
        """Mark the bars opening at ``ts`` (Datetime us UTC) that are expected (Boolean)."""


@dataclass(frozen=True, slots=True)
class AlwaysOpen:
    """Every bar is expected."""

    name: str = "24x7"
    always_open: bool = True

    def expected(self, ts: pl.Expr, timeframe: Timeframe) -> pl.Expr:  # noqa: ARG002  the seam's
        """Mark every bar; a null ``ts`` stays null."""
        return ts == ts  # noqa: PLR0124  true, or null where ts is


@dataclass(frozen=True, slots=True)
class ForeignExchange:
    """Closed from Friday 17:00 to Sunday 17:00, New York time."""

    name: str = "24x5"
    always_open: bool = False

    def expected(self, ts: pl.Expr, timeframe: Timeframe) -> pl.Expr:
        """Mark the bars of which any part lies outside the week-end."""
        if timeframe.micros is None or timeframe.micros > _SURELY_OPEN:
            return ALWAYS.expected(ts, timeframe)
        last = ts + pl.duration(microseconds=timeframe.micros - 1)
        return _is_open(ts) | _is_open(last)


def _is_open(ts: pl.Expr) -> pl.Expr:
    local = ts.dt.convert_time_zone("America/New_York")
    day, late = local.dt.weekday(), local.dt.hour() >= _CLOSING_HOUR
    closed = ((day == _FRIDAY) & late) | (day == _SATURDAY) | ((day == _SUNDAY) & ~late)
    return ~closed


ALWAYS: Final[Calendar] = AlwaysOpen()
FX: Final[Calendar] = ForeignExchange()
CALENDARS: Final = {calendar.name: calendar for calendar in (ALWAYS, FX)}


def calendar_name(venue: str) -> str:
    """Return the name of a venue's calendar: 24x7 for those that are not known to close."""
    return FX.name if venue in FX_VENUES else SESSION_VENUES.get(venue, ALWAYS.name)


def calendar_for(symbol: str, name: str | None = None) -> Calendar:
    """Return the calendar called ``name``, or without a name that of the symbol's exchange.

    Raises:
        UnknownName, MissingExtra: as `named_calendar`.
        InvalidIdentifier: the symbol is none.
    """
    return named_calendar(calendar_name(split_symbol(symbol)[0]) if name is None else name)


def named_calendar(name: str) -> Calendar:
    """Return a calendar by its name.

    An exchange's calendar keeps the sessions that it has made: use one again for all its symbols.

    Raises:
        UnknownName: no calendar is called so.
        MissingExtra: it is an exchange's, and exchange-calendars is not installed.
    """
    if name in CALENDARS:
        return CALENDARS[name]
    from quant_sdk.lakehouse.sessions import ExchangeSessions

    return ExchangeSessions(name)
