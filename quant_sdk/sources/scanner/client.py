"""`ScannerClient`: asks a scanner, page by page, and says what it met in this project's errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, TypeVar
from urllib.parse import urlsplit

import httpx
import orjson

from quant_registry.clock import SystemClock
from quant_registry.errors import InvalidInput, SourceError
from quant_sdk.sources.scanner.answers import Page, read_page, refused, transform_data
from quant_sdk.sources.scanner.query import PAGE_SIZE, ScanRequest, transform_request
from quant_sdk.sources.scanner.refusals import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    import polars as pl

    from quant_registry.clock import Clock

T = TypeVar("T")

MAX_BYTES: Final = 64 * 1024 * 1024
DEADLINE: Final = 120.0
"""Seconds one answer may take in all."""

_TIMEOUT: Final = httpx.Timeout(30.0, connect=10.0)
_LOOPBACK: Final = ("localhost", "::1")
_OK: Final = 200


class Caller(Protocol):
    """Makes a call until it succeeds or is given up: retries, limits of rate."""

    def __call__(self, call: Callable[[], T], /) -> T:
        """Return what `call` returned; raise its last error."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScannerCapabilities:
    """What a scanner can do, declared.

    Attributes:
        page_size: symbols in one answer at most.
        max_requests_per_second: what its operator tolerates.
    """

    page_size: int = PAGE_SIZE
    max_requests_per_second: float = 2.0


CAPABILITIES: Final = ScannerCapabilities()


@dataclass(frozen=True, kw_only=True, slots=True)
class Scanned:
    """What a scan found.

    Attributes:
        rows: ``symbol`` and the wanted columns, in the wanted order.
        total: how many symbols met the conditions, by the last answers.
        requests: answers that were read.
        refused: symbols that were left out, because this project cannot store them.
        moved: whether the list changed while it was read, in length or so that a symbol came
            twice; another one may be missing then.
    """

    rows: pl.DataFrame
    total: int
    requests: int
    refused: tuple[str, ...] = ()
    moved: bool = False


class ScannerClient:
    """A scanner at an address; safe to use from several threads. Close it, or use it as a context.

    Args:
        base_url: ``POST {base_url}/{market}/scan`` is asked.
        id: what the column ``source`` says of its data, such as ``tradingview``.
        caller: retries and limits; by default a call is made once.
        cookie: the value of the header ``Cookie``, from the credentials; it appears nowhere.
        clock: the time; the machine's by default.
    """

    def __init__(
        self,
        base_url: str,
        *,
        id: str = "tradingview",  # noqa: A002 - the word of the other sources
        caller: Caller | None = None,
        cookie: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.id = id
        self.capabilities = CAPABILITIES
        self._base = base_url.rstrip("/")
        self._caller = caller or _once
        self._clock = clock or SystemClock()
        host = urlsplit(self._base).hostname or ""
        self._http = httpx.Client(
            timeout=_TIMEOUT,
            headers={} if cookie is None else {"Cookie": _checked(cookie)},
            trust_env=not (host in _LOOPBACK or host.startswith("127.")),
        )

    def scan(self, request: ScanRequest) -> pl.DataFrame:
        """Return ``symbol`` and the columns of a request, one row a symbol.

        Types are those of `answers.transform_data`.

        Raises:
            SourceError: the scanner did not answer, or not in its form; VenueBusy and
                SourceRefused among them.
        """
        return self.collect(request).rows

    def collect(self, request: ScanRequest) -> Scanned:
        """Return what a request finds, page after page, and how the paging went.

        Raises:
            SourceError: as `scan`.
        """
        groups = [self._group(request, symbols) for symbols in request.parts()]
        pages = [page for group in groups for page in group]
        rows = transform_data(request.asked, pages)
        if len(groups) > 1:
            rows = in_order(rows, request.sort_by, request.sort_order)
        return Scanned(
            rows=rows.head(request.most).select("symbol", *request.columns),
            total=sum(group[-1].total for group in groups),
            requests=len(pages),
            refused=tuple(refused(pages)),
            moved=any(map(_moved, groups)),
        )

    def extract(self, market: str, body: dict[str, Any]) -> Any:
        """Make one request; return the answer as it came.

        Raises:
            VenueBusy: too many requests; ``retry_after`` in seconds where the scanner says so.
            SourceError: a failure that may pass: a connection, a 5xx, a torn body;
                ``retry_after`` as above.
            SourceRefused: an answer that will not change: an unknown column, a denied session.
        """
        try:
            status, headers, content = self._post(f"{self._base}/{market}/scan", body)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            # Without its cause: the text of some of these errors repeats what the server sent.
            raise SourceError(
                f"{self.id} did not answer for {market}: {type(error).__name__}",
                fix="check the connection and the address of the scanner in quant.yml",
            ) from None
        if status != _OK:
            met = Refusal(status=status, headers=headers, content=content)
            raise met.error(self.id, market, body, self._clock)
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError:
            raise SourceError(
                f"{self.id} sent a torn answer for {market} ({len(content)} bytes)",
                fix="try again",
            ) from None

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<ScannerClient: {self.id}>"

    def _group(self, request: ScanRequest, symbols: tuple[str, ...]) -> list[Page]:
        pages: list[Page] = []
        read, most = 0, request.most
        while True:
            count = min(PAGE_SIZE, most - read)
            page = self._page(request, symbols, read, count)
            pages.append(page)
            read += len(page.rows)
            if read >= min(most, page.total):
                return pages
            if not page.rows:
                raise SourceError(
                    f"{self.id} stopped after {read} of {page.total} symbols of {request.market}",
                    fix="try again",
                )

    def _page(self, request: ScanRequest, symbols: tuple[str, ...], first: int, count: int) -> Page:
        body = transform_request(request, symbols, first, count)
        width = len(request.asked)
        return self._caller(lambda: read_page(self.extract(request.market, body), width))

    def _post(self, url: str, body: dict[str, Any]) -> tuple[int, httpx.Headers, bytes]:
        """Return status, headers and content; too large or too slow an answer is an error."""
        content = bytearray()
        end = self._clock.monotonic() + DEADLINE
        headers = {"Content-Type": "application/json"}
        with self._http.stream("POST", url, content=orjson.dumps(body), headers=headers) as answer:
            for piece in answer.iter_bytes():
                content += piece
                if len(content) > MAX_BYTES or self._clock.monotonic() > end:
                    raise httpx.ReadError("the answer has no end")
        return answer.status_code, answer.headers, bytes(content)


def in_order(rows: pl.DataFrame, sort_by: str, sort_order: str) -> pl.DataFrame:
    """Return rows of several answers in one order; those without a value come last."""
    return rows.sort(sort_by, descending=sort_order == "desc", nulls_last=True, maintain_order=True)


def _moved(group: list[Page]) -> bool:
    symbols = [symbol for page in group for symbol, _ in page.rows]
    return len({page.total for page in group}) > 1 or len(set(symbols)) < len(symbols)


def _once(call: Callable[[], T], /) -> T:
    return call()


def _checked(cookie: str) -> str:
    """Refuse what cannot be a header here: the HTTP library's own error would show it."""
    if not cookie.isascii() or not cookie.isprintable():
        raise InvalidInput(
            "the scanner's session cookie has characters that no header may hold",
            fix="copy its value again, without line breaks",
        )
    return cookie
