"""One ccxt client: pointed at a venue, held to spot, quiet, and watched for what it was told."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit, urlunsplit

from quant_registry.errors import InvalidInput, MissingExtra, QuantError, UnknownName
from quant_sdk.sources._exchange_errors import explain, malformed
from quant_sdk.sources.http_answers import retry_after

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from quant_sdk.sources.credentials import Credentials

T = TypeVar("T")

INSTALL: Final = "pip install 'quant-stage-sdk[exchanges]'"
_CREDENTIAL_NAMES: Final = {"api_key": "apiKey", "secret": "secret", "password": "password"}
_OK: Final = 200
# A list without an item, as the whole document or as a value.
_NOTHING: Final = re.compile(r"(?:^|:)\s*\[\s*\]")
# Their lists of markets need their lists of currencies, which are public. Others that have a key
# would ask a private address for them.
_WITH_CURRENCIES: Final = ("bitso", "htx", "hyperliquid", "kraken", "latoken", "whitebit")


def load_ccxt() -> ModuleType:
    """Return the module.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import ccxt  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtra("exchanges are reached through ccxt", fix=INSTALL) from error
    return ccxt  # type: ignore[no-any-return]


class Client:
    """A ccxt instance; one thread at a time may use it.

    Args:
        exchange: ccxt's id, such as ``binance``.
        venue: our name of it, for errors.
        base_url: replaces scheme and host of every address of the API; None: the venue's own.
        credentials: handed to ccxt, and to nothing else.
        timeout: seconds for a connection, and for each pause in an answer.

    Raises:
        MissingExtra: ccxt is not installed.
        UnknownName: ccxt knows no such exchange.
        InvalidInput: the exchange gives no bars.
    """

    def __init__(
        self,
        exchange: str,
        venue: str,
        *,
        base_url: str | None,
        credentials: Credentials,
        timeout: float,
    ) -> None:
        ccxt = load_ccxt()
        if exchange not in ccxt.exchanges:
            raise UnknownName(exchange, ccxt.exchanges)
        self.venue = venue
        self.keyed = bool(credentials)
        self.status: int | None = None
        self.retry_after: float | None = None
        self.cost = 1.0
        secrets = {_CREDENTIAL_NAMES[name]: value for name, value in credentials.reveal().items()}
        # ccxt logs headers and bodies, which may hold a key; this logger is deaf.
        quiet = logging.Logger("ccxt", logging.CRITICAL + 1)  # noqa: LOG001
        self.api: Any = getattr(ccxt, exchange)(
            {"timeout": round(timeout * 1000), "logger": quiet, **secrets}
        )
        if self.api.has.get("fetchOHLCV") is not True:
            raise InvalidInput(f"{exchange} gives no bars", fix="name another exchange")
        _hold_to_spot(self.api)
        if exchange not in _WITH_CURRENCIES:
            self.api.has["fetchCurrencies"] = False
        if base_url is not None:
            self.api.urls["api"] = _pointed(self.api.urls["api"], base_url)
        self._watch(base_url)
        # Binance's rows stand in ccxt's own order; reading them is most of what a page costs.
        if type(self.api).parse_ohlcv is ccxt.binance.parse_ohlcv:
            self._parse_rows = self.api.parse_ohlcvs
            self.api.parse_ohlcvs = self._parse_ohlcvs

    def ask(self, question: Callable[[Any], T], symbol: str = "") -> T:
        """Return what `question` gets from the ccxt instance.

        Raises:
            VenueBusy, UnknownSymbol, SourceRefused, SourceError: as `explain` says.
        """
        self.status = self.retry_after = None
        try:
            return question(self.api)
        except QuantError:
            raise
        except Exception as error:  # noqa: BLE001 - ccxt raises whatever an odd answer leads to
            failure = explain(
                error,
                venue=self.venue,
                status=self.status,
                retry_after=self.retry_after,
                symbol=symbol,
            )
        # Raised out here, it has no context: ccxt's error quotes addresses and bodies.
        raise failure

    def said_nothing(self) -> bool:
        """Tell whether the last answer says by a list that there is nothing.

        ccxt makes no bars of many an odd answer; only an empty list is an answer.
        """
        body = self.api.last_http_response
        return isinstance(body, str) and _NOTHING.search(body) is not None

    def close(self) -> None:
        """Close its connections."""
        self.api.close()

    def _watch(self, base_url: str | None) -> None:
        """Learn the status and headers of each answer, and the cost of each request."""
        self.api.session.hooks["response"].append(self._note_answer)
        # A venue's own address is reached through the proxy of the environment, where it has one.
        self.api.session.trust_env = base_url is None
        # The client must not follow a venue to another host, with its key in the headers.
        self.api.session.max_redirects = 0
        # ccxt's own limiter knows one thread only; it is asked for what a request costs.
        self.api.enableRateLimit = True
        self.api.throttle = self._note_cost
        self._parse = self.api.parse_json
        self.api.parse_json = self._parse_json

    def _note_answer(self, response: Any, **_: Any) -> None:
        self.status = response.status_code
        self.retry_after = retry_after(response.headers)

    def _note_cost(self, cost: float | None = None) -> None:
        self.cost = 1.0 if cost is None else float(cost)

    def _parse_json(self, body: str) -> Any:
        """Parse a body; one that is no JSON is an error, where ccxt takes it for a text."""
        document = self._parse(body)
        if document is None and self.status == _OK:
            raise malformed(self.venue, "it is torn, or no JSON")
        return document

    def _parse_ohlcvs(self, rows: Any, market: Any = None, *rest: Any) -> Any:
        """Return rows as ccxt does, bars before `since` included; odd ones are left to ccxt."""
        try:
            if not market["inverse"]:
                return [[int(row[0]), *map(float, row[1:6])] for row in rows]
        except (TypeError, ValueError, LookupError):
            pass
        return self._parse_rows(rows, market, *rest)


def _hold_to_spot(api: Any) -> None:
    """Let the client load spot markets only, where its class has a choice."""
    options = api.options.get("fetchMarkets")
    types = options.get("types") if isinstance(options, dict) else None
    if isinstance(types, list) and "spot" in types:
        options["types"] = ["spot"]
    elif isinstance(types, dict) and "spot" in types:
        options["types"] = {
            kind: kind == "spot" if not isinstance(chosen, dict) else dict.fromkeys(chosen, False)
            for kind, chosen in types.items()
        }


def _pointed(address: Any, base_url: str) -> Any:
    """Return an address, or a tree of them, with scheme and host of `base_url`."""
    if isinstance(address, dict):
        return {name: _pointed(each, base_url) for name, each in address.items()}
    if not isinstance(address, str):
        return address
    base, old = urlsplit(base_url), urlsplit(address)
    path = base.path.rstrip("/") + old.path
    return urlunsplit((base.scheme, base.netloc, path, old.query, old.fragment))
