"""What a venue lists: its markets under this project's symbols, and the facts of each."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from quant_registry.errors import InvalidIdentifier
from quant_sdk.lakehouse.symbols import join_symbol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SEPARATORS: Final = re.compile(r"[-_/:]")
# ccxt's precision modes (ccxt.base.decimal_to_precision).
_DECIMAL_PLACES: Final = 2
_TICK_SIZE: Final = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class MarketFacts:
    """One market as its venue describes it; None where the venue does not say.

    Attributes:
        symbol: ``EXCHANGE:BASEQUOTE``.
        base: the currency that is traded, such as ``ADA``.
        quote: the currency that prices are in, such as ``BTC``.
        kind: ``spot``, ``swap``, ``future`` or ``option``.
        active: whether it trades now.
        tick_size: smallest step of the price, in `quote`.
        lot_step: smallest step of the quantity, in `base`.
        min_quantity: smallest quantity of an order, in `base`.
        min_notional: smallest value of an order, in `quote`.
        maker_fee: a share of the value, 0.001 for 0.1 %.
        taker_fee: the same for an order that takes.
        listed_at: when it was listed, UTC.
    """

    symbol: str
    base: str
    quote: str
    kind: str
    active: bool
    tick_size: float | None
    lot_step: float | None
    min_quantity: float | None
    min_notional: float | None
    maker_fee: float | None
    taker_fee: float | None
    listed_at: datetime | None


class MarketIndex:
    """Finds a market of a venue by our symbol; spot markets come first.

    Args:
        venue: the exchange part of the symbols.
        markets: ccxt's market structures.
        precision_mode: ccxt's: whether precisions are steps or decimal places.
    """

    def __init__(
        self, venue: str, markets: Iterable[Mapping[str, Any]], precision_mode: int = _TICK_SIZE
    ) -> None:
        self._venue = venue
        self._precision_mode = precision_mode
        self._markets = sorted(markets, key=_rank)
        self._by_symbol: dict[str, str] = {}
        # The venue's own id comes first: ccxt gives some currencies other codes than it does.
        for spot in (True, False):
            for names in (_of_id, _of_pair):
                for market in self._markets:
                    if bool(market.get("spot")) is spot:
                        self._claim(names(market), str(market["symbol"]))

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._by_symbol

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_symbol)

    def __len__(self) -> int:
        return len(self._by_symbol)

    def get(self, symbol: str) -> str | None:
        """Return ccxt's unified symbol of ours, or None where the venue does not list it."""
        return self._by_symbol.get(symbol)

    def facts(self) -> list[MarketFacts]:
        """Return the facts of every market that has a symbol of ours, sorted by it."""
        found = [self._facts(market) for market in self._markets]
        return sorted((each for each in found if each is not None), key=lambda each: each.symbol)

    def _claim(self, name: str, unified: str) -> None:
        symbol = self._symbol(name)
        if symbol is not None:
            self._by_symbol.setdefault(symbol, unified)

    def _symbol(self, name: str) -> str | None:
        try:
            return join_symbol(self._venue, name)
        except InvalidIdentifier:
            return None

    def _facts(self, market: Mapping[str, Any]) -> MarketFacts | None:
        named = (self._symbol(names(market)) for names in (_of_pair, _of_id))
        symbol = next((each for each in named if self._is(each, market)), None)
        if symbol is None:
            return None
        precision, limits = market.get("precision") or {}, market.get("limits") or {}
        return MarketFacts(
            symbol=symbol,
            base=str(market.get("base") or ""),
            quote=str(market.get("quote") or ""),
            kind=str(market.get("type") or ""),
            active=market.get("active") is not False,
            tick_size=self._step(precision.get("price")),
            lot_step=self._step(precision.get("amount")),
            min_quantity=_number((limits.get("amount") or {}).get("min")),
            min_notional=_number((limits.get("cost") or {}).get("min")),
            maker_fee=_number(market.get("maker")),
            taker_fee=_number(market.get("taker")),
            listed_at=_instant(market.get("created")),
        )

    def _is(self, symbol: str | None, market: Mapping[str, Any]) -> bool:
        return symbol is not None and self._by_symbol.get(symbol) == market["symbol"]

    def _step(self, precision: Any) -> float | None:
        number = _number(precision)
        if number is None or self._precision_mode == _TICK_SIZE:
            return number
        return 10.0 ** -round(number) if self._precision_mode == _DECIMAL_PLACES else None


def _rank(market: Mapping[str, Any]) -> tuple[bool, str]:
    return market.get("active") is False, str(market["symbol"])


def _of_id(market: Mapping[str, Any]) -> str:
    return _SEPARATORS.sub("", str(market.get("id") or "")).upper()


def _of_pair(market: Mapping[str, Any]) -> str:
    """Return base and quote as one; a perpetual is marked ``.P``, so that spot keeps its name."""
    pair = f"{market.get('base') or ''}{market.get('quote') or ''}".upper()
    return f"{pair}.P" if market.get("swap") else pair


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _instant(value: Any) -> datetime | None:
    milliseconds = _number(value)
    try:
        return None if not milliseconds else _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None
