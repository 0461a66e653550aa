"""The tables with a universe of 10,000 daily series: the first load, the next days, reads."""

from __future__ import annotations

import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from _measure import Row, alternate, milliseconds
from deltalake import DeltaTable, WriterProperties, write_deltalake

from quant_registry.run import Commit
from quant_registry.workspace import Workspace
from quant_sdk.conformance import ConformancePipeline
from quant_sdk.lakehouse.batch import Incoming
from quant_sdk.lakehouse.lakehouse import Lakehouse
from quant_sdk.lakehouse.ledger import MANY
from quant_sdk.lakehouse.optimize import crowds, exchange, rewritten
from quant_sdk.lakehouse.publish import Publisher
from quant_sdk.lakehouse.timeframe import Timeframe

if TYPE_CHECKING:
    from collections.abc import Callable

SERIES = 10_000
BARS = 500
DAYS = 30
LOOKBACK = 2
FIRST = datetime(2024, 9, 1, tzinfo=UTC)
DAY = timedelta(days=1)
PIPELINE = ConformancePipeline.partial_ok(True)
CODEC = WriterProperties(compression="ZSTD", compression_level=1, max_row_group_size=32 * 1024)


def rows() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        prices = _walk(BARS + DAYS)
        loaded = _load(home, prices)
        daily, files = _days(home, prices)
        return [loaded, daily, *files, *_reads(home)]


def _load(home: Path, prices: np.ndarray) -> Row:
    """Check and publish everything in one batch, beside one plain Parquet file."""
    frame = bars(prices, 0, BARS)
    table = frame.drop("row").to_arrow()
    fresh = iter(range(100))
    subject, floor = alternate(
        lambda: publish(home / f"load-{next(fresh)}", frame),
        lambda: pq.write_table(table, home / "floor.parquet"),
        3,
    )
    return Row(
        name=f"{frame.height / 1e6:.0f}M daily bars of {SERIES:,} symbols, checked, one batch",
        measured=f"{subject:.2f} s",
        floor=f"{floor:.2f} s: pyarrow.parquet.write_table",
        value=subject / floor,
        target=3.0,
    )


def _days(home: Path, prices: np.ndarray) -> tuple[Row, list[Row]]:
    """Publish day after day, optimizing as the cycle does, beside a bare append with a lookup."""
    publish(home, bars(prices, 0, BARS))
    bare = home / "bare"
    _append(bare, bars(prices, 0, BARS))
    workspace = Workspace(home)
    table = Lakehouse(workspace).table("bars")
    times: tuple[list[float], list[float]] = ([], [])
    most = 0
    for day in range(BARS, BARS + DAYS):
        fresh, again = bars(prices, day, day + 1), bars(prices, day - LOOKBACK, day + 1)
        times[0].append(_seconds(lambda again=again: publish(home, again)))
        times[1].append(_seconds(lambda fresh=fresh: _lookup_and_append(bare, fresh)))
        for crowd in crowds(table):
            exchange(table, rewritten(table, crowd), _commit(f"optimize-{day}"))
        most = max(most, table.facts()["files"])
    subject, floor = statistics.median(times[0]), statistics.median(times[1])
    held = table.facts()
    assert held["rows"] == SERIES * (BARS + DAYS), held
    row = Row(
        name=f"the next day for all {SERIES:,}",
        measured=milliseconds(subject),
        floor=f"{milliseconds(floor)}: a bare Delta append and a lookup of its keys",
        value=subject / floor,
        target=5.0,
    )
    count = Row(
        name=f"files at most, over {DAYS} days",
        measured=f"{most} files",
        floor=f"{DAYS} appends",
        value=most,
        target=20.0,
        unit="",
    )
    return row, [count]


