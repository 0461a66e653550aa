"""The venues of a workspace, opened for a run: the real ones, or the embedded market."""

from __future__ import annotations

import math
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

from quant_registry.errors import SourceRefused
from quant_sdk.sources.calls import Caller
from quant_sdk.sources.credentials import find_credentials
from quant_sdk.sources.exchanges import CcxtBars
from quant_sdk.sources.limits import VenueLimit
from quant_sdk.sources.settings import (
    SourceSettings,
    VenueSettings,
    is_loopback,
    read_source_settings,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from quant_registry.clock import Clock
    from quant_registry.workspace import Workspace

SCANNER_ID: Final = "tradingview"
EMBEDDED: Final = "embedded"
LOOPBACK: Final = "loopback"
_SCANNER_LIMIT: Final = "scanner"
# Exchanges whose name in symbols is not ccxt's id in capitals.
_EXCHANGES: Final = {"GATEIO": "gate", "HUOBI": "htx", "OKEX": "okx", "CRYPTO": "cryptocom"}
_EMBEDDED_EXCHANGES: Final = {"BINANCE": "binance"}


class Sources:
    """Sources of one run, made by `open_sources`; safe to use from several threads at once.

    Attributes:
        embedded: whether the market is the synthetic one; its bars name it as their source.
        scanner_base_url: ``POST {scanner_base_url}/{market}/scan`` scans a market.
        scanner_id: what the column ``source`` says of what the scanner told.
    """

    def __init__(
        self,
        settings: SourceSettings,
        caller_of: Callable[[str, Callable[[], float]], Caller],
        *,
        market_url: str | None,
        keeper: ExitStack,
    ) -> None:
        self._settings = settings
        self._caller_of = caller_of
        self._market_url = market_url
        self._keeper = keeper
        self._guard = threading.RLock()
        self._bars: dict[str, CcxtBars] = {}
        self._callers: dict[str, Caller] = {}
        self.embedded = market_url is not None
        self.scanner_id = f"{EMBEDDED}:scanner" if self.embedded else SCANNER_ID
        self.scanner_base_url = (
            settings.scanner.base_url if market_url is None else f"{market_url}/scanner"
        )

    def bars(self, venue: str) -> CcxtBars:
        """Return the source of a venue's bars, its list of markets loaded.

        Args:
            venue: the exchange part of symbols, such as ``BINANCE``.

        Raises:
            SourceRefused: no source gives bars of it.
            SourceError: it did not give its list of markets, after all tries.
            MissingExtra: ccxt is not installed.
        """
        source = self._source(venue)
        if not source.loaded:
            self.caller(venue)(source.load)
        return source

    def bars_id(self, venue: str) -> str:
        """Return what the column ``source`` will say of a venue's bars; asks nobody.

        Raises:
            SourceRefused, MissingExtra: as `bars`.
        """
        return self._source(venue).id

    def caller(self, venue: str) -> Caller:
        """Return what makes calls to a venue, at its rate and with retries.

        Raises:
            SourceRefused, MissingExtra: as `bars`.
        """
        source = self._source(venue)
        configured = self._venue(venue).max_requests_per_second

        def rate() -> float:
            if configured is not None:
                return configured
            return math.inf if self.embedded else source.capabilities.max_requests_per_second

        return self._caller(venue, rate)

    def scanner_caller(self) -> Caller:
        """Return what makes calls to the scanner."""
        rate = math.inf if self.embedded else self._settings.scanner.max_requests_per_second
        return self._caller(_SCANNER_LIMIT, lambda: rate)

    def _caller(self, name: str, rate: Callable[[], float]) -> Caller:
        # A market of one run only shares no limit with the venue whose name it bears.
        name = f"{EMBEDDED}-{name}" if self.embedded else name
        with self._guard:
            if name not in self._callers:
                self._callers[name] = self._caller_of(name, rate)
            return self._callers[name]

    def _venue(self, venue: str) -> VenueSettings:
        return self._settings.venues.get(venue, VenueSettings())

    def _source(self, venue: str) -> CcxtBars:
        with self._guard:
            if venue not in self._bars:
                source = self._embedded(venue) if self.embedded else self._live(venue)
                self._keeper.callback(source.close)
                self._bars[venue] = source
            return self._bars[venue]

    def _embedded(self, venue: str) -> CcxtBars:
        exchange = _EMBEDDED_EXCHANGES.get(venue)
        if exchange is None:
            raise _no_bars(venue, "the embedded market gives bars of BINANCE only")
        seed = self._settings.seed
        # Another seed is another market: its bars do not bear the name of the usual one's.
        world = exchange if seed == SourceSettings().seed else f"{exchange}:{seed}"
        return CcxtBars(exchange, venue, base_url=self._market_url, source_id=f"{EMBEDDED}:{world}")

    def _live(self, venue: str) -> CcxtBars:
        from quant_sdk.sources._exchange_client import load_ccxt

        settings = self._venue(venue)
        exchange = _exchange_of(self._settings, venue)
        if exchange not in load_ccxt().exchanges:
            fix = f"name its exchange in quant.yml: sources.venues.{venue}.exchange"
            raise _no_bars(venue, fix)
        # Whatever answers on this machine is not the venue itself, and does not bear its name.
        near = settings.base_url is not None and is_loopback(settings.base_url)
        return CcxtBars(
            exchange,
            venue,
            base_url=settings.base_url,
            source_id=f"{LOOPBACK}:{exchange}" if near else None,
            credentials=find_credentials(venue),
        )


def gives_bars(settings: SourceSettings, venue: str) -> bool:
    """Tell whether bars of a venue can be asked for at all.

    Raises:
        MissingExtra: ccxt is not installed.
    """
    if settings.market == EMBEDDED:
        return venue in _EMBEDDED_EXCHANGES
    from quant_sdk.sources._exchange_client import load_ccxt

    return _exchange_of(settings, venue) in load_ccxt().exchanges


@contextmanager
def open_sources(
    workspace: Workspace,
    *,
    clock: Clock,
    rest: Callable[[float], bool],
    throttle: Callable[[], float | None] = lambda: None,
) -> Iterator[Sources]:
    """Open the sources that the workspace's ``quant.yml`` names; leaving closes them.

    Args:
        workspace: where the settings stand, and the state of the rate limits.
        clock: the time; also of the embedded market.
        rest: waits for so many seconds, False when the run is to be cancelled: `Run.rest`.
        throttle: requests a second that the run may make, None for no throttle of its own.

    Raises:
        InvalidInput: the settings are not possible.
    """
    settings = read_source_settings(workspace)

    def caller_of(name: str, rate: Callable[[], float]) -> Caller:
        def effective() -> float:
            most = throttle()
            return rate() if most is None else min(rate(), most)

        limit = VenueLimit(workspace.artifacts / "limits", name, effective, clock)
        return Caller(limit, rest)

    with ExitStack() as keeper:
        url = _start_market(settings, clock, keeper) if settings.market == EMBEDDED else None
        yield Sources(settings, caller_of, market_url=url, keeper=keeper)


def _exchange_of(settings: SourceSettings, venue: str) -> str:
    """Return ccxt's id of a venue."""
    named = settings.venues.get(venue, VenueSettings()).exchange
    return named or _EXCHANGES.get(venue, venue.lower())


def _start_market(settings: SourceSettings, clock: Clock, keeper: ExitStack) -> str:
    from quant_sdk.market.market import Market
    from quant_sdk.market.server import MarketServer

    market = Market(seed=settings.seed, now=clock.now)
    return keeper.enter_context(MarketServer(market)).url


def _no_bars(venue: str, fix: str) -> SourceRefused:
    return SourceRefused(f"no source gives bars of {venue}", fix=fix, venue=venue)
