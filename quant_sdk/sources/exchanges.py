"""Bars of any exchange that ccxt knows (extra ``exchanges``)."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from quant_registry.errors import InvalidInput, QuantError, SourceRefused, UnknownSymbol
from quant_sdk.lakehouse.timeframe import Timeframe
from quant_sdk.sources._exchange_client import Client
from quant_sdk.sources._exchange_errors import malformed
from quant_sdk.sources.credentials import Credentials
from quant_sdk.sources.markets import MarketFacts, MarketIndex
from quant_sdk.sources.protocol import Capabilities

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Self

    import polars as pl

    from quant_sdk.sources.protocol import BarQuery

T = TypeVar("T")

TIMEOUT_SECONDS: Final = 20.0
# Closed bars that are asked for again, so that the venue's corrections are seen.
_LOOKBACK: Final = 2
# Bars in a page of an exchange that declares none.
_PAGE_SIZE: Final = 100
# Their answers hold the newest bars only, whatever `since` says (their ccxt classes; Kraken's
# documentation names 720 bars).
_RECENT_ONLY: Final = frozenset(
    (
        *("bithumb", "bitrue", "bitteam", "bittrade", "extended", "gemini"),
        *("kraken", "modetrade", "nado", "p2b", "woofipro"),
    )
)
# Asked for spot bars since a time, they look ahead as far as they must.
_GIVE_NEXT: Final = frozenset(("binance", "binanceus"))


class CcxtBars:
    """The bars of one exchange; a `BarSource` that several threads may use at once.

    Each thread that asks gets a ccxt client of its own; they share the list of markets, which
    `load` gets once. The clients get the credentials only when the venue denied access without.

    Args:
        exchange: ccxt's id of the exchange.
        venue: the exchange part of our symbols.
        base_url: replaces scheme and host of the venue's addresses, for a market in a test.
        credentials: for venues that give bars to known callers only.
        source_id: what the column ``source`` says; ``ccxt:<exchange>`` by default.
        timeout: seconds for a connection, and for each pause in an answer.

    Raises:
        MissingExtra: ccxt is not installed.
        UnknownName: ccxt knows no such exchange.
        InvalidInput: the exchange gives no bars.
    """

    def __init__(  # noqa: PLR0913 - each names one thing of the venue
        self,
        exchange: str = "binance",
        venue: str = "BINANCE",
        *,
        base_url: str | None = None,
        credentials: Credentials | None = None,
        source_id: str | None = None,
        timeout: float = TIMEOUT_SECONDS,
    ) -> None:
        self._exchange = exchange
        self._venue = venue
        self._base_url = base_url
        self._credentials = credentials or Credentials()
        self._id = source_id or f"ccxt:{exchange}"
        self._timeout = timeout
        self._keyed = False
        self._loading = threading.Lock()
        self._loaded: tuple[Any, MarketIndex] | None = None
        first = self._new_client()
        self._idle = deque([first])
        self._page_size = _page_size(first.api.features) or _PAGE_SIZE
        self._timeframes = _timeframes(first.api.timeframes or {})
        self._interval_ms = float(first.api.rateLimit or 0)
        self._cost = 1.0
        self._gives_next = exchange in _GIVE_NEXT
        self._recent_only = exchange in _RECENT_ONLY

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection that is not in use."""
        while self._idle:
            self._idle.pop().close()

    @property
    def id(self) -> str:
        """What the column ``source`` says of its bars."""
        return self._id

    @property
    def venue(self) -> str:
        """The exchange part of its symbols."""
        return self._venue

    @property
    def capabilities(self) -> Capabilities:
        """What the exchange can do, as its ccxt class declares it.

        The rate counts what a request for bars costs, once one was made; never as less than one.
        """
        interval = self._interval_ms * max(self._cost, 1.0)
        return Capabilities(
            page_size=self._page_size,
            since_inclusive=True,
            lookback=_LOOKBACK,
            max_requests_per_second=1000.0 / interval if interval else float("inf"),
            timeframes=self._timeframes,
            recent_only=self._recent_only,
            gives_next=self._gives_next,
        )

    @property
    def loaded(self) -> bool:
        """Whether the list of markets is there."""
        return self._loaded is not None

    def load(self) -> None:
        """Get the list of markets, unless it is there.

        Raises:
            VenueBusy, SourceRefused, SourceError: the venue did not give it.
        """
        self._markets()

    def markets(self) -> list[MarketFacts]:
        """Return the facts of every market, sorted by symbol; loads the list where needed."""
        return self._markets().facts()

    def transform_query(self, query: BarQuery) -> dict[str, Any]:
        """Return ccxt's words for the first page of `query`.

        No network once `load` was called; without it, the list of markets is loaded here.

        Raises:
            UnknownSymbol: the venue does not list it.
            InvalidInput: the venue has no such timeframe.
        """
        if query.timeframe not in self._timeframes:
            raise InvalidInput(
                f"{self._venue} has no bars of {query.timeframe}",
                fix=f"use one of {', '.join(self._timeframes)}",
            )
        index = self._markets()
        unified = index.get(query.symbol)
        if unified is None:
            raise _unknown(query.symbol, self._venue, index)
        timeframe = Timeframe.parse(query.timeframe)
        wanted = timeframe.slot_of(query.end - 1) - timeframe.slot_of(query.start - 1)
        return {
            "name": query.symbol,
            "symbol": unified,
            "timeframe": query.timeframe,
            "since": query.start // 1000,
            "limit": min(max(wanted, 1), self._page_size),
        }

    def extract(self, request: dict[str, Any]) -> Any:
        """Make one request; return ccxt's rows, ``[ms, open, high, low, close, volume]``.

        Raises:
            VenueBusy, UnknownSymbol, SourceRefused, SourceError: as `BarSource` says.
        """
        self._markets()

        def ask(client: Client) -> Any:
            rows = client.ask(
                lambda api: api.fetch_ohlcv(
                    request["symbol"], request["timeframe"], request["since"], request["limit"]
                ),
                request["name"],
            )
            self._cost = client.cost
            if not (rows or self._recent_only or client.said_nothing()):
                raise malformed(self._venue, "it holds no list of bars")
            return rows

        return self._with_client(ask)

    def transform_data(self, answer: Any) -> pl.DataFrame:
        """Return ccxt's rows as ``ts`` (Datetime us UTC), prices and volume (Float64, nullable).

        Raises:
            SourceError: the rows are not of that form.
        """
        from quant_sdk.sources._exchange_rows import read_rows

        return read_rows(answer, self._venue)

    def _markets(self) -> MarketIndex:
        loaded = self._loaded
        if loaded is None:
            with self._loading:
                loaded = self._loaded or self._load()
                self._loaded = loaded
        return loaded[1]

    def _load(self) -> tuple[Any, MarketIndex]:
        def ask(client: Client) -> tuple[Any, MarketIndex]:
            markets = client.ask(lambda api: api.load_markets())
            index = MarketIndex(self._venue, markets.values(), client.api.precisionMode)
            if not index:
                raise malformed(self._venue, "it lists no market")
            return client.api, index

        return self._with_client(ask)

    def _with_client(self, ask: Callable[[Client], T]) -> T:
        """Let `ask` use a client; one that is denied access is asked again with credentials."""
        with self._client() as client:
            try:
                return ask(client)
            except SourceRefused as error:
                if client.keyed or not self._credentials or not error.facts.get("denied"):
                    raise
        self._keyed = True
        return self._with_client(ask)

    def _new_client(self) -> Client:
        return Client(
            self._exchange,
            self._venue,
            base_url=self._base_url,
            credentials=self._credentials if self._keyed else Credentials(),
            timeout=self._timeout,
        )

    @contextmanager
    def _client(self) -> Iterator[Client]:
        """Lend a client that nobody else has; its list of markets is the shared one."""
        client = self._idle_client() or self._new_client()
        if self._loaded is not None and client.api.markets is None:
            client.api.set_markets_from_exchange(self._loaded[0])
        try:
            yield client
        finally:
            self._idle.append(client)

    def _idle_client(self) -> Client | None:
        while True:
            try:
                client = self._idle.pop()
            except IndexError:
                return None
            if client.keyed == self._keyed:
                return client
            client.close()


def _timeframes(names: dict[str, Any]) -> tuple[str, ...]:
    found = []
    for name in names:
        try:
            found.append(Timeframe.parse(name).text)
        except QuantError:
            continue
    return tuple(found)


def _page_size(features: Any) -> int | None:
    """Return the rows in an answer that the ccxt class declares, spot before contracts."""
    if not isinstance(features, dict):
        return None
    swap = features.get("swap")
    parts = (features.get("spot"), *(swap.values() if isinstance(swap, dict) else ()))
    for part in parts:
        declared = part.get("fetchOHLCV") if isinstance(part, dict) else None
        limit = declared.get("limit") if isinstance(declared, dict) else None
        if isinstance(limit, int) and limit > 0:
            return limit
    return None


def _unknown(symbol: str, venue: str, index: MarketIndex) -> UnknownSymbol:
    import difflib

    near = difflib.get_close_matches(symbol, list(index), n=3, cutoff=0.6)
    return UnknownSymbol(
        f"{venue} does not list {symbol}",
        fix=f"did you mean {', '.join(near)}?" if near else "take it out of the candidates",
        symbol=symbol,
        near=near,
    )
