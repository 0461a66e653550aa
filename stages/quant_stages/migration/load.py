"""Loading one source: hash it, read it, check it; pure, so that threads can do it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from quant_sdk.conformance import ConformancePipeline
from quant_sdk.errors import QuantError, SourceError, SourceUnreadable
from quant_sdk.lakehouse.batch import Incoming
from quant_sdk.lakehouse.calendars import calendar_for
from quant_sdk.lakehouse.timeframe import Timeframe
from quant_sdk.sources.legacy import source_for
from quant_stages.migration.state import Failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from pathlib import Path

    from quant_sdk.conformance import CheckedBars
    from quant_sdk.lakehouse.ledger import Entry
    from quant_sdk.sources.legacy import SourceFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What came of a source: rows to publish, a failure, or neither where nothing has changed.

    `touched` is then the entry to note: the file has other times, the same content.
    """

    file: SourceFile
    bytes: int = 0
    incoming: Incoming | None = None
    failure: Failure | None = None
    touched: Entry | None = None


class Loader:
    """Loads sources, leaving out those the ledger knows.

    Args:
        known: the ledger's entries, oldest first.
        now: bounds how late a timestamp is believed.
        pipeline: divides the rows; None: one of its own.
    """

    def __init__(
        self, known: Iterable[Entry], now: datetime, pipeline: ConformancePipeline | None = None
    ) -> None:
        self._known: Mapping[str, Entry] = {entry.source: entry for entry in known}
        self._now = now
        self._pipeline = pipeline or ConformancePipeline.partial_ok(True)

    def is_known(self, file: SourceFile) -> bool:
        """Tell by size, times and inode that a source was taken in and is untouched since."""
        entry = self._known.get(file.id)
        if entry is None or not _same_declaration(entry, file):
            return False
        try:
            return entry.stamp == _stamp(file.path)
        except OSError:
            return False

    def load(self, file: SourceFile) -> Loaded:
        """Read and check one source; what is wrong with it becomes its failure."""
        try:
            return self._load(file)
        except QuantError as error:
            return _failed(file, error)
        except OSError as error:
            return _failed(
                file,
                SourceUnreadable(
                    f"{file.id} cannot be read: {error.strerror or error}", fix="look at the file"
                ),
            )

    def _load(self, file: SourceFile) -> Loaded:
        stamp = _stamp(file.path)
        with file.path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        entry = self._known.get(file.id)
        if entry and entry.sha256 == sha256 and _same_declaration(entry, file):
            return Loaded(file=file, touched=entry.restamped(stamp))
        raw = source_for(file.layout).read(file, now=self._now)
        checked = self._pipeline.admit(
            raw,
            Timeframe.parse(file.timeframe),
            symbol=file.symbol,
            calendar_of=lambda symbol: calendar_for(symbol, file.calendar),
        )
        _check_grid(file, raw, checked)
        if _stamp(file.path) != stamp:
            raise SourceError(
                f"{file.id} was written to while it was read",
                fix="run the stage again once its writer is done",
            )
        return Loaded(
            file=file,
            bytes=stamp[0],
            incoming=Incoming.of(
                checked,
                source=file.id,
                sha256=sha256,
                spec_digest=file.spec_digest,
                stamp=stamp,
                symbol=file.symbol,
                timeframe=file.timeframe,
                calendar=file.calendar,
            ),
        )


def _check_grid(file: SourceFile, raw: pl.DataFrame, checked: CheckedBars) -> None:
    """Refuse a source whose bars are of another length than declared: some fit by chance.

    Raises:
        SourceUnreadable: most rows lie off the grid.
    """
    refused = checked.quarantined.filter(pl.col("rule") == "off_grid").height
    if not checked.bars.height or 2 * refused <= checked.rows_in:
        return
    apart = raw["ts"].drop_nulls().sort().diff().drop_nulls().mode().min()
    raise SourceUnreadable(
        f"{refused} of {checked.rows_in} rows of {file.id} lie off the grid of {file.timeframe}: "
        f"most are {apart!s} apart",
        fix="correct `timeframe` of the source in the manifest",
    )


def _same_declaration(entry: Entry, file: SourceFile) -> bool:
    """Tell whether a source is declared as it was; the calendar matters to coverage only."""
    return (entry.spec_digest, entry.calendar) == (file.spec_digest, file.calendar)


def _stamp(path: Path) -> tuple[int, ...]:
    state = path.stat()
    return (state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)


def _failed(file: SourceFile, error: QuantError) -> Loaded:
    return Loaded(file=file, failure=Failure(source=file.id, symbol=file.symbol, error=error))
