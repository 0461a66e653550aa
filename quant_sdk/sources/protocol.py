"""What a source of bars is that must be asked: a venue behind a network.

Reading goes in three steps, each testable alone: `transform_query` puts a query into the venue's
words, `extract` makes one request, `transform_data` turns the answer into bars. Paging, retries and
rate limits are not the source's business: `quant_sdk.sources.fetch` does them for all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, kw_only=True, slots=True)
class BarQuery:
    """Bars of one series that are wanted.

    Attributes:
        symbol: ``EXCHANGE:BASEQUOTE``.
        timeframe: such as ``1h``.
        start: the first opening wanted, microseconds since the epoch, UTC.
        end: exclusive; ``[start, end)``.
    """

    symbol: str
    timeframe: str
    start: int
    end: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Capabilities:
    """What a source can do, declared.

    Attributes:
        page_size: bars in one answer at most.
        since_inclusive: an answer to "since t" holds the bar that opens at t.
        lookback: closed bars that are asked for again at each visit, so that the venue's
            corrections are seen.
        max_requests_per_second: what the venue allows.
        timeframes: bar lengths it gives, in this project's words.
        recent_only: its answers hold its newest bars only: that an old bar is absent proves
            nothing.
        gives_next: asked since t it gives its next bars however far off they are: an empty answer
            proves that none is left.
    """

    page_size: int
    since_inclusive: bool
    lookback: int
    max_requests_per_second: float
    timeframes: tuple[str, ...]
    recent_only: bool = False
    gives_next: bool = False


class BarSource(Protocol):
    """A venue that gives bars; safe to use from several threads at once."""

    @property
    def id(self) -> str:
        """What the column ``source`` says of its bars, such as ``ccxt:binance``."""

    @property
    def venue(self) -> str:
        """The exchange part of its symbols, such as ``BINANCE``."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""

    def transform_query(self, query: BarQuery) -> dict[str, Any]:
        """Return the request for the first page of `query`, in the venue's words; no network.

        Raises:
            UnknownSymbol: the venue does not list it.
            InvalidInput: the venue has no such timeframe.
        """

    def extract(self, request: dict[str, Any]) -> Any:
        """Make one request; return the answer as it came.

        Raises:
            VenueBusy: too many requests; ``retry_after`` seconds where the venue says so.
            SourceError: a failure that may pass: a connection, a 5xx, a torn body;
                ``retry_after`` as above.
            UnknownSymbol: the venue does not list the symbol any more.
            SourceRefused: an answer that will not change: a denied credential, a bad request.
        """

    def transform_data(self, answer: Any) -> pl.DataFrame:
        """Return the bars of an answer, nothing dropped; no network.

        Columns: ``ts`` (Datetime us UTC, opening), ``open``, ``high``, ``low``, ``close``,
        ``volume`` (Float64, nullable), in the answer's order.

        Raises:
            SourceError: the answer is not of the venue's form.
        """
