"""Tables in Parquet and Feather files. Bytes are read, not mapped: a file cut short stays safe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from quant_sdk.sources.legacy.protocol import Probe
from quant_sdk.sources.legacy.table import columns_of, refused

if TYPE_CHECKING:
    from quant_sdk.sources.legacy.protocol import SourceFile

FREE_ROWS: Final = 2**22
"""As many rows are read however little space they take."""
MIN_ROW_BYTES: Final = 1
"""Beyond `FREE_ROWS`, the least space a packed row of bars takes; real ones take 15 or more."""


def read_parquet(file: SourceFile) -> pl.DataFrame:
    """Return the columns of bars; a file of rows that take no space is refused, not unpacked."""
    from pyarrow import BufferReader, parquet

    content = file.path.read_bytes()
    with parquet.ParquetFile(BufferReader(content)) as opened:
        rows, names = opened.metadata.num_rows, opened.schema_arrow.names
    if rows > max(FREE_ROWS, len(content) // MIN_ROW_BYTES):
        raise refused(
            file,
            f"says it holds {rows} rows in {len(content)} bytes",
            fix="no bars pack that tightly: export it again, or take it out of the entry",
            rows=rows,
        )
    columns = list(columns_of(file, names).values())
    return pl.read_parquet(content, columns=columns, hive_partitioning=False)


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
