"""A lakehouse for tests of its upkeep: bars at hours, published by runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import polars as pl

from quant_registry.run import Commit
from quant_sdk.conformance import ConformancePipeline
from quant_sdk.lakehouse.batch import Incoming
from quant_sdk.lakehouse.ledger import MANY, Ledger
from quant_sdk.lakehouse.locks import writing
from quant_sdk.lakehouse.parity import parity
from quant_sdk.lakehouse.publish import Publisher
from quant_sdk.lakehouse.specs import BARS, CORRECTIONS, QUARANTINE, TABLES
from quant_sdk.lakehouse.table import Table
from quant_sdk.lakehouse.timeframe import Timeframe
from quant_sdk.testing import FakeClock

if TYPE_CHECKING:
    from pathlib import Path

    from quant_sdk.lakehouse.publish import Published

FIRST = datetime(2024, 1, 31, tzinfo=UTC)
HOUR = timedelta(hours=1)
SYMBOL = "X:ADABTC"
RANK = {"first": 0, "second": 1}
PIPELINE = ConformancePipeline.partial_ok(True)


class Lake:
    """Tables in a folder of their own; hours count from 2024-01-31, so that 24 is in February."""

    def __init__(self, root: Path) -> None:
        self.path = root / "data" / "lakehouse"
        self.locks = root / "data" / "artifacts" / "locks"
        self.publisher = Publisher(self.path, self.locks, RANK)
        self.clock = FakeClock()

    @property
    def bars(self) -> Table:
        return Table(self.path, BARS)

    @property
    def quarantine(self) -> Table:
        return Table(self.path, QUARANTINE)

    @property
    def corrections(self) -> Table:
        return Table(self.path, CORRECTIONS)

    def commit(self, run: str = "up", *, stage: str = "t.upkeep", epoch: int = 1) -> Commit:
        return Commit(batch_id=f"b-{run}", run_id=run, stage_id=stage, epoch=epoch, lock_id="l")

    def writing(self):
        return writing(self.locks, "bars")

    def publish(self, run: str, *sources: Incoming) -> Published:
        """Publish in the name of a run of another stage."""
        return self.publisher.publish(sources, self.commit(run, stage="t.ingest"), self.clock.now())

    def bring(self, run: str, source: str, closes: dict[int, float], **rest) -> Published:
        """Publish the bars of one source."""
        return self.publish(run, file(source, closes, **rest))

    def held(self, symbol: str = SYMBOL) -> dict[int, float]:
        """Return hour and close of the bars that stand."""
        rows = self.bars.scan().filter(pl.col("symbol") == symbol).sort("ts").collect()
        return {(ts - FIRST) // HOUR: close for ts, close in rows["ts", "close"].rows()}

    def withdrawn(self) -> dict[int, float]:
        """Return hour and close of the rows that were withdrawn and not replayed."""
        rows = self.quarantine.scan().filter(
            pl.col("rule") == "withdrawn", pl.col("replayed_by").is_null()
        )
        found = rows.sort("ts").collect()
        return {(ts - FIRST) // HOUR: close for ts, close in found["ts", "close"].rows()}

    def versions(self) -> dict[str, int]:
        return {name: Table(self.path, spec).version() for name, spec in TABLES.items()}

    def report(self) -> dict:
        return parity(Ledger(self.path).entries(), self.bars, self.quarantine)

    @property
    def is_proven(self) -> bool:
        return self.report()["ok"]


def raw(closes: dict[int, float]) -> pl.DataFrame:
    """Return a bar at each hour given, with its close."""
    return pl.DataFrame(
        {
            "row": list(range(len(closes))),
            "ts": [FIRST + hour * HOUR for hour in closes],
            **{name: list(closes.values()) for name in ("open", "high", "low", "close")},
            "volume": [1.0] * len(closes),
        },
        schema_overrides={"row": pl.UInt32, "ts": pl.Datetime("us", "UTC")},
    )


def file(
    source: str,
    closes: dict[int, float],
    *,
    symbol: str = SYMBOL,
    sha: str = "",
    spec: str = "0",
) -> Incoming:
    """Return a checked file of one series."""
    checked = PIPELINE.admit(raw(closes), Timeframe.parse("1h"), across_gaps=True)
    return Incoming.of(
        checked,
        source=source,
        sha256=(sha or source).ljust(64, "0"),
        spec_digest=spec * 64,
        stamp=(1, 2, 3, 4),
        symbol=symbol,
        timeframe="1h",
    )


def answer(source: str, series: dict[str, dict[int, float]], sha: str = "") -> Incoming:
    """Return a checked answer of a venue, with many series."""
    frames = [
        raw(closes).select(pl.lit(symbol).alias("symbol"), pl.all())
        for symbol, closes in series.items()
    ]
    frame = pl.concat(frames).with_row_index("row_").drop("row").rename({"row_": "row"})
    checked = PIPELINE.admit(frame, Timeframe.parse("1h"), across_gaps=True)
    return Incoming.of(
        checked,
        source=source,
        sha256=(sha or source).ljust(64, "0"),
        spec_digest="0" * 64,
        stamp=(),
        symbol=MANY,
        timeframe="1h",
    )
