"""Pair files: ``{BASE}_{QUOTE}-{timeframe}.feather|parquet|json.gz``, ``date`` in UTC.

The exchange comes from the entry. A ``json.gz`` is a list of ``[epoch, open, high, low, close,
volume]``, or of objects with ``date``; its epochs are milliseconds unless the entry says otherwise.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Final

from quant_registry.errors import InvalidInput
from quant_sdk.lakehouse.symbols import join_symbol
from quant_sdk.lakehouse.timeframe import Timeframe
from quant_sdk.sources.legacy.folder import Named, discover, required
from quant_sdk.sources.legacy.json_rows import probe_json, read_json
from quant_sdk.sources.legacy.parquet import (
    probe_feather,
    probe_parquet,
    read_feather,
    read_parquet,
)
from quant_sdk.sources.legacy.table import check_probe, raw_rows, reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

    import polars as pl

    from quant_sdk.sources.legacy.protocol import LegacyEntry, Probe, SourceFile, Unrecognised

_NAME: Final = re.compile(
    r"([A-Z0-9]+)_([A-Z0-9]+)-([0-9]+[a-zA-Z])(\.feather|\.parquet|\.json\.gz)"
)
_JSON: Final = ".json.gz"

READERS: Final[
    dict[str, tuple[Callable[[SourceFile], Probe], Callable[[SourceFile], pl.DataFrame]]]
] = {
    ".feather": (probe_feather, read_feather),
    ".parquet": (probe_parquet, read_parquet),
    _JSON: (probe_json, read_json),
}
"""How each suffix is probed and read."""


class PairSource:
    """Reads pair files, as freqtrade leaves them."""

    layout = "pair"

    def discover(self, entry: LegacyEntry, root: Path) -> Iterator[SourceFile | Unrecognised]:
        """Yield each file of the entry; pair and timeframe stand in its name."""
        required(entry, "exchange")
        return discover(entry, root, partial(_named, str(entry.exchange)))

    def probe(self, file: SourceFile) -> Probe:
        """Read footer or head only; a JSON file does not say how many rows it has."""
        with reading(file):
            return check_probe(file, READERS[_suffix(file.path)][0](file))

    def read(self, file: SourceFile, *, now: datetime) -> pl.DataFrame:
        """Return every row in file order, as `LegacySource.read` promises."""
        with reading(file):
            return raw_rows(READERS[_suffix(file.path)][1](file), file, now=now)


def _suffix(path: Path) -> str:
    return next(suffix for suffix in READERS if path.name.endswith(suffix))


def _named(exchange: str, path: Path) -> Named:
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise InvalidInput(
            "its name is not of the form BASE_QUOTE-timeframe.feather, .parquet or .json.gz",
            fix="rename it, as in ADA_BTC-5m.feather, or move it away",
        )
    base, quote, timeframe, suffix = match.groups()
    return Named(
        symbol=join_symbol(exchange, base, quote),
        timeframe=Timeframe.parse(timeframe).text,
        timestamp_column="date",
        timestamp_unit="ms" if suffix == _JSON else None,
    )
