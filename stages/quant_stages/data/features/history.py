"""Step 2: the history of features, computed from bars."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl

from quant_sdk.features import BATCH_ROWS, History
from quant_sdk.lakehouse.lakehouse import Lakehouse
from quant_stages.data.features.put import put

if TYPE_CHECKING:
    from quant_sdk import Run
    from quant_sdk.features import FeatureStore, Pending, Stored
    from quant_stages.data.features.params import FeaturesParams
    from quant_stages.data.features.scope import Scope


@dataclass(slots=True)
class Computed:
    """What the history came to: series and bars looked at, what became of the rows."""

    series: int = 0
    bars: int = 0
    pending: int = 0
    stored: list[Stored] = field(default_factory=list)


def compute_history(
    run: Run, store: FeatureStore, scope: Scope, params: FeaturesParams
) -> Computed:
    """Compute what is new, or rests on other bars than before, and write it in batches.

    Raises:
        MissingExtra: TA-Lib is not installed.
    """
    calendar_of = Lakehouse(run.workspace).calendars()
    history = History(run.workspace.lakehouse, calendar_of, run.clock.now())
    groups = history.series(
        scope.symbols, scope.timeframes, most_rows=min(params.batch_rows, BATCH_ROWS)
    )
    run.expect(sum(len(group.symbols) for group in groups))
    done = Computed()
    batch: list[Pending] = []
    found = run.map(history.pending, groups, workers=params.workers, ahead=params.workers)
    for item in found:
        batch.append(item)
        done.series += item.series
        done.bars += item.bars
        if sum(each.rows.height + each.gone.height for each in batch) >= params.batch_rows:
            _write(run, store, batch, done)
            batch = []
        run.advance(item.series)
    _write(run, store, batch, done)
    return done


def _write(run: Run, store: FeatureStore, batch: list[Pending], done: Computed) -> None:
    if not batch:
        return
    rows = pl.concat([each.rows for each in batch])
    gone = pl.concat([each.gone for each in batch])
    done.pending += rows.height
    done.stored.append(put(run, store, rows, gone))
