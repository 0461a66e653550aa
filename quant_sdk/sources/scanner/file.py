"""A scanner file: what to look for, where, and how many."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from quant_registry.errors import InvalidInput
from quant_sdk.sources.scanner.documents import SYMBOL_FILES, read_document
from quant_sdk.sources.scanner.fields import Fields
from quant_sdk.sources.scanner.filters import parse_filters
from quant_sdk.sources.scanner.symbol_files import read_symbol_files
from quant_sdk.sources.scanner.trend import parse_trend

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from quant_sdk.sources.scanner.documents import Document, Finding
    from quant_sdk.sources.scanner.filters import Filter
    from quant_sdk.sources.scanner.trend import Trend

KEYS: Final = (
    "markets",
    "exchanges",
    "filters",
    "sort_by",
    "sort_order",
    "limit",
    SYMBOL_FILES,
    "exclude_stable_bases",
    "quote_priority",
    "trend",
    "metadata",
    "export_metadata",
)
MOST_ROWS: Final = 20_000
DEFAULT_SORT: Final = "name"
_MARKET: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ScannerFile:
    """A scanner file, its presets laid under it.

    Attributes:
        name: its path in the workspace without suffix.
        chain: it and its presets, as seen from the workspace.
        markets: the scanner's markets, such as ``crypto`` or ``forex``; each is asked by itself.
        exchanges: only symbols of these; empty for all.
        filters: conditions, all of which hold.
        sort_by: the column that decides which symbols come first; ``name`` by default.
        sort_order: ``asc`` or ``desc``; the default is ``desc`` where the file sorts.
        limit: symbols at most, counted after everything else; None for all.
        symbols: symbols, names and bases of the symbol files, only these count; empty for all.
        exclude_stable_bases: leave out pairs whose base is a stable coin.
        quote_priority: one pair a base, in the first of these quotes that is there.
        trend: conditions in short, or None.
        intent: ``metadata.intent``, what the candidates are for, or None.
        metadata: all that stands under that key.
        export_metadata: whether the columns that were looked at go into the candidates.
        labels: keys and values under ``export_metadata``, where it is a mapping.
        extra: keys that nothing here reads.
        findings: what is odd about the file.
        digest: SHA-256 of all that was read for it.
    """

    name: str
    chain: tuple[str, ...]
    markets: tuple[str, ...]
    exchanges: tuple[str, ...] = ()
    filters: tuple[Filter, ...] = ()
    sort_by: str = DEFAULT_SORT
    sort_order: str = "asc"
    limit: int | None = None
    symbols: tuple[str, ...] = ()
    exclude_stable_bases: bool = False
    quote_priority: tuple[str, ...] = ()
    trend: Trend | None = None
    intent: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict, repr=False)
    export_metadata: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)
    findings: tuple[Finding, ...] = ()
    digest: str = ""

    @property
    def path(self) -> str:
        """The file, as seen from the workspace."""
        return self.chain[0]

    @property
    def all_filters(self) -> tuple[Filter, ...]:
        """The filters, those of the trend after them."""
        return (*self.filters, *(self.trend.filters if self.trend is not None else ()))


def read_scanner(path: Path, root: Path) -> ScannerFile:
    """Read a scanner file, its presets and its symbol files.

    Args:
        path: the file, with or without its suffix.
        root: the workspace's; everything that is read stands under it.

    Raises:
        InvalidInput: a file is missing or malformed, a value is impossible, or the presets go
            round; the whole chain is shown.
        OutsideWorkspace: a path leaves the workspace.
    """
    document = read_document(path, root)
    fields = Fields(document.keys, document.chain[0], document.origins)
    filters, odd_filters = parse_filters(fields)
    trend, odd_trend = parse_trend(fields)
    symbols, bad_lines = read_symbol_files(fields.texts(SYMBOL_FILES), root.resolve(), document)
    metadata = fields.mapping("metadata") or {}
    exported, labels = _export(fields)
    return ScannerFile(
        name=document.chain[0].rpartition(".")[0],
        chain=document.chain,
        markets=_markets(fields),
        exchanges=_capitals(fields, "exchanges"),
        filters=filters,
        sort_by=fields.text("sort_by") or DEFAULT_SORT,
        sort_order=fields.one_of("sort_order", ("asc", "desc"), _order(fields)),
        limit=fields.count("limit", MOST_ROWS),
        symbols=symbols,
        exclude_stable_bases=fields.flag("exclude_stable_bases"),
        quote_priority=_capitals(fields, "quote_priority"),
        trend=trend,
        intent=fields.inner(metadata, "metadata").text("intent"),
        metadata=metadata,
        export_metadata=exported,
        labels=labels,
        extra={key: value for key, value in document.keys.items() if key not in KEYS},
        findings=(
            *document.findings,
            *fields.unknown(KEYS),
            *odd_filters,
            *odd_trend,
            *bad_lines,
        ),
        digest=_digest(document, symbols),
    )


def _markets(fields: Fields) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(item.lower() for item in fields.texts("markets")))
    if not found:
        raise InvalidInput(
            f"{fields.place} names no market", fix="write `markets: [crypto]`, or another market"
        )
    for market in found:
        if not _MARKET.fullmatch(market):
            raise fields.wrong("markets", market, "use names such as crypto, forex, america")
    return found


def _capitals(fields: Fields, key: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item.upper() for item in fields.texts(key)))


def _order(fields: Fields) -> str:
    return "desc" if fields.keys.get("sort_by") is not None else "asc"


def _export(fields: Fields) -> tuple[bool, dict[str, str]]:
    """Read ``export_metadata``: true or false, or labels, which mean true."""
    value = fields.keys.get("export_metadata", False)
    if not isinstance(value, dict):
        return fields.flag("export_metadata"), {}
    inner = fields.inner(value, "export_metadata")
    return True, {key: inner.text(key) or "" for key in value}


def _digest(document: Document, symbols: tuple[str, ...]) -> str:
    return hashlib.sha256("\0".join((document.digest, *symbols)).encode()).hexdigest()
