"""CSV files, plain or gzip, with a named timestamp column.

The entry names ``timestamp_column``, ``exchange`` and ``timeframe``; the symbol comes from the
entry too, or from the file's name up to its first ``-``, ``_`` or ``.``, in capitals.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Final

import polars as pl

from quant_registry.errors import InvalidInput
from quant_sdk.lakehouse.symbols import check_symbol, join_symbol
from quant_sdk.sources.legacy.folder import Named, discover, required
from quant_sdk.sources.legacy.packed import read_all, read_head
from quant_sdk.sources.legacy.protocol import Probe
from quant_sdk.sources.legacy.table import check_probe, columns_of, raw_rows, reading, refused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from quant_sdk.sources.legacy.protocol import LegacyEntry, SourceFile, Unrecognised

_SUFFIXES: Final = (".csv", ".csv.gz")
_STEM_ENDS: Final = re.compile(r"[-_.]")
_BLANK: Final = b" \t\r\n"


class CsvSource:
    """Reads CSV with a header line; every cell is text until it is proven a number or a time."""

    layout = "csv"

    def discover(self, entry: LegacyEntry, root: Path) -> Iterator[SourceFile | Unrecognised]:
        """Yield each CSV file of the entry."""
        required(entry, "timestamp_column", "exchange", "timeframe")
        return discover(entry, root, partial(_named, entry))

    def probe(self, file: SourceFile) -> Probe:
        """Read the header line only."""
        with reading(file):
            head = read_head(file)
            header, _, rest = head.partition(b"\n")
            columns = tuple(_table(header + b"\n", file).columns)
            return check_probe(file, Probe(rows=None if rest.strip(_BLANK) else 0, columns=columns))

    def read(self, file: SourceFile, *, now: datetime) -> pl.DataFrame:
        """Return every row in file order, as `LegacySource.read` promises."""
        with reading(file):
            content = read_all(file)
            table = _table(content, file)
            columns_of(file, table.columns)
            _one_line_a_row(content, table, file)
            _whole(content, table.width, file)
            return raw_rows(table, file, now=now)


def _named(entry: LegacyEntry, path: Path) -> Named:
    if not path.name.endswith(_SUFFIXES):
        raise InvalidInput("its name does not end in .csv or .csv.gz", fix="move it away")
    return Named(
        symbol=_symbol(entry, path),
        timeframe=str(entry.timeframe),
        timestamp_column=str(entry.timestamp_column),
    )


def _symbol(entry: LegacyEntry, path: Path) -> str:
    name = entry.symbol or _STEM_ENDS.split(path.name, maxsplit=1)[0].upper()
    return check_symbol(name) if ":" in name else join_symbol(str(entry.exchange), name)


def _table(content: bytes, file: SourceFile) -> pl.DataFrame:
    if not content.strip(_BLANK):
        raise refused(file, "is empty", fix="export it again, or take it out of the entry")
    _distinct_names(content, file)
    return pl.read_csv(io.BytesIO(content), infer_schema=False, truncate_ragged_lines=False)


def _distinct_names(content: bytes, file: SourceFile) -> None:
    """Refuse a column that stands twice: polars would rename the second."""
    header = content[: content.find(b"\n") + 1 or None].decode("utf-8-sig", "replace")
    names = Counter(next(csv.reader([header.strip()]), []))
    if twice := [name for name, count in names.items() if count > 1 and name]:
        raise refused(file, f"columns {twice} stand twice", fix="keep one of each", columns=twice)


def _one_line_a_row(content: bytes, table: pl.DataFrame, file: SourceFile) -> None:
    """Refuse a stray quote: the lines up to the next one would vanish into one cell."""
    if b'"' not in content:
        return
    broken = table.select(
        pl.arg_where(pl.any_horizontal(pl.all().str.contains("[\r\n]")))
    ).to_series()
    if broken.len():
        row = int(broken[0])
        raise refused(
            file,
            f"row {row}: a quoted cell holds further lines",
            fix="take out the stray quote, or write each row on a line of its own",
            row=row,
        )


def _whole(content: bytes, width: int, file: SourceFile) -> None:
    """Refuse a file whose last line was cut off: polars would fill it up with nulls."""
    end = len(content.rstrip(_BLANK[2:])) if content.endswith((b"\n", b"\r")) else len(content)
    last = content[content.rfind(b"\n", 0, end) + 1 : end]
    if b'"' not in last and last.count(b",") < width - 1:
        raise refused(
            file,
            f"is torn: its last line has {last.count(b',') + 1} of {width} cells",
            fix="export or copy it again",
        )
