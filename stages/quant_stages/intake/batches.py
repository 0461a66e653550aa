"""What one commit holds: bounded in rows, and in the time that its oldest rows have waited."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from quant_stages.intake.gather import Gathered


def batches(
    gathered: Iterable[Gathered],
    monotonic: Callable[[], float],
    *,
    most_rows: int,
    most_seconds: float,
) -> Iterator[list[Gathered]]:
    """Cut the stream into batches.

    Args:
        gathered: the shards, as they come.
        monotonic: seconds that never go back; tells how long a batch has waited.
        most_rows: a batch that holds as many is full.
        most_seconds: one that was begun so long ago is full too; a slow venue's rows are not lost
            with the run then.
    """
    batch: list[Gathered] = []
    rows, began = 0, monotonic()
    for item in gathered:
        batch.append(item)
        rows += item.bars.height
        if rows >= most_rows or monotonic() - began >= most_seconds:
            yield batch
            batch, rows, began = [], 0, monotonic()
    if batch:
        yield batch
