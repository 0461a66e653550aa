"""The flat v1 lakehouse: ``{EXCHANGE}_{SYMBOL}_{timeframe}.parquet``, ``timestamp`` in seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from quant_registry.errors import InvalidInput
from quant_sdk.lakehouse.symbols import join_symbol
from quant_sdk.lakehouse.timeframe import Timeframe
from quant_sdk.sources.legacy.folder import Named, discover
from quant_sdk.sources.legacy.parquet import probe_parquet, read_parquet
from quant_sdk.sources.legacy.table import check_probe, raw_rows, reading

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    import polars as pl

    from quant_sdk.sources.legacy.protocol import LegacyEntry, Probe, SourceFile, Unrecognised

_SUFFIX: Final = ".parquet"
_PARTS: Final = 3


class FlatV1Source:
    """Reads the flat v1 lakehouse; the layout itself declares epochs in seconds."""

    layout = "flat_v1"

    def discover(self, entry: LegacyEntry, root: Path) -> Iterator[SourceFile | Unrecognised]:
        """Yield each file of the entry; exchange, symbol and timeframe stand in its name."""
        return discover(entry, root, _named)

    def probe(self, file: SourceFile) -> Probe:
        """Read the footer only."""
        with reading(file):
            return check_probe(file, probe_parquet(file))

    def read(self, file: SourceFile, *, now: datetime) -> pl.DataFrame:
        """Return every row in file order, as `LegacySource.read` promises."""
        with reading(file):
            return raw_rows(read_parquet(file), file, now=now)


def _named(path: Path) -> Named:
    parts = path.name.removesuffix(_SUFFIX).rsplit("_", _PARTS - 1)
    if not path.name.endswith(_SUFFIX) or len(parts) != _PARTS:
        raise InvalidInput(
            "its name is not of the form EXCHANGE_SYMBOL_timeframe.parquet",
            fix="rename it, as in BINANCE_ADABTC_5m.parquet, or move it away",
        )
    exchange, name, timeframe = parts
    return Named(
        symbol=join_symbol(exchange, name),
        timeframe=Timeframe.parse(timeframe).text,
        timestamp_column="timestamp",
        timestamp_unit="s",
    )
