"""The first rows of a file of any layout, as it holds them."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from quant_sdk.sources.legacy.json_rows import probe_json
from quant_sdk.sources.legacy.packed import HEAD_BYTES, read_head
from quant_sdk.sources.legacy.table import reading, refused

if TYPE_CHECKING:
    from quant_sdk.sources.legacy.protocol import SourceFile

ROWS: Final = 1_000
"""How many rows are looked at, at most."""


def read_rows(file: SourceFile) -> pl.DataFrame:
    """Return at most the first `ROWS` rows.

    Raises:
        SourceUnreadable: torn, empty, or of another format than its name says.
    """
    name = file.path.name
    with reading(file):
        if name.endswith(".parquet"):
            table = _parquet(file)
        elif name.endswith(".feather"):
            table = _feather(file)
        elif name.endswith(".json.gz"):
            table = _json(file)
        else:
            table = _csv(file)
    if table.height == 0:
        raise refused(file, "holds no rows", fix="export it again, or leave it out")
    return table


def _parquet(file: SourceFile) -> pl.DataFrame:
    from pyarrow import parquet

    with parquet.ParquetFile(file.path) as opened:
        batch = next(opened.iter_batches(batch_size=ROWS), None)
        return _frame(opened.schema_arrow.empty_table() if batch is None else batch)


def _feather(file: SourceFile) -> pl.DataFrame:
    from pyarrow import ipc

    with ipc.open_file(file.path) as opened:
        for index in range(opened.num_record_batches):
            batch = opened.get_batch(index)
            if batch.num_rows:
                return _frame(batch.slice(0, ROWS))
        return _frame(opened.schema.empty_table())


def _frame(batch: Any) -> pl.DataFrame:
    found = pl.from_arrow(batch)
    assert isinstance(found, pl.DataFrame)  # noqa: S101 - a batch of columns is a frame
    return found


def _json(file: SourceFile) -> pl.DataFrame:
    columns = probe_json(file).columns
    rest = read_head(file).decode("utf-8", "replace").lstrip()[1:]
    decoder = json.JSONDecoder()
    rows: list[dict[str, Any]] = []
    while len(rows) < ROWS:
        rest = rest.lstrip(" \t\r\n,")
        try:
            row, end = decoder.raw_decode(rest)
        except json.JSONDecodeError:
            break  # the end of the list, or of the head
        rows.append(row if isinstance(row, dict) else dict(zip(columns, row, strict=True)))
        rest = rest[end:]
    return pl.DataFrame(rows, schema=list(columns), infer_schema_length=None)


def _csv(file: SourceFile) -> pl.DataFrame:
    head = read_head(file)
    if len(head) == HEAD_BYTES:
        head = head[: head.rfind(b"\n") + 1]  # the last line may be cut
    if not head.strip():
        raise refused(file, "is empty", fix="export it again, or leave it out")
    return pl.read_csv(
        io.BytesIO(head), infer_schema=False, truncate_ragged_lines=False, n_rows=ROWS
    )
