"""Step one of three: a scanner file, or a wish for columns, in the scanner's words; no network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from quant_registry.errors import InvalidInput
from quant_sdk.sources.scanner.file import DEFAULT_SORT, MOST_ROWS
from quant_sdk.sources.scanner.filters import Filter, columns_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from quant_sdk.sources.scanner.file import ScannerFile

PAGE_SIZE: Final = 500
PAIRED: Final = ("crypto", "forex")
"""Markets whose symbols are pairs: they have a base currency."""

_IDENTITY: Final = ("name", "exchange", "type", "description", "currency")
_BASE: Final = "base_currency"


@dataclass(frozen=True, kw_only=True, slots=True)
class ScanRequest:
    """Columns of the symbols of one market.

    Attributes:
        market: such as ``crypto``; it becomes part of the address.
        columns: what is wanted of each symbol; ``RSI|60`` is the RSI of hourly bars.
        filters: conditions, all of which hold.
        symbols: only these, ``EXCHANGE:BASEQUOTE``; empty for all.
        sort_by: the column that decides which symbols come first.
        sort_order: ``asc`` or ``desc``; symbols without a value come last.
        limit: symbols at most; None for all, as far as 20,000 go.
    """

    market: str
    columns: tuple[str, ...]
    filters: tuple[Filter, ...] = ()
    symbols: tuple[str, ...] = ()
    sort_by: str = DEFAULT_SORT
    sort_order: str = "asc"
    limit: int | None = None

    def __post_init__(self) -> None:
        if not self.columns or len(set(self.columns)) < len(self.columns):
            raise InvalidInput("a scan has no columns, or one twice", fix="name each column once")
        if "symbol" in self.columns:
            raise InvalidInput(
                "`symbol` is no column of the scanner", fix="leave it out: it is always there"
            )

    @property
    def asked(self) -> tuple[str, ...]:
        """The columns, and the one that is sorted by."""
        return self.columns if self.sort_by in self.columns else (*self.columns, self.sort_by)

    @property
    def most(self) -> int:
        """How many symbols are asked for at most."""
        return MOST_ROWS if self.limit is None else min(self.limit, MOST_ROWS)

    def parts(self) -> Iterable[tuple[str, ...]]:
        """Yield the wanted symbols in groups of a page; one empty group where all are wanted."""
        if not self.symbols:
            yield ()
        for first in range(0, len(self.symbols), PAGE_SIZE):
            yield self.symbols[first : first + PAGE_SIZE]


def transform_request(
    request: ScanRequest, symbols: tuple[str, ...], first: int, count: int
) -> dict[str, Any]:
    """Return the body that asks for `count` rows from row `first` on, ``[first, first + count)``.

    Args:
        request: what is wanted.
        symbols: one group of `ScanRequest.parts`.
        first: rows to pass over.
        count: rows at most.
    """
    return {
        "markets": [request.market],
        "symbols": {"tickers": list(symbols)} if symbols else {},
        "options": {"lang": "en"},
        "columns": list(request.asked),
        "filter": [item.to_dict() for item in request.filters],
        "sort": {"sortBy": request.sort_by, "sortOrder": request.sort_order},
        "range": [first, first + count],
    }


def transform_query(
    scanner: ScannerFile, markets: tuple[str, ...] | None = None
) -> list[ScanRequest]:
    """Return the requests of a scanner file, one a market.

    Where a rule of the file can only be applied to the answers (stable bases, priority of quotes,
    names in symbol files), the limit is applied after it, and all symbols are asked for.

    Args:
        scanner: the file.
        markets: only these of its markets; None for all.
    """
    chosen = scanner.markets if markets is None else markets
    return [_request(scanner, market) for market in scanner.markets if market in chosen]


def looked_at(scanner: ScannerFile) -> tuple[str, ...]:
    """Return the columns that a scanner file sorts by and filters on, without repetitions."""
    return tuple(dict.fromkeys((scanner.sort_by, *columns_of(scanner.all_filters))))


def identity_columns(market: str) -> tuple[str, ...]:
    """Return the columns that tell what a symbol of `market` is."""
    return (*_IDENTITY, _BASE) if market in PAIRED else _IDENTITY


def _request(scanner: ScannerFile, market: str) -> ScanRequest:
    wanted = looked_at(scanner) if scanner.export_metadata else (scanner.sort_by,)
    late = scanner.symbols or scanner.exclude_stable_bases or scanner.quote_priority
    return ScanRequest(
        market=market,
        columns=tuple(dict.fromkeys((*identity_columns(market), *wanted))),
        filters=(*_exchanges(scanner), *_names(scanner, market), *scanner.all_filters),
        symbols=scanner.symbols if all(":" in item for item in scanner.symbols) else (),
        sort_by=scanner.sort_by,
        sort_order=scanner.sort_order,
        limit=None if late else scanner.limit,
    )


def _exchanges(scanner: ScannerFile) -> tuple[Filter, ...]:
    if not scanner.exchanges:
        return ()
    return (Filter(left="exchange", operation="in_range", right=scanner.exchanges),)


def _names(scanner: ScannerFile, market: str) -> tuple[Filter, ...]:
    """Narrow by name where a bare text in a symbol file can be nothing else."""
    if market in PAIRED or all(":" in item for item in scanner.symbols):
        return ()
    names = tuple(dict.fromkeys(item.rpartition(":")[2] for item in scanner.symbols))
    return (Filter(left="name", operation="in_range", right=names),)
