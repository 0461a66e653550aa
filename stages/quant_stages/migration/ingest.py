"""Step 3: read, check and publish the sources, in batches."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from quant_sdk.conformance import ConformancePipeline
from quant_sdk.errors import SourceUnreadable
from quant_sdk.lakehouse.calendars import calendar_for
from quant_sdk.lakehouse.ledger import Ledger
from quant_sdk.lakehouse.publish import Publisher
from quant_stages.migration.batches import batches
from quant_stages.migration.load import Loader
from quant_stages.migration.state import Failure
from quant_stages.tables import make_whole

if TYPE_CHECKING:
    from collections.abc import Iterable

    from quant_sdk import Run
    from quant_sdk.lakehouse.batch import Incoming
    from quant_sdk.lakehouse.ledger import Entry
    from quant_sdk.lakehouse.publish import Published
    from quant_stages.migration.load import Loaded
    from quant_stages.migration.state import Migration

NAME = "ingest"
PHASE = "ingestion"


def apply(run: Run, state: Migration) -> Migration:
    """Publish the sources that the ledger does not know; one that fails is only recorded."""
    files = state.discovered.files
    rank = {file.id: place for place, file in enumerate(files)}
    known = _known(run)
    calendars = {file.symbol: file.calendar for file in files}
    pipeline = ConformancePipeline.partial_ok(
        True, calendar_of=lambda symbol: calendar_for(symbol, calendars.get(symbol))
    )
    lakehouse, locks = run.workspace.lakehouse, run.workspace.locks
    publisher = Publisher(lakehouse, locks, rank, admit=pipeline.admit)
    loader = Loader(known, run.clock.now(), pipeline)
    pending = [file for file in files if not loader.is_known(file)]
    run.expect(len(files))
    run.advance(len(files) - len(pending))
    if len(pending) < len(files):
        run.emit("ingest_unchanged", status="success", sources=len(files) - len(pending))
    totals = _Totals()
    loaded = run.map(loader.load, pending, workers=state.params.workers or None)
    for batch in batches(loaded, state.params.batch_symbols):
        _take_in(run, publisher, batch, totals)
    _restamp(run, publisher, totals.touched)
    failures = tuple(totals.failures)
    told = _report(totals, (*state.failures, *failures), len(files), len(pending))
    report = run.write_report("ingest", told)
    return replace(
        state,
        entries=tuple(totals.entries),
        unchanged=len(files) - len(totals.entries) - totals.unread,
        failures=(*state.failures, *failures),
        bytes_read=totals.bytes,
        reports=state.reports | {"ingest": report},
    )


class _Totals:
    """What the batches of this run came to."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.touched: list[Entry] = []
        self.failures: list[Failure] = []
        self.unread = 0
        self.bytes = 0


def _known(run: Run) -> list[Entry]:
    """Return the ledger's entries, once ledger and tables agree."""
    make_whole(run)
    return Ledger(run.workspace.lakehouse).entries()


def _take_in(run: Run, publisher: Publisher, batch: list[Loaded], totals: _Totals) -> None:
    """Publish one batch, then tell of each of its symbols."""
    incoming = [item.incoming for item in batch if item.incoming is not None]
    entries: dict[str, Entry] = {}
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
        if item.touched is not None:
            totals.touched.append(item.touched)
        run.advance()
        _tell(run, item, entries.get(item.file.id), totals)
    run.checkpoint({"step": NAME, "sources_done": len(totals.entries)})


def _tell(run: Run, item: Loaded, entry: Entry | None, totals: _Totals) -> None:
    """Emit a source's event; one that brought no good row at all is a failure too."""
    failure = item.failure
    if failure is not None:
        totals.unread += 1
    elif entry is not None and entry.quarantined == entry.rows:
        failure = _all_refused(item, entry)
    if failure is not None:
        totals.failures.append(failure)
        run.emit(
            "ingest_progress",
            symbol=item.file.symbol,
            rows=0,
            status="failed",
            source=item.file.id,
            error=failure.error.to_dict(),
        )
    elif entry is not None:
        run.emit(
            "ingest_progress",
            symbol=entry.symbol,
            rows=entry.bars,
            status="success",
            timeframe=entry.timeframe,
            quarantined=entry.quarantined,
            identical_duplicates=entry.identical_duplicates,
        )


def _all_refused(item: Loaded, entry: Entry) -> Failure:
    error = SourceUnreadable(
        f"all {entry.rows} rows of {entry.source} were refused",
        fix=f"see why: quant quarantine show --symbol {entry.symbol}",
    )
    return Failure(source=entry.source, symbol=item.file.symbol, error=error)


def _restamp(run: Run, publisher: Publisher, touched: list[Entry]) -> None:
    """Note files whose times changed and whose content did not, so that they are not read again."""
    if touched:
        run.commit(
            lambda commit: publisher.note(touched, commit),
            batch_id=f"restamp-{run.run_id}",
            event="sources_restamped",
            describe=lambda count: {"status": "success", "sources": count},
        )


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


def _report(
    totals: _Totals, failures: Iterable[Failure], files: int, pending: int
) -> dict[str, Any]:
    return {
        "files": files,
        "already_known": files - pending,
        "sources": [entry.to_dict() for entry in totals.entries],
        "failures": [failure.to_dict() for failure in failures],
    }
