"""Step 3: read, check and publish the sources, in batches."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from quant_sdk.lakehouse.ledger import Ledger
from quant_sdk.lakehouse.publish import Publisher
from quant_sdk.lakehouse.table import BARS, QUARANTINE, Table
from quant_stages.migration.load import Loaded, Loader

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from quant_sdk import Run
    from quant_sdk.lakehouse.batch import Incoming
    from quant_sdk.lakehouse.publish import Published
    from quant_stages.migration.state import Failure, Migration

NAME = "ingest"
PHASE = "ingestion"

# Bounds what a batch holds in memory: some 60 bytes a row, a few copies of it.
MAX_BATCH_ROWS = 1_000_000


def apply(run: Run, state: Migration) -> Migration:
    """Publish the sources that the ledger does not know; one that fails is only recorded."""
    lakehouse = run.workspace.lakehouse
    ledger = Ledger(lakehouse)
    found = ledger.reconcile((Table(lakehouse, BARS), Table(lakehouse, QUARANTINE)))
    if found:
        run.emit("ledger_recovered", status="success", entries=len(found))
    files = state.discovered.files
    loader = Loader(ledger.entries(), run.clock.now())
    pending = [file for file in files if not loader.is_known(file)]
    run.expect(len(files))
    run.advance(len(files) - len(pending))
    if len(pending) < len(files):
        run.emit("ingest_unchanged", status="success", sources=len(files) - len(pending))
    rank = {file.id: place for place, file in enumerate(files)}
    publisher = Publisher(lakehouse, run.workspace.locks, rank)
    totals = _Totals()
    loaded = run.map(loader.load, pending, workers=state.params.workers or None)
    for batch in _batches(loaded, state.params.batch_symbols):
        _take_in(run, publisher, batch, totals)
    failures = tuple(totals.failures)
    report = run.write_report("ingest", _report(totals, len(files), len(pending)))
    return replace(
        state,
        entries=tuple(totals.entries),
        unchanged=len(files) - len(totals.entries) - len(failures),
        failures=(*state.failures, *failures),
        bytes_read=totals.bytes,
        reports=state.reports | {"ingest": report},
    )


class _Totals:
    """What the batches of this run came to."""

    def __init__(self) -> None:
        self.entries: list[Any] = []
        self.failures: list[Failure] = []
        self.bytes = 0


def _take_in(run: Run, publisher: Publisher, batch: list[Loaded], totals: _Totals) -> None:
    """Publish one batch, then tell of each of its symbols."""
    incoming = [item.incoming for item in batch if item.incoming is not None]
    entries = {}
    if incoming:
        published = run.commit(
            lambda commit: publisher.publish(incoming, commit, run.clock.now()),
            batch_id=_batch_id(incoming),
            describe=_describe,
        )
        entries = {entry.source: entry for entry in published.entries}
        totals.entries += published.entries
    for item in batch:
        totals.bytes += item.bytes
        run.advance()
        if item.failure is not None:
            totals.failures.append(item.failure)
            error = item.failure.error.to_dict()
            run.emit(
                "ingest_progress",
                symbol=item.file.symbol,
                rows=0,
                status="failed",
                source=item.file.id,
                error=error,
            )
        elif entry := entries.get(item.file.id):
            run.emit(
                "ingest_progress",
                symbol=entry.symbol,
                rows=entry.bars,
                status="success",
                timeframe=entry.timeframe,
                quarantined=entry.quarantined,
                identical_duplicates=entry.identical_duplicates,
            )
    run.checkpoint({"step": NAME, "sources_done": len(totals.entries)})


def _batches(loaded: Iterable[Loaded], most: int) -> Iterator[list[Loaded]]:
    """Cut the stream into batches: bounded in series and rows, no series twice in one."""
    batch: list[Loaded] = []
    series: set[tuple[str, str]] = set()
    rows = 0
    for item in loaded:
        name = (item.file.symbol, item.file.timeframe)
        count = item.incoming.rows if item.incoming else 0
        if batch and (len(batch) >= most or name in series or rows + count > MAX_BATCH_ROWS):
            yield batch
            batch, series, rows = [], set(), 0
        batch.append(item)
        series.add(name)
        rows += count
    if batch:
        yield batch


def _batch_id(incoming: Iterable[Incoming]) -> str:
    digest = hashlib.sha256()
    for item in incoming:
        digest.update(f"{item.source}\0{item.sha256}\0{item.spec_digest}\0".encode())
    return digest.hexdigest()[:32]


def _describe(published: Published) -> dict[str, Any]:
    entries = published.entries
    return {
        "status": "success",
        "sources": len(entries),
        "rows": sum(entry.bars for entry in entries),
        "quarantined": sum(entry.quarantined for entry in entries),
        "bars_version": published.version,
    }


def _report(totals: _Totals, files: int, pending: int) -> dict[str, Any]:
    return {
        "files": files,
        "already_known": files - pending,
        "sources": [entry.to_dict() for entry in totals.entries],
        "failures": [failure.to_dict() for failure in totals.failures],
    }
