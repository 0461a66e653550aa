"""The one loop by which bars come from venues into the lakehouse."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from quant_sdk.conformance import ConformancePipeline
from quant_sdk.lakehouse.batch import Incoming
from quant_sdk.lakehouse.coverage import slots_of
from quant_sdk.lakehouse.fingerprint import fingerprint
from quant_sdk.lakehouse.lakehouse import Lakehouse
from quant_sdk.lakehouse.ledger import MANY
from quant_sdk.lakehouse.publish import Publisher
from quant_sdk.lakehouse.seams import JUMP
from quant_sdk.lakehouse.timeframe import Timeframe, to_micros
from quant_sdk.seamless.holes import ASKED, Holes, intervals_of
from quant_stages.intake.batches import batches
from quant_stages.intake.counts import Counts, failed_entirely
from quant_stages.intake.gather import Gatherer
from quant_stages.intake.purity import refused
from quant_stages.sources import sources_of
from quant_stages.tables import make_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from quant_sdk import Commit, Run
    from quant_sdk.lakehouse.publish import Published
    from quant_sdk.seamless import BackfillCoordinator, Shard
    from quant_stages.intake.gather import Gathered
    from quant_stages.intake.params import IntakeParams

SPEC: Final = "bars/1"
"""Says how fetched rows are read; it takes the place of a file's declaration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tables:
    publisher: Publisher
    holes: Holes
    pipeline: ConformancePipeline


def fetch_all(
    run: Run,
    shards: Sequence[Shard],
    coordinator: BackfillCoordinator,
    params: IntakeParams,
    now: datetime,
) -> Counts:
    """Fetch, check and publish shards; one that fails is recorded, and the others go on.

    Args:
        run: the run.
        shards: what is to be fetched.
        coordinator: says which of them are this worker's.
        params: how many requests at once, how large a commit.
        now: bars that close later are left out.
    """
    if not shards:
        return Counts()
    with sources_of(run) as sources:
        lakehouse = Lakehouse(run.workspace)
        gatherer = Gatherer(
            sources,
            lakehouse.calendars(),
            to_micros(now),
            refused=refused(lakehouse, shards, sources.bars_id),
            goes_on=lambda: run.rest(0),
        )
        return _take_in(run, shards, gatherer, coordinator, params)


def _take_in(
    run: Run,
    shards: Sequence[Shard],
    gatherer: Gatherer,
    coordinator: BackfillCoordinator,
    params: IntakeParams,
) -> Counts:
    tables = _open(run)
    counts = Counts()
    run.expect(len(shards))
    leased = (shard for shard in shards if _claimed(run, coordinator, shard))
    gathered = run.map(gatherer.gather, leased, workers=params.workers)
    for batch in batches(
        gathered,
        run.clock.monotonic,
        most_rows=params.batch_rows,
        most_seconds=params.batch_seconds,
    ):
        _publish(run, tables, batch, counts, coordinator)
        run.checkpoint({"step": "ingest", "shards_done": counts.shards})
    return counts


def _claimed(run: Run, coordinator: BackfillCoordinator, shard: Shard) -> bool:
    if coordinator.claim(shard):
        return True
    run.advance()  # another worker's
    return False


def _open(run: Run) -> _Tables:
    """Return what publishes, once ledger and tables agree."""
    workspace = run.workspace
    make_whole(run)
    pipeline = ConformancePipeline.partial_ok(True, calendar_of=Lakehouse(workspace).calendars())
    return _Tables(
        publisher=Publisher(workspace.lakehouse, workspace.locks, {}, admit=pipeline.admit),
        holes=Holes(workspace.lakehouse, workspace.locks),
        pipeline=pipeline,
    )


def _publish(
    run: Run,
    tables: _Tables,
    batch: list[Gathered],
    counts: Counts,
    coordinator: BackfillCoordinator,
) -> None:
    """Publish one batch, note its holes, then tell of each of its shards."""
    incoming = list(_incoming(batch, tables.pipeline))
    came = [*(hole for item in batch for hole in item.holes), *_refused(incoming)]
    missed: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for shard, hole in _within(came, batch):
        missed[shard.id].append(hole)
    holes = [hole for own in missed.values() for hole in own]

    def publish(commit: Commit) -> Published:
        now = run.clock.now()
        published = tables.publisher.publish(incoming, commit, now)
        jumps = [hole for _, hole in _within(_jumped(published.jumps), batch)]
        tables.holes.record(_asked(batch), intervals_of([*holes, *jumps]), commit, now)
        return published

    published = run.commit(publish, batch_id=_batch_id(incoming, batch), describe=_describe)
    counts.add_entries(published.entries)
    for item in batch:
        counts.add(item, missed.get(item.shard.id, ()))
        _tell(run, item, coordinator)


