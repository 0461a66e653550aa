"""The REST of an exchange like Binance's spot market: ``/api/v3/...``, for the real client."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import orjson

from quant_sdk.lakehouse.timeframe import Timeframe
from quant_sdk.market.klines import render
from quant_sdk.market.listing import CRYPTO
from quant_sdk.market.market import Span
from quant_sdk.market.wire import Answer, answer_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from quant_sdk.market.listing import Instrument
    from quant_sdk.market.market import Market

PREFIX: Final = "/api/v3"
TIMEFRAMES: Final = (
    *("1s", "1m", "3m", "5m", "15m", "30m"),
    *("1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M"),
)
DEFAULT_LIMIT: Final = 500
LARGEST_LIMIT: Final = 1000
_INFO: Final = (
    b'{"timezone":"UTC","serverTime":%d,"rateLimits":[],"exchangeFilters":[],"symbols":%b}'
)
_CACHE_BYTES: Final = 64 * 2**20
_FOREVER: Final = 2**62
_MONTH: Final = 31 * 86_400_000_000


class BadRequest(Exception):  # noqa: N818  named by what happened
    """A request the exchange does not understand: its own code and words."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.answer = answer_json({"code": code, "msg": message}, 400)


class Exchange:
    """Answers of the exchange; safe to share by threads.

    Args:
        market: what it trades.
        venue: the exchange whose instruments it lists.
    """

    def __init__(self, market: Market, venue: str = CRYPTO) -> None:
        self._market = market
        self._venue = venue
        self._pages = _Pages(_CACHE_BYTES)
        self._symbols: tuple[tuple[str, ...], bytes] = ((), b"[]")
        self._routes: Mapping[str, Callable[[Mapping[str, str]], Answer]] = {
            "/ping": lambda _: answer_json({}),
            "/time": lambda _: answer_json({"serverTime": market.now() // 1000}),
            "/exchangeInfo": self._exchange_info,
            "/klines": self._klines,
        }

    def answer(self, path: str, query: Mapping[str, str]) -> Answer:
        """Answer ``GET path?query``; refusals are answers too."""
        route = self._routes.get(path.removeprefix(PREFIX))
        if route is None:
            return answer_json({"code": -1000, "msg": f"no such endpoint: {path[:200]}"}, 404)
        try:
            return route(query)
        except BadRequest as refused:
            return refused.answer

    def _exchange_info(self, query: Mapping[str, str]) -> Answer:
        if "symbol" in query:
            symbols = orjson.dumps([_listed(self._instrument(query["symbol"]))])
        else:
            listed = [each for each in self._market.listed() if each.exchange == self._venue]
            names = tuple(each.id for each in listed)
            if self._symbols[0] != names:
                self._symbols = (names, orjson.dumps([_listed(each) for each in listed]))
            symbols = self._symbols[1]
        return Answer(body=_INFO % (self._market.now() // 1000, symbols))

    def _klines(self, query: Mapping[str, str]) -> Answer:
        instrument = self._instrument(_mandatory(query, "symbol"))
        timeframe = _timeframe(_mandatory(query, "interval"))
        since, until = _number(query, "startTime"), _number(query, "endTime")
        span = Span(
            start=0 if since is None else since * 1000,
            end=_FOREVER if until is None else until * 1000 + 1,
            limit=min(LARGEST_LIMIT, _number(query, "limit") or DEFAULT_LIMIT),
            newest=since is None,
        )
        if self._is_out(timeframe, span):
            return answer_json({"code": -1001, "msg": "Internal error; unable to process"}, 503)
        body = self._page(instrument, timeframe, span)
        self._market.count(instrument.symbol)
        return Answer(body=body)

    def _page(self, instrument: Instrument, timeframe: Timeframe, span: Span) -> bytes:
        market = self._market
        now = market.now()
        corrected = market.correction(instrument.symbol) is not None
        key = (instrument.id, timeframe, span, corrected)
        body = self._pages.get(key)
        if body is not None:
            return body
        bars = market.page(instrument, timeframe, span)
        closes_at = bars.ends.copy()
        if len(closes_at):
            closes_at[-1] = _close_of(timeframe, int(bars.opens_at[-1]))
        body = render(bars, closes_at)
        full = len(closes_at) == span.limit and not span.newest
        closed = len(closes_at) > 0 and closes_at[-1] == bars.ends[-1]
        if closed and (full or span.end <= now):
            self._pages.put(key, body)
        return body

    def _is_out(self, timeframe: Timeframe, span: Span) -> bool:
        """Tell whether the asked bars touch an outage."""
        outages = self._market.faults.outages
        if not outages:
            return False
        width = (span.limit or 0) * (timeframe.micros or _MONTH)
        end = min(span.end, self._market.now())
        start = max(span.start, end - width) if span.newest else span.start
        end = min(end, start + width)
        return any(start < outage_end and end > begun for begun, outage_end in outages)

    def _instrument(self, name: str) -> Instrument:
        symbol = f"{self._venue}:{name}"
        found = self._market.listing.get(symbol)
        if found is None or not self._market.is_listed(symbol):
            raise BadRequest(-1121, "Invalid symbol.")
        return found


class _Pages:
    """Rendered pages, the least recently used forgotten first."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._size = 0
        self._bodies: OrderedDict[object, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: object) -> bytes | None:
        with self._lock:
            body = self._bodies.get(key)
            if body is not None:
                self._bodies.move_to_end(key)
            return body

    def put(self, key: object, body: bytes) -> None:
        with self._lock:
            self._size += len(body) - len(self._bodies.pop(key, b""))
            self._bodies[key] = body
            while self._size > self._capacity:
                self._size -= len(self._bodies.popitem(last=False)[1])


def _mandatory(query: Mapping[str, str], name: str) -> str:
    if not query.get(name):
        raise BadRequest(
            -1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
        )
    return query[name]


def _number(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 16):  # noqa: PLR2004
        raise BadRequest(-1100, f"Illegal characters found in parameter '{name}'.")
    return int(text)


def _timeframe(text: str) -> Timeframe:
    if text not in TIMEFRAMES:
        raise BadRequest(-1120, "Invalid interval.")
    return Timeframe.parse(text)


def _close_of(timeframe: Timeframe, opens_at: int) -> int:
    return timeframe.open_of(timeframe.slot_of(opens_at * 1000) + 1) // 1000


def _listed(each: Instrument) -> dict[str, Any]:
    tick, lot = f"{each.tick:.8f}", f"{each.lot:.8f}"
    return {
        "symbol": each.id,
        "status": "TRADING",
        "baseAsset": each.base,
        "baseAssetPrecision": 8,
        "quoteAsset": each.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "MARKET"],
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": tick,
                "maxPrice": f"{each.price * 1e4:.8f}",
                "tickSize": tick,
            },
            {
                "filterType": "LOT_SIZE",
                "minQty": lot,
                "maxQty": f"{each.lot * 1e9:.8f}",
                "stepSize": lot,
            },
            {"filterType": "NOTIONAL", "minNotional": f"{each.min_notional:.8f}"},
        ],
        "permissions": ["SPOT"],
    }
