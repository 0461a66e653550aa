"""What an intake came to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel

from quant_sdk.errors import SourceError
from quant_sdk.lakehouse.timeframe import Timeframe
from quant_sdk.seamless.holes import FAILING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from quant_sdk.errors import QuantError
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
    retryable: bool = False


class IntakeResult(BaseModel):
    """What an intake did; `failures` are the first 50, `warnings` what else is to be looked at."""

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
    warnings: list[str]
    reports: dict[str, str]


@dataclass(slots=True)
class Counts:
    """Counts of one intake, added up batch by batch.

    Attributes:
        rows: what became of the rows.
        shards: asked for.
        answered: series of which some shard did not fail entirely.
        came: series of which some row came.
        requests: pages asked for.
        holes: expected bars that did not come, by cause.
        notes: things worth a look, by name.
        failures: by series.
        committed: whether a table has changed.
    """

    rows: RowCounts = field(default_factory=RowCounts)
    shards: int = 0
    answered: set[tuple[str, str]] = field(default_factory=set)
    came: set[tuple[str, str]] = field(default_factory=set)
    requests: int = 0
    holes: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    failures: dict[tuple[str, str], FailedSeries] = field(default_factory=dict)
    committed: bool = False

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
        series = (item.shard.symbol, item.shard.timeframe)
        self.shards += 1
        self.requests += item.requests
        for hole in holes:
            bars = step.slot_of(hole["end"]) - step.slot_of(hole["start"])
            self.holes[hole["cause"]] += bars
            if hole["cause"] in FAILING:
                self._fail(series, _error_of(item, hole))
        if item.error is not None:
            self._fail(series, item.error)
        if item.bars.height:
            self.came.add(series)
        if not failed_entirely(item):
            self.answered.add(series)

    def _fail(self, series: tuple[str, str], error: QuantError) -> None:
        """Note the first failure of a series."""
        failure = FailedSeries(
            symbol=series[0],
            timeframe=series[1],
            code=error.code,
            message=error.message,
            fix=error.fix or AGAIN,
            retryable=error.retryable,
        )
        self.failures.setdefault(series, failure)


def failed_entirely(item: Gathered) -> bool:
    """Tell whether a shard brought nothing because its venue failed."""
    failing = any(hole["cause"] in FAILING for hole in item.holes)
    return item.error is not None or (failing and not item.bars.height)


def _error_of(item: Gathered, hole: dict[str, Any]) -> QuantError:
    """Return what left a hole; where nothing was raised, another run asks again."""
    detail = hole["detail"]
    for error in item.failures:
        if detail.startswith(f"{error.code}:"):
            return error
    return SourceError(f"{hole['cause']}: {detail}", fix=AGAIN)
