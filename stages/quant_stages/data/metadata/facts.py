"""What a venue tells, in the columns of `symbols`, `execution` and `exchanges`; no network."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from quant_sdk.lakehouse.calendars import calendar_name
from quant_sdk.lakehouse.specs import EXCHANGES, EXECUTION, SYMBOLS, TableSpec
from quant_sdk.lakehouse.timeframe import Timeframe
from quant_sdk.sources.scanner.query import PAIRED
from quant_sdk.sources.scanner.selection import identified

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from quant_sdk.sources.candidates import Candidate
    from quant_sdk.sources.markets import MarketFacts
    from quant_sdk.sources.protocol import Capabilities

FROM_CANDIDATES = "candidates"
"""The source of a symbol of which no venue has told anything yet."""

CRYPTO = "crypto"
_PAIRS = {"forex": "forex", "spot": CRYPTO, "swap": CRYPTO}
"""Types of the scanner that are pairs, and the asset types that they are."""
_UNKNOWN = ("unknown", "global", "")
_VALIDITY = ("valid_from", "valid_until")


def _nothing(spec: TableSpec) -> pl.DataFrame:
    return spec.empty.drop(_VALIDITY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What one venue told.

    Attributes:
        venue: its name.
        listed: every symbol it lists, of those asked for.
        symbols, execution, exchanges: rows in the columns of those tables, without validity.
    """

    venue: str
    listed: tuple[str, ...]
    symbols: pl.DataFrame = field(default_factory=lambda: _nothing(SYMBOLS))
    execution: pl.DataFrame = field(default_factory=lambda: _nothing(EXECUTION))
    exchanges: pl.DataFrame = field(default_factory=lambda: _nothing(EXCHANGES))


def of_markets(
    venue: str, markets: Iterable[MarketFacts], capabilities: Capabilities, source: str
) -> Facts:
    """Return the facts of a venue that gave its whole list of markets."""
    symbols: list[dict[str, Any]] = []
    execution: list[dict[str, Any]] = []
    for each in markets:
        named = {"symbol": each.symbol, "exchange": venue, "source": source}
        symbols.append(
            {
                **named,
                "base": each.base or None,
                "quote": each.quote or None,
                "asset_type": CRYPTO,
                "description": f"{each.base} / {each.quote} {each.kind}".strip(),
                "active": each.active,
                "listed_at": each.listed_at,
            }
        )
        execution.append({**named, **{name: getattr(each, name) for name in _EXECUTION}})
    rate = capabilities.max_requests_per_second
    lengths = sorted(map(Timeframe.parse, capabilities.timeframes), key=_length)
    return Facts(
        venue=venue,
        listed=tuple(row["symbol"] for row in symbols),
        symbols=_frame(SYMBOLS, symbols),
        execution=_frame(EXECUTION, execution),
        exchanges=_exchange(
            venue,
            source,
            name=source.rpartition(":")[2],
            timeframes=",".join(each.text for each in lengths) or None,
            max_requests_per_second=rate if math.isfinite(rate) else None,
        ),
    )


def of_scanner(venue: str, rows: pl.DataFrame, source: str) -> Facts:
    """Return the facts of a venue whose symbols a scanner was asked about.

    Args:
        venue: its name.
        rows: ``symbol``, ``asset_type``, ``base``, ``quote``, ``description`` (String),
            ``minmov`` and ``pricescale`` (Float64), from `scanned`.
        source: the scanner's id.
    """
    told = rows.with_columns(
        exchange=pl.lit(venue),
        source=pl.lit(source),
        active=pl.lit(value=True),
        tick_size=pl.col("minmov") / pl.col("pricescale"),
    )
    stepped = told.filter(pl.col("tick_size").is_finite() & (pl.col("tick_size") > 0))
    return Facts(
        venue=venue,
        listed=tuple(told["symbol"].to_list()),
        symbols=SYMBOLS.fit(told).drop(_VALIDITY),
        execution=EXECUTION.fit(stepped).drop(_VALIDITY),
        exchanges=_exchange(venue, source),
    )


def scanned(rows: pl.DataFrame, market: str) -> pl.DataFrame:
    """Return rows of a scan of `SCANNED` in the form that `of_scanner` takes."""
    kind, pair = pl.col("asset_type"), pl.col("type").is_in(list(_PAIRS))
    base = pl.col("name").str.strip_suffix(pl.col("quote").fill_null("")).str.to_uppercase()
    known = identified(rows, market)
    if market not in PAIRED:  # there a pair passes for a stock
        known = known.with_columns(
            asset_type=pl.when(pair).then(pl.col("type").replace(_PAIRS)).otherwise(kind),
            base=pl.when(pair).then(base).otherwise("base"),
        )
    texts = ("symbol", "base", "quote", "description")
    return known.select(
        *(pl.col(name).cast(pl.String) for name in texts),
        pl.when(~kind.is_in(list(_UNKNOWN))).then(kind).alias("asset_type"),
        *(pl.col(name).cast(pl.Float64, strict=False) for name in SCANNED),
    )


SCANNED = ("minmov", "pricescale")
"""Columns to ask a scanner for, beside those that tell what a symbol is."""


def of_candidates(
    candidates: Iterable[Candidate], known: Collection[str], listings: Collection[str]
) -> pl.DataFrame:
    """Return rows of `symbols` for candidates that nobody has told of: what their file says.

    So that a venue that is out of order keeps nobody from their features. Such a symbol is
    inactive where its venue gave its list, and otherwise of unknown standing.

    Args:
        candidates: all of them.
        known: symbols that stand, or that a venue tells of now.
        listings: venues that gave their list.
    """
    return _frame(
        SYMBOLS,
        [
            {
                "symbol": each.symbol,
                "exchange": each.exchange,
                "base": each.base,
                "quote": each.quote,
                "asset_type": None if each.asset_type in _UNKNOWN else each.asset_type,
                "active": False if each.exchange in listings else None,
                "source": FROM_CANDIDATES,
            }
            for each in candidates
            if each.symbol not in known
        ],
    )


def _exchange(venue: str, source: str, **told: Any) -> pl.DataFrame:
    row = {
        "venue": venue,
        "calendar": calendar_name(venue),
        "source": source,
        **told,
    }
    return _frame(EXCHANGES, [row])


def _frame(spec: TableSpec, rows: list[dict[str, Any]]) -> pl.DataFrame:
    columns = {name: dtype for name, dtype in spec.columns.items() if name not in _VALIDITY}
    return pl.DataFrame({name: [row.get(name) for row in rows] for name in columns}, schema=columns)


def _length(timeframe: Timeframe) -> int:
    return timeframe.open_of(1) - timeframe.open_of(0)


_EXECUTION = (
    "tick_size",
    "lot_step",
    "min_quantity",
    "min_notional",
    "maker_fee",
    "taker_fee",
)
