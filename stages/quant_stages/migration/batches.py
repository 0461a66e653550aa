"""Cutting the stream of loaded sources into batches for one commit each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from quant_stages.migration.load import Loaded

# Bounds what a batch holds in memory: some 60 bytes a row, a few copies of it.
MAX_BATCH_ROWS: Final = 1_000_000


def batches(loaded: Iterable[Loaded], most: int) -> Iterator[list[Loaded]]:
    """Cut the stream into batches, bounded in sources and rows; none holds a bar's time twice."""
    batch: list[Loaded] = []
    spans: dict[tuple[str, str], list[tuple[datetime, datetime]]] = {}
    rows = 0
    for item in loaded:
        series = (item.file.symbol, item.file.timeframe)
        count = item.incoming.rows if item.incoming else 0
        span = _span(item)
        overlaps = span is not None and any(
            span[0] <= last and first <= span[1] for first, last in spans.get(series, ())
        )
        if batch and (len(batch) >= most or overlaps or rows + count > MAX_BATCH_ROWS):
            yield batch
            batch, spans, rows = [], {}, 0
        batch.append(item)
        rows += count
        if span is not None:
            spans.setdefault(series, []).append(span)
    if batch:
        yield batch


def _span(item: Loaded) -> tuple[datetime, datetime] | None:
    """Return the first and the last opening time of a source's good bars."""
    bars = item.incoming.bars if item.incoming else None
    return None if bars is None or not bars.height else (bars["ts"][0], bars["ts"][-1])
