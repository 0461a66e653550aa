"""Step three of three: answers of the scanner as a frame; no network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson
import polars as pl

from quant_registry.errors import InvalidIdentifier, SourceError
from quant_sdk.lakehouse.symbols import check_symbol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SYMBOL: Final = "symbol"
TEXTS: Final = frozenset(
    {"name", "exchange", "type", "subtype", "description", "currency", "base_currency", "sector"}
)
"""Columns that hold text even where no symbol has a value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """One answer, its form checked.

    Attributes:
        total: how many symbols meet the conditions.
        rows: symbol and values, one value a column that was asked for.
    """

    total: int
    rows: list[tuple[str, list[Any]]]


def read_page(answer: Any, width: int) -> Page:
    """Return an answer of the scanner as a page.

    Args:
        answer: as it came: ``{"totalCount": n, "data": [{"s": symbol, "d": values}]}``.
        width: how many columns were asked for.

    Raises:
        SourceError: it is not of that form.
    """
    total = answer.get("totalCount") if isinstance(answer, dict) else None
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(total, int) or not isinstance(data, list):
        raise _odd("it has no totalCount, or no list of data")
    rows = [_row(item, width) for item in data]
    return Page(total=max(total, len(rows)), rows=rows)


def transform_data(columns: Sequence[str], pages: Iterable[Page]) -> pl.DataFrame:
    """Return the symbols of pages, each once, in the answers' order.

    Columns: ``symbol`` (String), then `columns`: numbers as Float64, flags as Boolean, anything
    else as String, lists as JSON; null where the scanner has no value. Symbols that are none for
    this project are left out, see `refused`.
    """
    seen: dict[str, list[Any]] = {}
    for page in pages:
        for symbol, values in page.rows:
            if symbol not in seen and _is_symbol(symbol):
                seen[symbol] = values
    series = [pl.Series(SYMBOL, list(seen), dtype=pl.String)]
    for place, column in enumerate(columns):
        series.append(_series(column, [values[place] for values in seen.values()]))
    return pl.DataFrame(series)


def refused(pages: Iterable[Page]) -> list[str]:
    """Return the symbols of pages that cannot be stored, each once."""
    return list(
        dict.fromkeys(symbol for page in pages for symbol, _ in page.rows if not _is_symbol(symbol))
    )


def _row(item: Any, width: int) -> tuple[str, list[Any]]:
    if not isinstance(item, dict):
        raise _odd("a row is no object")
    symbol, values = item.get("s"), item.get("d")
    if not isinstance(symbol, str) or not isinstance(values, list) or len(values) != width:
        raise _odd("a row has no symbol, or not one value a column")
    return symbol, values


def _odd(reason: str) -> SourceError:
    return SourceError(
        f"the scanner's answer is not of its form: {reason}",
        fix="try again; if it stays so, the scanner has changed its form",
    )


def _is_symbol(text: str) -> bool:
    try:
        check_symbol(text)
    except InvalidIdentifier:
        return False
    return True


def _series(column: str, values: list[Any]) -> pl.Series:
    kinds = {type(value) for value in values} - {type(None)}
    if kinds == {bool}:
        return pl.Series(column, values, dtype=pl.Boolean)
    if kinds <= {int, float} and (kinds or column not in TEXTS):
        numbers = [None if value is None else float(value) for value in values]
        return pl.Series(column, numbers, dtype=pl.Float64)
    return pl.Series(column, [_text(value) for value in values], dtype=pl.String)


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return orjson.dumps(value).decode()
