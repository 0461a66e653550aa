"""Tables in Parquet and Feather files. Bytes are read, not mapped: a file cut short stays safe."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from quant_sdk.sources.protocol import Probe

if TYPE_CHECKING:
    from quant_sdk.sources.protocol import SourceFile


def read_parquet(file: SourceFile) -> pl.DataFrame:
    """Return the whole table."""
    return pl.read_parquet(file.path.read_bytes(), hive_partitioning=False)


def probe_parquet(file: SourceFile) -> Probe:
    """Return columns and rows from the footer."""
    from pyarrow import parquet

    with parquet.ParquetFile(file.path) as opened:
        return Probe(rows=opened.metadata.num_rows, columns=tuple(opened.schema_arrow.names))


def read_feather(file: SourceFile) -> pl.DataFrame:
    """Return the whole table of an Arrow IPC file (Feather v2)."""
    return pl.read_ipc(file.path.read_bytes())


def probe_feather(file: SourceFile) -> Probe:
    """Return the columns from the footer; the format does not say how many rows."""
    with file.path.open("rb") as stream:
        return Probe(rows=None, columns=tuple(pl.read_ipc_schema(stream)))
