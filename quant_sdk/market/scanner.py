"""The scanner: ``POST /{market}/scan`` finds listed symbols by their columns."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

import orjson

from quant_sdk.market.technicals import Columns
from quant_sdk.market.wire import Answer, answer_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from quant_sdk.market.listing import Instrument
    from quant_sdk.market.market import Market

MARKETS: Final = ("crypto", "forex", "global")
DEFAULT_RANGE: Final = (0, 50)
_MINUTE: Final = 60_000_000
_PAIR: Final = 2


class BadScan(Exception):  # noqa: N818  named by what happened
    """A query the scanner does not understand, in its words."""


class Scanner:
    """Answers of the scanner; safe to share by threads.

    Columns are computed once for a listing and a minute of the market's clock.

    Args:
        market: what is listed.
    """

    def __init__(self, market: Market) -> None:
        self._market = market
        self._columns: dict[tuple[int, tuple[str, ...]], Columns] = {}
        self._lock = threading.Lock()

    def answer(self, path: str, body: bytes) -> Answer:
        """Answer ``POST path``; a query it does not understand is a 400 with the reason."""
        market, _, verb = path.strip("/").partition("/")
        if verb != "scan" or market not in MARKETS:
            return _refused(f"Unknown market or path {path[:200]!r}", 404)
        try:
            query = orjson.loads(body or b"{}")
        except orjson.JSONDecodeError:
            return _refused("The body is not JSON")
        try:
            # Columns fill as they are asked.
            with self._lock:
                return answer_json(self._scan(market, _checked(query)))
        except BadScan as refused:
            return _refused(str(refused))

    def _scan(self, market: str, query: Mapping[str, Any]) -> dict[str, Any]:
        wanted = {market, *query.get("markets", ())} - {"global"}
        tickers = (query.get("symbols") or {}).get("tickers") or None
        instruments = [
            each
            for each in self._market.listed()
            if (not wanted or each.kind in wanted) and (tickers is None or each.symbol in tickers)
        ]
        columns = self._columns_of(instruments)
        rows = list(range(len(instruments)))
        for condition in query.get("filter") or ():
            rows = _filtered(rows, columns, condition)
        rows = _sorted(rows, columns, query.get("sort") or {})
        first, last = query.get("range") or DEFAULT_RANGE
        values = [_column(columns, name) for name in query.get("columns") or ()]
        return {
            "totalCount": len(rows),
            "data": [
                {"s": instruments[row].symbol, "d": [column[row] for column in values]}
                for row in rows[first:last]
            ],
        }

    def _columns_of(self, instruments: Sequence[Instrument]) -> Columns:
        minute = self._market.now() // _MINUTE
        key = (minute, tuple(each.symbol for each in instruments))
        if key not in self._columns:
            self._columns = {old: found for old, found in self._columns.items() if old[0] == minute}
            self._columns[key] = Columns(self._market, instruments, minute * _MINUTE)
        return self._columns[key]


def _checked(query: Any) -> Mapping[str, Any]:
    if not isinstance(query, dict):
        raise BadScan("The body is not an object")
    for name, kind in _KINDS.items():
        if query.get(name) is not None and not isinstance(query[name], kind):
            raise BadScan(f"Wrong type of {name!r}")
    bounds = query.get("range") or DEFAULT_RANGE
    if len(bounds) != _PAIR or not all(isinstance(each, int) and each >= 0 for each in bounds):
        raise BadScan("Wrong range: two whole numbers from 0 are wanted")
    return query


_KINDS: Final[Mapping[str, type]] = {
    "filter": list, "columns": list, "sort": dict, "range": list, "markets": list, "symbols": dict,
}  # fmt: skip


def _column(columns: Columns, name: Any) -> list[Any]:
    if not isinstance(name, str) or name not in columns:
        raise BadScan(f'Unknown field "{str(name)[:200]}"')
    return columns[name]


def _filtered(rows: list[int], columns: Columns, condition: Any) -> list[int]:
    if not isinstance(condition, dict) or "left" not in condition:
        raise BadScan("Wrong filter: left, operation and right are wanted")
    left, right = _column(columns, condition["left"]), condition.get("right")
    test = _OPERATIONS.get(condition.get("operation", ""))
    if test is None:
        raise BadScan(f'Unknown operation "{str(condition.get("operation"))[:200]}"')
    other = columns[right] if isinstance(right, str) and right in columns else None
    return [
        row
        for row in rows
        if left[row] is not None and _holds(test, left[row], right if other is None else other[row])
    ]


def _holds(test: Callable[[Any, Any], bool], left: Any, right: Any) -> bool:
    if right is None:
        return False
    try:
        return test(left, right)
    except TypeError as error:
        raise BadScan(f"Cannot compare {left!r} with {str(right)[:200]!r}") from error


def _in_range(left: Any, right: Any) -> bool:
    if not isinstance(right, list):
        raise BadScan("in_range wants a list")
    numbers = all(isinstance(each, (int, float)) for each in right)
    if numbers and len(right) == _PAIR and not isinstance(left, str):
        return bool(right[0] <= left <= right[1])
    return left in right


_OPERATIONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "greater": lambda left, right: left > right,
    "egreater": lambda left, right: left >= right,
    "less": lambda left, right: left < right,
    "eless": lambda left, right: left <= right,
    "equal": lambda left, right: left == right,
    "nequal": lambda left, right: left != right,
    "in_range": _in_range,
    "not_in_range": lambda left, right: not _in_range(left, right),
    "match": lambda left, right: str(right).casefold() in str(left).casefold(),
    "nmatch": lambda left, right: str(right).casefold() not in str(left).casefold(),
}


def _sorted(rows: list[int], columns: Columns, sort: Mapping[str, Any]) -> list[int]:
    """Return the rows in order, those without a value last."""
    if not sort.get("sortBy"):
        return rows
    values = _column(columns, sort["sortBy"])
    order = sort.get("sortOrder", "asc")
    if order not in {"asc", "desc"}:
        raise BadScan(f'Unknown sort order "{str(order)[:200]}"')
    known = [row for row in rows if values[row] is not None]
    unknown = [row for row in rows if values[row] is None]
    return sorted(known, key=lambda row: values[row], reverse=order == "desc") + unknown


def _refused(reason: str, status: int = 400) -> Answer:
    return answer_json({"totalCount": 0, "error": reason, "data": None}, status)
