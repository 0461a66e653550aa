"""Recording what the venues told: symbols first, for `execution` holds known symbols only."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from quant_sdk.lakehouse.catalog import (
    EXCHANGE_VERSIONS,
    EXECUTION_VERSIONS,
    SYMBOL_VERSIONS,
    Recorded,
    vanished,
)
from quant_stages.data.metadata.facts import of_candidates

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from quant_sdk import Run
    from quant_sdk.lakehouse.catalog import Catalog, Versioned
    from quant_sdk.sources.candidates import Candidate
    from quant_stages.data.metadata.facts import Facts

MOST_REFUSED = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What was recorded of each table, and how many symbols their venue no longer lists."""

    symbols: Recorded
    execution: Recorded
    exchanges: Recorded
    vanished: int

    @property
    def committed(self) -> bool:
        """Whether any table has a new version."""
        return any(each.version >= 0 for each in (self.symbols, self.execution, self.exchanges))


def record_all(
    run: Run, catalog: Catalog, candidates: Sequence[Candidate], facts: Sequence[Facts]
) -> Done:
    """Record what the venues told, what they no longer list, and candidates nobody told of."""
    now = run.clock.now()
    current = catalog.current(SYMBOL_VERSIONS)
    venues = [each.venue for each in facts]
    listed = {symbol for each in facts for symbol in each.listed}
    gone = vanished(current, listed, venues)
    rest = of_candidates(candidates, listed | set(current["symbol"].to_list()), venues)
    symbols = pl.concat([*(each.symbols for each in facts), rest, gone], how="diagonal")
    return Done(
        symbols=_record(run, catalog, SYMBOL_VERSIONS, symbols, now),
        execution=_record(
            run, catalog, EXECUTION_VERSIONS, _joined([each.execution for each in facts]), now
        ),
        exchanges=_record(
            run, catalog, EXCHANGE_VERSIONS, _joined([each.exchanges for each in facts]), now
        ),
        vanished=gone.height,
    )


def _joined(parts: list[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(parts) if parts else pl.DataFrame()


def _record(
    run: Run, catalog: Catalog, of: Versioned, facts: pl.DataFrame, now: datetime
) -> Recorded:
    if not facts.height:
        return Recorded()
    digest = hashlib.sha256(facts.sort(of.key).write_csv().encode()).hexdigest()
    return run.commit(
        lambda commit: catalog.record(of, facts, commit, now),
        batch_id=f"{of.spec.name}-{digest[:32]}",
        event="catalog_recorded",
        describe=lambda done: _describe(of, done),
    )


def _describe(of: Versioned, done: Recorded) -> dict[str, Any]:
    return {
        "status": "success",
        "table": of.spec.name,
        "opened": done.opened,
        "closed": done.closed,
        "refused": list(done.refused[:MOST_REFUSED]),
        "table_version": done.version,
    }
