"""One scanner file asked and answered: the rules that only the answers allow, then the limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl

from quant_sdk.sources.scanner.client import in_order
from quant_sdk.sources.scanner.documents import Finding
from quant_sdk.sources.scanner.file import MOST_ROWS
from quant_sdk.sources.scanner.query import PAIRED, transform_query

if TYPE_CHECKING:
    from quant_sdk.sources.scanner.client import Scanned, ScannerClient
    from quant_sdk.sources.scanner.file import ScannerFile

_COINS: Final = """
AEUR BUSD DAI EURC EURI EURS EURT FDUSD FRAX FUSD GUSD LUSD PAX PYUSD RLUSD SUSD TUSD USD0 USD1
USDB USDC USDD USDE USDG USDJ USDK USDP USDS USDT USDX UST USTC XUSD ZUSD
"""
_CURRENCIES: Final = """
ARS AUD BRL CAD CHF COP CZK EUR GBP IDR JPY MXN NGN NZD PLN RON RUB TRY UAH USD ZAR
"""
STABLE_COINS: Final = frozenset(_COINS.split())
FIAT: Final = frozenset(_CURRENCIES.split())
"""Left out too by ``exclude_stable_bases``, in the market ``crypto`` only."""

_STOCKS: Final = {"stock": "equity", "dr": "equity", "fund": "fund", "bond": "bond"}
_PERPETUAL: Final = ".P"


@dataclass(frozen=True, kw_only=True, slots=True)
class Selected:
    """What one scanner file selects.

    Attributes:
        rows: in the file's order: ``symbol``, ``market``, ``asset_type``, ``base`` and ``quote``
            (nullable), then the columns that were asked for.
        requests: answers that were read.
        findings: what was odd about them.
    """

    rows: pl.DataFrame
    requests: int
    findings: tuple[Finding, ...]


def run_scanner(
    client: ScannerClient, scanner: ScannerFile, markets: tuple[str, ...] | None = None
) -> Selected:
    """Ask `client` for all that a scanner file wants, and apply its rules.

    Args:
        client: the scanner.
        scanner: the file.
        markets: only these of its markets; None for all.

    Raises:
        SourceError: an answer failed for good.
    """
    frames: list[pl.DataFrame] = []
    findings: list[Finding] = []
    requests = 0
    wanted = transform_query(scanner, markets)
    if not wanted:
        findings.append(_not_enabled(scanner))
    for request in wanted:
        scanned = client.collect(request)
        requests += scanned.requests
        findings += _met(scanner, request.market, scanned)
        frames.append(identified(scanned.rows, request.market))
    rows = pl.concat(frames, how="diagonal_relaxed") if frames else _nothing()
    if len(frames) > 1:
        rows = in_order(rows, scanner.sort_by, scanner.sort_order)
    return Selected(rows=select(rows, scanner), requests=requests, findings=tuple(findings))


def identified(rows: pl.DataFrame, market: str) -> pl.DataFrame:
    """Return rows of a scan with ``market``, ``asset_type``, ``base`` and ``quote`` beside them."""
    name, quote = pl.col("name").str.to_uppercase(), pl.col("currency").str.to_uppercase()
    if market in PAIRED:
        kind = pl.lit(market)
        plain = name.str.strip_suffix(_PERPETUAL)
        rest = pl.when(plain.str.ends_with(quote)).then(plain.str.strip_suffix(quote))
        base = pl.coalesce(pl.col("base_currency").str.to_uppercase(), rest)
    else:
        kind = pl.col("type").replace_strict(_STOCKS, default=market)
        base = name
    return rows.select(
        "symbol",
        pl.lit(market).alias("market"),
        kind.alias("asset_type"),
        base.alias("base"),
        quote.alias("quote"),
        pl.exclude("symbol"),
    )


def select(rows: pl.DataFrame, scanner: ScannerFile) -> pl.DataFrame:
    """Return the rows that a scanner file's own rules leave, the limit applied last."""
    rows = rows.unique("symbol", keep="first", maintain_order=True)
    if scanner.symbols:
        named = list(scanner.symbols)
        rows = rows.filter(
            pl.any_horizontal(pl.col(key).is_in(named) for key in ("symbol", "name", "base"))
        )
    if scanner.exclude_stable_bases:
        base, crypto = pl.col("base").fill_null(""), pl.col("market") == pl.lit("crypto")
        rows = rows.filter(~base.is_in(list(STABLE_COINS)) & ~(crypto & base.is_in(list(FIAT))))
    if scanner.quote_priority:
        rows = _one_a_base(rows, scanner.quote_priority)
    return rows if scanner.limit is None else rows.head(scanner.limit)


def _one_a_base(rows: pl.DataFrame, quotes: tuple[str, ...]) -> pl.DataFrame:
    """Keep one pair a base: the first quote of the list that is there, else the first row."""
    ranks = {quote: rank for rank, quote in enumerate(quotes)}
    rank = pl.col("quote").replace_strict(ranks, default=len(quotes), return_dtype=pl.Int64)
    return (
        rows.with_row_index("_row")
        .with_columns(rank.fill_null(len(quotes)).alias("_rank"))
        .sort("_rank", "_row")
        .unique(pl.coalesce("base", "symbol"), keep="first", maintain_order=True)
        .sort("_row")
        .drop("_row", "_rank")
    )


def _met(scanner: ScannerFile, market: str, scanned: Scanned) -> list[Finding]:
    place = f"{scanner.path}: {market}"
    found = []
    if scanned.refused:
        shown = ", ".join(ascii(symbol[:60]) for symbol in scanned.refused[:5])
        message = f"{len(scanned.refused)} symbols cannot be stored and are left out: {shown}"
        found.append(Finding(code="bad_symbol", place=place, message=message))
    if scanned.moved:
        message = "the list of symbols changed while it was read; one may be missing"
        found.append(Finding(code="list_moved", place=place, message=message))
    if scanned.total > MOST_ROWS:
        message = f"{scanned.total} symbols match, the first {MOST_ROWS} were read"
        fix = "narrow it by filters or exchanges"
        found.append(Finding(code="too_many", place=place, message=message, fix=fix))
    return found


def _not_enabled(scanner: ScannerFile) -> Finding:
    return Finding(
        code="market_not_enabled",
        place=scanner.path,
        message=f"none of its markets is enabled: {', '.join(scanner.markets)}",
        fix="add one to discovery.enabled_markets of the profile",
    )


def _nothing() -> pl.DataFrame:
    texts = ("symbol", "market", "asset_type", "base", "quote", "name")
    return pl.DataFrame(schema=dict.fromkeys(texts, pl.String))
