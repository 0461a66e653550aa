"""What an intake came to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel

from quant_sdk.lakehouse.timeframe import Timeframe

if TYPE_CHECKING:
    from collections.abc import Iterable

    from quant_sdk.lakehouse.ledger import Entry
    from quant_stages.intake.gather import Gathered

MOST_FAILURES = 50
AGAIN = "run the stage again; what is there is not fetched twice"


class RowCounts(BaseModel):
    """What became of the rows that came; all but `received` add up to it."""

    received: int = 0
    bars: int = 0
    corrected: int = 0
    unchanged: int = 0
    identical_duplicates: int = 0
    quarantined: int = 0


class FailedSeries(BaseModel):
    """A series of which some bars could not be asked for, or did not come."""

    symbol: str
    timeframe: str
    code: str
    message: str
    fix: str = ""


class IntakeResult(BaseModel):
    """What an intake did; `failures` are the first 50."""

    message: str
    committed: bool
    health_check: Literal["passed", "degraded"]
    series: int
    shards: int
    requests: int
    rows: RowCounts
    holes: dict[str, int]
    notes: dict[str, int]
    failed: int
    failures: list[FailedSeries]
    skipped_venues: list[str]
    reports: dict[str, str]


@dataclass(slots=True)
class Counts:
    """Counts of one intake, added up batch by batch.

    Attributes:
        rows: what became of the rows.
        shards: asked for, and of them those that failed entirely.
        requests: pages asked for.
        holes: expected bars that did not come, by cause.
        notes: things worth a look, by name.
        failures: by series.
        committed: whether a table has changed.
        skipped: venues of which no source gives bars.
    """

    rows: RowCounts = field(default_factory=RowCounts)
    shards: int = 0
    failed_shards: int = 0
    requests: int = 0
    holes: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    failures: dict[tuple[str, str], FailedSeries] = field(default_factory=dict)
    committed: bool = False
    skipped: list[str] = field(default_factory=list)

    def add_entries(self, entries: Iterable[Entry]) -> None:
        """Count what the ledger says of a batch."""
        for entry in entries:
            rows = self.rows
            rows.received += entry.rows
            rows.bars += entry.bars
            rows.corrected += entry.corrected
            rows.unchanged += entry.unchanged
            rows.identical_duplicates += entry.identical_duplicates
            rows.quarantined += entry.quarantined
            self.notes.update(entry.notes)
            self.committed |= entry.version >= 0

    def add(self, item: Gathered, holes: Iterable[dict[str, Any]]) -> None:
        """Count what came of a shard.

        Args:
            item: the shard.
            holes: its expected bars that did not come, those that were refused included.
        """
        step = Timeframe.parse(item.shard.timeframe)
        self.shards += 1
        self.requests += item.requests
        for hole in holes:
            bars = step.slot_of(hole["end"]) - step.slot_of(hole["start"])
            self.holes[hole["cause"]] += bars
            if hole["cause"] in FAILING:
                self._fail(item, hole["cause"], hole["detail"])
        if item.error is not None:
            self._fail(item, item.error.code, item.error.message, item.error.fix)
        self.failed_shards += failed_entirely(item)

    def _fail(self, item: Gathered, code: str, message: str, fix: str = AGAIN) -> None:
        key = (item.shard.symbol, item.shard.timeframe)
        failure = FailedSeries(symbol=key[0], timeframe=key[1], code=code, message=message, fix=fix)
        self.failures.setdefault(key, failure)


FAILING = frozenset({"fetch_failed", "no_progress"})
"""Causes that may pass: another run asks again at once."""


def failed_entirely(item: Gathered) -> bool:
    """Tell whether a shard brought nothing because its venue failed."""
    failing = any(hole["cause"] in FAILING for hole in item.holes)
    return item.error is not None or (failing and not item.bars.height)
