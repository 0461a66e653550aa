"""The section ``sources`` of a workspace's ``quant.yml``: which venues are asked, and where."""

from __future__ import annotations

import ipaddress
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

from quant_registry.errors import InvalidInput
from quant_registry.settings import check_keys, read_settings, section_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from quant_registry.workspace import Workspace

SCANNER_URL: Final = "https://scanner.tradingview.com"
_VENUE: Final = re.compile(r"[A-Z0-9_]{1,32}")
_EXCHANGE: Final = re.compile(r"[a-z0-9_]{1,32}")
_SEEDS: Final = 2**63
_SHOWN: Final = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class VenueSettings:
    """How one venue is asked for bars.

    Attributes:
        exchange: ccxt's id, such as ``binance``; None: found by the venue's name.
        base_url: scheme and host in place of the venue's own; None: its own.
        max_requests_per_second: None: what the venue allows.
    """

    exchange: str | None = None
    base_url: str | None = None
    max_requests_per_second: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ScannerSettings:
    """Where scans are made, and how often."""

    base_url: str = SCANNER_URL
    max_requests_per_second: float = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceSettings:
    """The section as a whole.

    Attributes:
        market: ``live``: the real venues. ``embedded``: a synthetic market, started for the run.
        seed: of the embedded market.
        venues: settings by the exchange part of symbols, such as ``BINANCE``.
        scanner: of the scanner.
    """

    market: Literal["live", "embedded"] = "live"
    seed: int = 7
    venues: Mapping[str, VenueSettings] = field(default_factory=dict)
    scanner: ScannerSettings = field(default_factory=ScannerSettings)


def read_source_settings(workspace: Workspace) -> SourceSettings:
    """Return the section of the workspace's ``quant.yml``; the defaults where there is none.

    Raises:
        InvalidInput: the file is too large or no YAML, or a value is not possible; its place is
            named.
    """
    return source_settings(read_settings(workspace))


def source_settings(settings: dict[str, Any]) -> SourceSettings:
    """Return the section ``sources`` of what a ``quant.yml`` holds.

    Raises:
        InvalidInput: a value is not possible; its place is named.
    """
    section = section_of(settings, "sources")
    if section is None:
        return SourceSettings()
    return SourceSettings(**_read(section, "sources", _SECTION))


def _read(value: Any, place: str, keys: Mapping[str, Callable[[Any, str], Any]]) -> dict[str, Any]:
    """Return the mapping `value`, each of its keys read by its reader."""
    if not isinstance(value, dict):
        raise _impossible(value, place, "write a mapping of keys to values")
    check_keys(value, keys, place)
    return {key: keys[key](value[key], f"{place}.{key}") for key in keys if key in value}


def _market(value: Any, place: str) -> str:
    if value not in ("live", "embedded"):
        raise _impossible(value, place, "write live or embedded")
    return str(value)


def _seed(value: Any, place: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _SEEDS:
        raise _impossible(value, place, "write a whole number from 0")
    return value


def _rate(value: Any, place: str) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value < math.inf:
        raise _impossible(value, place, "write a number above 0")
    return float(value)


def _exchange(value: Any, place: str) -> str:
    if not isinstance(value, str) or not _EXCHANGE.fullmatch(value):
        raise _impossible(value, place, "write ccxt's id of the exchange, such as binance")
    return value


def _base_url(value: Any, place: str) -> str:
    """Return an address without a trailing slash; plain HTTP only to this machine."""
    fix = "write it as https://host, or http://127.0.0.1:port for this machine"
    try:
        parts = urlsplit(value if isinstance(value, str) else "")
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise _impossible(value, place, fix) from None
    named = parts.scheme in ("http", "https") and host
    if not named or parts.username is not None or parts.query or parts.fragment:
        # It may hold a password: it is not shown.
        raise InvalidInput(f"quant.yml: {place} is no address of a venue", fix=fix)
    if parts.scheme == "http" and not _is_loopback(host):
        raise InvalidInput(f"quant.yml: {place} sends in the clear to {host[:_SHOWN]}", fix=fix)
    return str(value).rstrip("/")


def is_loopback(url: str) -> bool:
    """Tell whether an address is on this machine."""
    return _is_loopback(urlsplit(url).hostname or "")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _venues(value: Any, place: str) -> dict[str, VenueSettings]:
    if not isinstance(value, dict):
        raise _impossible(value, place, "write a mapping of venues to their settings")
    for name in value:
        if not isinstance(name, str) or not _VENUE.fullmatch(name):
            raise _impossible(name, place, "name a venue by the exchange of its symbols: BINANCE")
    return {
        name: VenueSettings(**_read(each, f"{place}.{name}", _VENUE_KEYS))
        for name, each in value.items()
    }


def _scanner(value: Any, place: str) -> ScannerSettings:
    return ScannerSettings(**_read(value, place, _SCANNER_KEYS))


def _impossible(value: Any, place: str, fix: str) -> InvalidInput:
    return InvalidInput(
        f"quant.yml: {place}: {str(value)[:_SHOWN]!r} is not possible", fix=fix, place=place
    )


_SCANNER_KEYS: Final = {"base_url": _base_url, "max_requests_per_second": _rate}
_VENUE_KEYS: Final = {"exchange": _exchange, **_SCANNER_KEYS}
_SECTION: Final = {"market": _market, "seed": _seed, "venues": _venues, "scanner": _scanner}