def _reads(home: Path) -> list[Row]:
    """Read one series, and one day of all."""
    lakehouse = Lakehouse(Workspace(home))
    at = FIRST + (BARS - 50) * DAY
    files = DeltaTable(str(home / "data/lakehouse/bars")).file_uris()
    live = [path for path in files if f"bucket={at:%Y}" in path]
    symbol = "BINANCE:S05000USDT"
    one, _ = alternate(lambda: lakehouse.bars(symbol, "1d"), lambda: None, 15)
    assert lakehouse.bars(symbol, "1d").height == BARS + DAYS
    section, scan = alternate(
        lambda: lakehouse.cross_section("1d", at),
        lambda: pl.scan_parquet(live).filter(pl.col("ts") == at).collect(),
        9,
    )
    assert lakehouse.cross_section("1d", at).height == SERIES
    return [
        Row(
            name=f"one series of {SERIES:,}, warm",
            measured=milliseconds(one),
            floor="10 ms",
            value=one * 1e3,
            target=10.0,
            unit=" ms",
        ),
        Row(
            name="one day of all series",
            measured=milliseconds(section),
            floor=f"{milliseconds(scan)}: a bare Polars scan of the same files",
            value=section / scan,
            target=2.0,
        ),
    ]


def _walk(days: int) -> np.ndarray:
    source = np.random.default_rng(1)
    return np.round(100 * np.exp(np.cumsum(source.normal(0, 0.02, (SERIES, days + 1)), axis=1)), 4)


def bars(prices: np.ndarray, start: int, end: int) -> pl.DataFrame:
    """Return the bars of all series, of the days ``[start, end)``, sorted by symbol and time."""
    opening, close = prices[:, start:end].ravel(), prices[:, start + 1 : end + 1].ravel()
    first = int(FIRST.timestamp()) * 1_000_000
    instants = first + np.arange(start, end) * 86_400_000_000
    names = np.repeat([f"BINANCE:S{index:05d}USDT" for index in range(SERIES)], end - start)
    columns = {
        "symbol": names,
        "ts": np.tile(instants, SERIES),
        "open": opening,
        "high": np.maximum(opening, close) + 0.5,
        "low": np.maximum(np.minimum(opening, close) - 0.5, 0.0001),
        "close": close,
        "volume": np.round(close * 7, 3),
    }
    stamp = pl.col("ts").cast(pl.Datetime("us", "UTC"))
    return pl.DataFrame(columns).with_columns(stamp).with_row_index("row")


def publish(root: Path, frame: pl.DataFrame) -> None:
    """Check rows and publish them, as the intake does."""
    workspace = Workspace(root)
    checked = PIPELINE.admit(frame, Timeframe.parse("1d"))
    incoming = Incoming.of(
        checked,
        source="ccxt:binance",
        sha256=str(frame["ts"].max()),
        spec_digest="bars/1",
        stamp=(),
        symbol=MANY,
        timeframe="1d",
    )
    publisher = Publisher(workspace.lakehouse, workspace.locks, {}, admit=PIPELINE.admit)
    publisher.publish([incoming], _commit(str(frame["ts"].max())), datetime.now(UTC))


def _commit(batch: str) -> Commit:
    return Commit(batch_id=batch, run_id="bench", stage_id="data.ingest", epoch=0, lock_id=None)


def _append(path: Path, frame: pl.DataFrame) -> None:
    year = pl.col("ts").dt.year().cast(pl.String)
    laid = frame.drop("row").with_columns(timeframe=pl.lit("1d"), bucket=year)
    write_deltalake(
        str(path),
        laid,
        mode="append",
        partition_by=["timeframe", "bucket"],
        writer_properties=CODEC,
    )


def _lookup_and_append(path: Path, frame: pl.DataFrame) -> None:
    at = frame["ts"][0]
    held = (
        pl.scan_delta(str(path))
        .filter(pl.col("timeframe") == "1d", pl.col("bucket") == f"{at:%Y}", pl.col("ts") == at)
        .select("symbol", "ts")
        .collect()
    )
    _append(path, frame.join(held, on=["symbol", "ts"], how="anti"))


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
