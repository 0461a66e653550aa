"""Candidates: the series that discovery found, as later stages read them."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from quant_registry.errors import InvalidInput, NoData, QuantError
from quant_registry.files import read_json
from quant_registry.ids import stage_of_run_id
from quant_sdk.lakehouse.symbols import split_symbol
from quant_sdk.lakehouse.timeframe import Timeframe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from quant_registry.workspace import Workspace

_NAME: Final = "candidates.json"
_NO_DISCOVERY: Final = frozenset({"ops.flow_production"})
"""Stages whose export restates candidates that another run discovered."""

MOST_DAYS: Final = 100_000
_RUN: Final = re.compile(r"\d{8}T\d{6}\.\d{6}Z-")
_SHOWN: Final = 60
_PAIR_KEYS: Final = ("timeframe", "depth_days")
_KEYS: Final = (
    *("symbol", "exchange", "asset_type", "base", "quote", "ingest", "timeframes"),
    *("scanners", "metadata", *_PAIR_KEYS),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One symbol to be worked on.

    Attributes:
        symbol: ``EXCHANGE:BASEQUOTE``.
        exchange: its first part.
        asset_type: such as ``crypto`` or ``forex``.
        ingest: timeframe and depth in days back from now, shortest bar first; a depth of None
            stands where the file names no depth.
        base: what is traded; None where the file does not tell.
        quote: what it is priced in; None where the file does not tell.
        odd: keys of its entry that mean nothing and look like one that does, each as a sentence.
    """

    symbol: str
    exchange: str
    asset_type: str
    ingest: tuple[tuple[str, int | None], ...] = ()
    base: str | None = None
    quote: str | None = None
    odd: tuple[str, ...] = ()


def latest_candidates(workspace: Workspace, profile: str | None = None) -> Path | None:
    """Return the newest ``data/export/<run_id>/candidates.json``, or None where there is none.

    The newest by the run's id, which begins with its time; what the production gate exported is
    passed over, because it restates an earlier file.

    Args:
        workspace: whose.
        profile: only files that were discovered for this profile.

    Raises:
        Corrupted: a file that was looked into for its profiles is no JSON object.
    """
    exported = (
        path
        for path in (workspace.data / "export").glob(f"*/{_NAME}")
        if _RUN.match(path.parent.name) and stage_of_run_id(path.parent.name) not in _NO_DISCOVERY
    )
    newest_first = sorted(exported, key=lambda path: path.parent.name, reverse=True)
    return next(
        (path for path in newest_first if profile is None or profile in _profiles(path)), None
    )


def _profiles(path: Path) -> list[Any]:
    meta = read_json(path).get("meta")
    found = meta.get("profiles") if isinstance(meta, dict) else None
    return found if isinstance(found, list) else []


def read_candidates(path: Path) -> list[Candidate]:
    """Return the candidates of a file of the schema ``candidates/1``, sorted by symbol.

    A symbol that stands twice is one candidate with the timeframes of both. The pairs stand under
    ``ingest``; older files have only ``timeframes``, or one ``timeframe``, and no depth.

    Raises:
        NoData: there is no such file.
        Corrupted: it is no JSON object.
        InvalidInput: an entry is not of the form; its number is named.
    """
    try:
        document = read_json(path)
    except OSError as error:
        raise NoData(
            f"the candidates {path} cannot be read: {error.strerror or error}",
            fix="discover some: quant stage run data.discover",
        ) from error
    entries = document.get("data")
    if not isinstance(entries, list):
        raise InvalidInput(f"{path} has no list `data`", fix="see: quant schema show candidates")
    found: dict[str, Candidate] = {}
    for number, entry in enumerate(entries):
        try:
            candidate = _candidate(entry)
        except QuantError as error:
            raise InvalidInput(
                f"entry {number} of {path} is no candidate: {error.message}", fix=error.fix
            ) from error
        found[candidate.symbol] = _joined(found.get(candidate.symbol), candidate)
    return [found[symbol] for symbol in sorted(found)]