def _incoming(batch: Iterable[Gathered], pipeline: ConformancePipeline) -> Iterator[Incoming]:
    """Yield the checked rows of each source and timeframe."""
    groups: dict[tuple[str, str], list[Gathered]] = defaultdict(list)
    for item in batch:
        if item.bars.height:
            groups[item.source, item.shard.timeframe].append(item)
    for (source, timeframe), items in groups.items():
        raw = pl.concat(
            item.bars.select(pl.lit(item.shard.symbol).alias("symbol"), pl.all()) for item in items
        ).with_row_index("row")
        checked = pipeline.admit(raw, Timeframe.parse(timeframe))
        yield Incoming.of(
            checked,
            source=source,
            sha256=_digest(raw.with_columns(timeframe=pl.lit(timeframe))),
            spec_digest=SPEC,
            stamp=(),
            symbol=MANY,
            timeframe=timeframe,
        )


def _digest(raw: pl.DataFrame) -> str:
    """Name these rows: the SHA-256 of what they add up to."""
    sums = fingerprint(raw).select("symbol", "rows", "key_hash", "value_hash")
    return hashlib.sha256(repr(sums.rows()).encode()).hexdigest()


def _refused(incoming: Iterable[Incoming]) -> Iterator[dict[str, Any]]:
    """Yield a hole for each run of bars of which only refused rows came."""
    for item in incoming:
        step = Timeframe.parse(item.timeframe)
        rows = item.quarantined.filter(pl.col("ts").is_not_null())
        placed, filled = (
            each.with_columns(slot=slots_of(each["ts"].to_physical(), step))
            for each in (rows, item.bars)
        )
        lost = placed.join(filled, on=["symbol", "slot"], how="anti").sort("symbol", "row")
        slots = lost.unique(["symbol", "slot"], keep="first", maintain_order=True).sort(
            "symbol", "slot"
        )
        # A run goes on where symbol and rule are the same, and the slot is the next one.
        run = pl.struct("symbol", "rule", pl.col("slot") - pl.int_range(pl.len())).rle_id()
        runs = slots.group_by(run.alias("run"), maintain_order=True).agg(
            pl.col("symbol", "rule").first(), first=pl.col("slot").min(), last=pl.col("slot").max()
        )
        for _, symbol, rule, first, last in runs.iter_rows():
            yield {
                "symbol": symbol,
                "timeframe": item.timeframe,
                "start": step.open_of(first),
                "end": step.open_of(last + 1),
                "cause": "quarantined",
                "detail": rule,
                "source": item.source,
            }


def _jumped(jumps: pl.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield a hole for each bar that was refused for what it would have stood beside."""
    for symbol, timeframe, ts, source in jumps.iter_rows():
        yield {
            "symbol": symbol,
            "timeframe": timeframe,
            "start": to_micros(ts),
            "end": to_micros(Timeframe.parse(timeframe).end_of(ts)),
            "cause": "quarantined",
            "detail": JUMP,
            "source": source,
        }


def _asked(batch: Iterable[Gathered]) -> pl.DataFrame:
    """Return the intervals that sources were really asked for."""
    rows = [
        (item.shard.symbol, item.shard.timeframe, start, end)
        for item in batch
        if item.error is None
        for start, end in item.shard.wanted
    ]
    return pl.DataFrame(rows, schema=ASKED, orient="row")


def _within(
    holes: Iterable[dict[str, Any]], batch: Iterable[Gathered]
) -> Iterator[tuple[Shard, dict[str, Any]]]:
    """Yield the parts of the holes that a shard wanted, each with it.

    Bars that were fetched for context are no business of theirs.
    """
    shards: dict[tuple[str, str], list[Shard]] = defaultdict(list)
    for item in batch:
        shards[item.shard.symbol, item.shard.timeframe].append(item.shard)
    for hole in holes:
        for shard in shards[hole["symbol"], hole["timeframe"]]:
            for start, end in shard.wanted:
                first, last = max(start, hole["start"]), min(end, hole["end"])
                if first < last:
                    yield shard, {**hole, "start": first, "end": last}


def _tell(run: Run, item: Gathered, coordinator: BackfillCoordinator) -> None:
    run.advance()
    fields = {"symbol": item.shard.symbol, "timeframe": item.shard.timeframe}
    if failed_entirely(item):
        error = item.error
        detail = error.message if error is not None else item.holes[0]["detail"]
        coordinator.fail(item.shard, detail)
        run.emit(
            "ingest_progress",
            rows=0,
            status="failed",
            error=error.to_dict() if error is not None else {"message": detail},
            **fields,
        )
        return
    coordinator.complete(item.shard)
    run.emit("ingest_progress", rows=item.bars.height, status="success", **fields)


def _batch_id(incoming: Iterable[Incoming], batch: Iterable[Gathered]) -> str:
    digest = hashlib.sha256()
    for item in incoming:
        digest.update(f"{item.source}\0{item.timeframe}\0{item.sha256}\0".encode())
    for shard in (item.shard for item in batch):
        digest.update(f"{shard.id}\0{shard.start}\0{shard.end}\0".encode())
    return digest.hexdigest()[:32]


def _describe(published: Published) -> dict[str, Any]:
    entries = published.entries
    return {
        "status": "success",
        "sources": len(entries),
        "rows": sum(entry.bars for entry in entries),
        "corrected": sum(entry.corrected for entry in entries),
        "quarantined": sum(entry.quarantined for entry in entries),
        "bars_version": published.version,
    }
