"""Asking a venue for its metadata: its list of markets, else the scanner for its symbols."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from quant_sdk.errors import NoData, SourceRefused
from quant_sdk.lakehouse.calendars import FX_VENUES
from quant_sdk.lakehouse.symbols import split_symbol
from quant_sdk.sources.scanner.opening import open_scanner
from quant_sdk.sources.scanner.query import PAIRED, ScanRequest, identity_columns
from quant_stages.data.metadata.facts import SCANNED, Facts, of_markets, of_scanner, scanned

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from quant_sdk import Run
    from quant_sdk.sources.candidates import Candidate
    from quant_sdk.sources.venues import Sources

FOREX = "forex"
ANY_MARKET = "global"
"""The scanner's market of symbols whose kind is not known, or is none of its pairs."""


def ask(run: Run, sources: Sources, venue: str, symbols: Mapping[str, str | None]) -> Facts:
    """Return what a venue tells.

    Args:
        run: its clock tells the scanner's deadlines.
        sources: the workspace's.
        venue: the exchange part of symbols; the scanner is asked about one that gives no list of
            markets itself, such as one of FX.
        symbols: the venue's that are wanted or stand in the catalog, with their asset type.

    Raises:
        SourceError: neither tells.
        MissingExtra: ccxt is not installed.
        NoData: only the scanner could be asked, and about no symbol.
    """
    if lists_markets(sources, venue):
        source = sources.bars(venue)
        return of_markets(venue, source.markets(), source.capabilities, source.id)
    if not symbols:
        raise NoData(
            f"{venue} gives no list of markets, and no candidate is of it",
            fix="leave it out of --venues, or discover symbols of it",
        )
    with open_scanner(sources, clock=run.clock) as scanner:
        parts = [
            scanned(scanner.scan(request_of(market, names)), market)
            for market, names in by_market(symbols).items()
        ]
    rows = pl.concat(parts).unique("symbol", keep="first", maintain_order=True)
    wanted = rows.filter(pl.col("symbol").is_in(list(symbols)))
    return of_scanner(venue, wanted, scanner.id)


def lists_markets(sources: Sources, venue: str) -> bool:
    """Tell whether a venue has a source that lists its markets; no network.

    Raises:
        MissingExtra: ccxt is not installed.
    """
    try:
        sources.caller(venue)
    except SourceRefused:
        return False
    return True


def request_of(market: str, symbols: Iterable[str]) -> ScanRequest:
    """Return the scan for what `symbols` of a market are."""
    columns = dict.fromkeys((*identity_columns(market), *SCANNED))
    return ScanRequest(market=market, columns=tuple(columns), symbols=tuple(symbols))


def by_market(symbols: Mapping[str, str | None]) -> dict[str, list[str]]:
    """Return symbols, sorted, by the scanner's market of their asset type."""
    found: dict[str, list[str]] = {}
    for symbol, kind in sorted(symbols.items()):
        is_fx = split_symbol(symbol)[0] in FX_VENUES
        market = kind if kind in PAIRED else FOREX if is_fx else ANY_MARKET
        found.setdefault(market, []).append(symbol)
    return found


def kinds_of(candidates: Iterable[Candidate]) -> dict[str, str | None]:
    """Return the asset type of each candidate by its symbol."""
    return {each.symbol: each.asset_type for each in candidates}