def merge_ingest(
    *wanted: Iterable[tuple[str, int | None]],
) -> tuple[tuple[str, int | None], ...]:
    """Return every timeframe once with its largest depth, shortest bar first.

    A depth that is known outweighs None.
    """
    depths: dict[str, int | None] = {}
    for timeframe, days in (pair for pairs in wanted for pair in pairs):
        depths[timeframe] = max(depths.get(timeframe) or 0, days or 0) or None
    return tuple(sorted(depths.items(), key=lambda pair: _length(pair[0])))


def _candidate(entry: Any) -> Candidate:
    if not isinstance(entry, dict) or not isinstance(entry.get("symbol"), str):
        raise InvalidInput("it has no symbol", fix="see: quant schema show candidates")
    exchange, _ = split_symbol(entry["symbol"])
    if entry.get("exchange", exchange) != exchange:
        raise InvalidInput(
            f"{entry['symbol']} is not of the exchange {str(entry['exchange'])[:_SHOWN]!r}",
            fix=f'write "exchange": "{exchange}"',
        )
    return Candidate(
        symbol=entry["symbol"],
        exchange=exchange,
        asset_type=_text(entry, "asset_type") or "unknown",
        ingest=merge_ingest(_pairs(entry)),
        base=_text(entry, "base"),
        quote=_text(entry, "quote"),
        odd=tuple(_odd(entry)),
    )


def _odd(entry: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is odd about the keys; an entry may hold more than is known, a pair may not."""
    pairs = entry.get("ingest")
    inner = [key for pair in pairs if isinstance(pair, dict) for key in pair] if pairs else []
    for key, known in [*((key, _KEYS) for key in entry), *((key, _PAIR_KEYS) for key in inner)]:
        near = difflib.get_close_matches(key, known, 1, 0.66) if key not in known else []
        if near or (key not in known and known is _PAIR_KEYS):
            hint = f"did you mean {near[0]}?" if near else f"use {', '.join(_PAIR_KEYS)}"
            yield f"{entry['symbol']}: the key {key[:_SHOWN]!r} means nothing; {hint}"


def _pairs(entry: Mapping[str, Any]) -> list[tuple[str, int | None]]:
    if "ingest" in entry:
        listed = entry["ingest"]
    else:
        names = entry.get("timeframes") or [entry.get("timeframe")]
        if not isinstance(names, list):
            raise _not_pairs(names)
        listed = [{"timeframe": name} for name in names if name is not None]
    if not isinstance(listed, list):
        raise _not_pairs(listed)
    return [_pair(item) for item in listed]


def _pair(item: Any) -> tuple[str, int | None]:
    if not isinstance(item, dict) or not isinstance(item.get("timeframe"), str):
        raise _not_pairs(item)
    days = item.get("depth_days")
    is_days = isinstance(days, int) and not isinstance(days, bool) and 0 < days <= MOST_DAYS
    if days is not None and not is_days:
        raise InvalidInput(
            f"{str(days)[:_SHOWN]!r} is no number of days",
            fix=f"write a whole number from 1 to {MOST_DAYS}, or null",
        )
    return Timeframe.parse(item["timeframe"]).text, days


def _not_pairs(value: Any) -> InvalidInput:
    return InvalidInput(
        f"{str(value)[:_SHOWN]!r} does not say what to ingest",
        fix='write "ingest": [{"timeframe": "1h", "depth_days": 500}]',
    )


def _joined(one: Candidate | None, other: Candidate) -> Candidate:
    if one is None:
        return other
    return Candidate(
        symbol=one.symbol,
        exchange=one.exchange,
        asset_type=other.asset_type if one.asset_type == "unknown" else one.asset_type,
        ingest=merge_ingest(one.ingest, other.ingest),
        base=one.base or other.base,
        quote=one.quote or other.quote,
        odd=tuple(dict.fromkeys((*one.odd, *other.odd))),
    )


def _text(entry: Mapping[str, Any], key: str) -> str | None:
    value = entry.get(key)
    return value if isinstance(value, str) and value else None


def _length(timeframe: str) -> tuple[int, str]:
    parsed = Timeframe.parse(timeframe)
    return parsed.open_of(1) - parsed.open_of(0), timeframe
