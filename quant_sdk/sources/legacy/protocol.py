"""What a source of legacy bars is: an entry of the manifest, the files it names, their rows."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    import polars as pl

_READ_FIELDS: Final = (
    "layout",
    "symbol",
    "timeframe",
    "timestamp_column",
    "timestamp_unit",
    "timezone",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class LegacyEntry:
    """One entry of a profile's ``discovery.legacy``, as written: a file or a folder, and how."""

    path: str
    layout: str
    exchange: str | None = None
    timeframe: str | None = None
    timestamp_column: str | None = None
    timestamp_unit: str | None = None
    symbol: str | None = None
    asset_type: str | None = None
    calendar: str | None = None
    timezone: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFile:
    """One file of bars of one series, and everything needed to read it.

    ``id`` is its posix path as seen from the manifest's folder, ``symbol`` is checked
    (``EXCHANGE:BASEQUOTE``), ``timeframe`` is a valid one (``5m``). ``timestamp_unit`` is ``s``,
    ``ms``, ``us``, ``ns`` or None for timestamps that are no epochs; ``timezone`` is the IANA
    zone of naive local times, or None.
    """

    id: str
    path: Path
    layout: str
    symbol: str
    timeframe: str
    timestamp_column: str
    timestamp_unit: str | None = None
    asset_type: str | None = None
    calendar: str | None = None
    timezone: str | None = None

    @property
    def spec_digest(self) -> str:
        """The sha256, in hex, of every field that changes what the bytes mean."""
        spec = {name: getattr(self, name) for name in _READ_FIELDS}
        return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Unrecognised:
    """Something in an entry's folder that the layout cannot name; ``path`` is printable."""

    path: str
    reason: str
    fix: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """What a file's head tells: columns as written, and rows where the format says."""

    rows: int | None
    columns: tuple[str, ...]


class LegacySource(Protocol):
    """A legacy layout: finds its files, and reads them."""

    @property
    def layout(self) -> str:
        """The name the manifest uses."""

    def discover(self, entry: LegacyEntry, root: Path) -> Iterator[SourceFile | Unrecognised]:
        """Yield what ``entry`` names, sorted by file name; ``root`` is the manifest's folder.

        Hidden files are ignored; folders are not descended into.

        Raises:
            InvalidInput: the entry lacks a field that the layout needs, or has a wrong one.
            SourceUnreadable: the path is missing or cannot be listed.
        """

    def probe(self, file: SourceFile) -> Probe:
        """Look at the head of a file only.

        Raises:
            SourceUnreadable: it is torn, empty or of unknown shape.
        """

    def read(self, file: SourceFile, *, now: datetime) -> pl.DataFrame:
        """Return every row in file order, nothing dropped.

        Columns: ``row`` (UInt32, index in the file), ``ts`` (Datetime us UTC, nullable), ``open``,
        ``high``, ``low``, ``close``, ``volume`` (Float64, nullable; volume null throughout if the
        file has none). ``now`` (aware) bounds how late a timestamp is believed.

        Raises:
            SourceUnreadable: torn, empty, of unknown shape, or not in the declared unit or zone;
                ``row`` is among its facts where one row shows it.
        """
