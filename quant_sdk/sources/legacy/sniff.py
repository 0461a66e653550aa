"""Sniffing a folder of legacy bars: which files can be read, how, and why others cannot.

`sniff` only looks. It proposes entries for a manifest; `manifest_draft`, beside it, writes them.
It looks at names and at the first rows, so a file that is flawed further down is found by
``quant stage run ops.migration.dataops_v2 --dry-run``, which reads every row.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from quant_registry.errors import InvalidInput, QuantError
from quant_sdk.sources.legacy._clues import Clue, find_times, is_length, timeframe_of
from quant_sdk.sources.legacy._heads import read_rows
from quant_sdk.sources.legacy._tree import LeftOut, walk
from quant_sdk.sources.legacy.layouts import LAYOUTS, source_for
from quant_sdk.sources.legacy.protocol import LegacyEntry, SourceFile, Unrecognised

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

__all__ = ["LeftOut", "Sniffed", "Understood", "sniff"]

_SOME_EXCHANGE: Final = "X"
_WORDS: Final = re.compile(r"[-_. ]+")
_NUMBER: Final = re.compile(r"\d+")
# Words in the name of a CSV file that are no symbol.
_NO_SYMBOL: Final = frozenset(
    {"ask", "bars", "bid", "candles", "csv", "data", "gz", "hist", "history", "klines", "mid"}
    | {"ohlc", "ohlcv", "utc"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Understood:
    """A file that can be read.

    Attributes:
        path: as an entry would name it.
        symbol: ``EXCHANGE:BASEQUOTE``.
        timeframe: such as ``5m``.
        rows: where its head tells.
        evidence: the row that shows an epoch's unit: ``{row, value, unit, reads}``.
        entry: the entry that names this file alone.
    """

    path: str
    symbol: str
    timeframe: str
    rows: int | None
    evidence: dict[str, Any] | None
    entry: LegacyEntry

    def to_dict(self) -> dict[str, Any]:
        """Return the form answers carry."""
        return {
            "path": self.path,
            "layout": self.entry.layout,
            "symbol": self.symbol,
            "timeframe": self.timeframe,
            "rows": self.rows,
            "timestamp_unit": self.entry.timestamp_unit,
            "evidence": self.evidence,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Sniffed:
    """What a folder holds.

    Attributes:
        entries: proposed for ``discovery.legacy``, as plain objects, in order of precedence.
        files: those that can be read.
        left_out: those of a data format that cannot, each with the reason and what helps.
        ignored: how many others there are, by suffix.
        notes: what a person should know before a run.
    """

    entries: tuple[dict[str, Any], ...]
    files: tuple[Understood, ...]
    left_out: tuple[LeftOut, ...]
    ignored: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    top: Path
    base: Path
    home: Path
    exchanges: Mapping[str, str]
    timezone: str | None
    now: datetime

    def exchange_of(self, path: Path) -> str | None:
        """Return the exchange that the caller says the file is of."""
        place = os.path.relpath(path, self.top)
        for pattern, exchange in self.exchanges.items():
            if fnmatchcase(place, pattern) or fnmatchcase(path.name, pattern):
                return exchange
        return None

    def written(self, path: Path) -> str:
        """Return `path` as a manifest in `base` names it."""
        if path.is_relative_to(self.home):
            return Path(os.path.relpath(path, self.base)).as_posix()
        return path.as_posix()


def sniff(  # noqa: PLR0913 - what only the caller knows
    folder: Path,
    *,
    base: Path,
    now: datetime,
    home: Path | None = None,
    exchanges: Mapping[str, str] | None = None,
    timezone: str | None = None,
    skip: Iterable[Path] = (),
) -> Sniffed:
    """Look through a folder, or at one file, for bars of a known layout.

    Args:
        folder: what to look through, recursively; links out of a folder are not followed.
        base: the manifest's folder.
        now: aware; timestamps much later are not believed.
        home: what lies under it is named relative to `base`, all else absolutely.
        exchanges: of files whose names do not say theirs: the first pattern (as in a shell) that
            a file's name, or its path in `folder`, fits; ``{"*": "BINANCE"}`` for all.
        timezone: the IANA zone of naive local times; only files that need it get it.
        skip: folders that are passed over.

    Raises:
        InvalidInput: there is nothing at `folder`, or more than 100,000 files.
    """
    base, folder = (Path(os.path.realpath(path)) for path in (base, folder))
    home = base if home is None else Path(os.path.realpath(home))
    asked = _Asked(
        top=folder,
        base=base,
        home=home,
        exchanges=exchanges or {},
        timezone=timezone,
        now=now,
    )
    tree = walk(folder, skip=skip, shown=asked.written)
    entries: list[dict[str, Any]] = []
    files: list[Understood] = []
    left_out = list(tree.left_out)
    for place, paths in tree.folders.items():
        found = [_look(path, asked) for path in paths]
        files += [item for item in found if isinstance(item, Understood)]
        whole = _folder_entry(found, paths) if folder.is_dir() and place not in tree.stray else None
        if whole is not None:
            entries.append(_plain(replace(whole, path=asked.written(place)), _understood(found)))
            left_out += [_named_anyway(item) for item in found if isinstance(item, LeftOut)]
        else:
            entries += [_plain(item.entry, (item,)) for item in _understood(found)]
            left_out += [item for item in found if isinstance(item, LeftOut)]
    return Sniffed(
        entries=tuple(entries),
        files=tuple(files),
        left_out=tuple(sorted(left_out, key=lambda item: item.path)),
        ignored=tree.ignored,
        notes=tuple(_notes(files)),
    )


def _look(path: Path, asked: _Asked) -> Understood | LeftOut:
    """Understand one file, or say why it cannot be."""
    shown = asked.written(path)
    try:
        named = _named(path, asked)
        if named.layout == "csv":
            return _csv(path, named, asked)
        return _by_name(named, asked)
    except QuantError as error:
        reason = error.message.removeprefix(f"{shown}: ").removeprefix(f"{path.as_posix()}: ")
        return LeftOut(path=shown, reason=reason, fix=error.fix, layout=_layout_of(path, asked))


def _named(path: Path, asked: _Asked) -> SourceFile:
    """Return the file as the layout that its name belongs to sees it."""
    for layout in LAYOUTS:
        if isinstance(found := _discovered(path, layout, asked), SourceFile):
            return found
    raise InvalidInput(
        "its name is of no known layout",
        fix="rename it as BINANCE_ADABTC_5m.parquet or ADA_BTC-5m.feather, or export it as CSV",
    )


def _layout_of(path: Path, asked: _Asked) -> str | None:
    try:
        return _named(path, asked).layout
    except QuantError:
        return None


def _discovered(path: Path, layout: str, asked: _Asked) -> SourceFile | Unrecognised:
    entry = LegacyEntry(path=str(path), layout=layout)
    if layout != "flat_v1":
        entry = replace(entry, exchange=asked.exchange_of(path) or _SOME_EXCHANGE)
    if layout == "csv":
        # A name of its own is asked for later; what stands here only makes the entry complete.
        entry = replace(entry, timeframe="1m", timestamp_column="timestamp", symbol="ANY")
    return next(iter(source_for(layout).discover(entry, asked.base)))


def _by_name(file: SourceFile, asked: _Asked) -> Understood:
    """Understand a file whose name says symbol and timeframe."""
    exchange = None if file.layout == "flat_v1" else _exchange(file.path, asked)
    clue = find_times(read_rows(file), file, now=asked.now, timezone=asked.timezone)
    entry = LegacyEntry(
        path=asked.written(file.path),
        layout=file.layout,
        exchange=exchange,
        timestamp_column=None if clue.column == file.timestamp_column else clue.column,
        timestamp_unit=None if clue.unit in {None, file.timestamp_unit} else clue.unit,
        timezone=clue.timezone,
    )
    return _understood_as(entry, clue, asked)


def _csv(path: Path, file: SourceFile, asked: _Asked) -> Understood:
    """Understand a CSV file: its rows tell the timeframe, its name the symbol."""
    rows = read_rows(file)
    exchange = _exchange(path, asked)
    clue = find_times(rows, file, now=asked.now, timezone=asked.timezone)
    words = [word for word in _WORDS.split(path.name) if word]
    entry = LegacyEntry(
        path=asked.written(path),
        layout="csv",
        exchange=exchange,
        symbol=_symbol(words, exchange),
        timeframe=timeframe_of(clue, file, words),
        timestamp_column=clue.column,
        timestamp_unit=clue.unit,
        timezone=clue.timezone,
    )
    return _understood_as(entry, clue, asked)


def _exchange(path: Path, asked: _Asked) -> str:
    exchange = asked.exchange_of(path)
    if exchange is None:
        raise InvalidInput(
            "its name does not say its exchange: it needs --exchange",
            fix=f"say whose bars they are, as in --exchange '{path.name}=BINANCE'",
        )
    return exchange


def _symbol(words: list[str], exchange: str) -> str:
    """Return the one word of a file's name that can be its symbol."""
    free = [
        word
        for word in words
        if word.lower() not in {*_NO_SYMBOL, exchange.lower()}
        and not is_length(word)
        and not _NUMBER.fullmatch(word)
    ]
    if len(free) != 1:
        said = f"could be {', '.join(free)}" if free else "is not in its name"
        raise InvalidInput(
            f"its symbol {said}",
            fix="write an entry for it with the symbol that you know, or rename it",
        )
    return free[0].upper()


def _understood_as(entry: LegacyEntry, clue: Clue, asked: _Asked) -> Understood:
    """Check that the entry reads the file, as a run will."""
    source = source_for(entry.layout)
    file = next(iter(source.discover(entry, asked.base)))
    if isinstance(file, Unrecognised):
        raise InvalidInput(file.reason, fix=file.fix)
    return Understood(
        path=entry.path,
        symbol=file.symbol,
        timeframe=file.timeframe,
        rows=source.probe(file).rows,
        evidence=clue.evidence,
        entry=entry,
    )


def _understood(found: Iterable[Understood | LeftOut]) -> tuple[Understood, ...]:
    return tuple(item for item in found if isinstance(item, Understood))


def _folder_entry(found: list[Understood | LeftOut], paths: list[Path]) -> LegacyEntry | None:
    """Return the one entry for all files of a folder, where there is one that fits them all."""
    layouts = {item.entry.layout if isinstance(item, Understood) else item.layout for item in found}
    wanted = {replace(item.entry, path="") for item in _understood(found)}
    same = len(layouts) == 1 and len(wanted) == 1 and "csv" not in layouts
    return next(iter(wanted)) if same and len(found) == len(paths) else None


def _plain(entry: LegacyEntry, files: tuple[Understood, ...]) -> dict[str, Any]:
    """Return the entry as a manifest holds it; an epoch's unit has its evidence beside it."""
    document = {name: value for name, value in asdict(entry).items() if value is not None}
    if entry.timestamp_unit is not None and (proof := files[0].evidence) is not None:
        document["note"] = (
            f"the only plausible unit: row {proof['row']} of {files[0].path.rpartition('/')[2]}, "
            f"{proof['value']}, is {proof['reads']} in {proof['unit']}"
        )
    return document


def _named_anyway(item: LeftOut) -> LeftOut:
    reason = f"{item.reason}; its folder's entry names it, so a run reports it until it is mended"
    return replace(item, reason=reason)


def _notes(files: list[Understood]) -> Iterator[str]:
    series = Counter((file.symbol, file.timeframe) for file in files)
    for (symbol, timeframe), count in sorted(series.items()):
        if count > 1:
            yield (
                f"{symbol} {timeframe} comes from {count} files; where they differ, the one that "
                "stands earlier in the manifest wins"
            )
