"""Corrections: a day of one series, among 200 series of a million one-minute bars each."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from _measure import Row, alternate, milliseconds
from deltalake import DeltaTable, WriterProperties, write_deltalake

from quant_registry.run import Commit
from quant_registry.workspace import Workspace
from quant_sdk.conformance import ConformancePipeline
from quant_sdk.lakehouse.batch import Incoming
from quant_sdk.lakehouse.lakehouse import Lakehouse
from quant_sdk.lakehouse.ledger import MANY
from quant_sdk.lakehouse.publish import Publisher
from quant_sdk.lakehouse.timeframe import Timeframe

SERIES = 200
BARS = 1_000_000
DAY = 1_440
ROUNDS = 5
FIRST = datetime(2024, 1, 1, tzinfo=UTC)
SYMBOL = "BINANCE:S100USDT"
SOURCE = "ccxt:binance"
PIPELINE = ConformancePipeline.partial_ok(True)
CODEC = WriterProperties(compression="ZSTD", compression_level=1, max_row_group_size=32 * 1024)
FILE_BYTES = 64 * 2**20


def rows() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        table = Lakehouse(workspace).table("bars")
        fill(table.path)
        day = FIRST + timedelta(days=500)
        end = day + timedelta(minutes=DAY)
        standing = Lakehouse(workspace).bars(SYMBOL, "1m", day, end)
        factors = iter(np.linspace(1.0001, 1.01, 100))
        subject, floor = alternate(
            lambda: correct(workspace, standing, next(factors)),
            lambda: replace(table.path, standing, next(factors), (day, end)),
            ROUNDS,
        )
        kept = table.facts()["rows"]
        changed = Lakehouse(workspace).table("corrections").facts()["rows"]
    assert kept == SERIES * BARS, kept
    assert changed == ROUNDS * DAY, changed
    return [
        Row(
            name=f"{DAY:,} corrected rows of one series of {SERIES} x {BARS // 10**6}M, checked",
            measured=milliseconds(subject),
            floor=f"{milliseconds(floor)}: a bare replaceWhere",
            value=subject / floor,
            target=2.0,
        )
    ]


def fill(path: Path) -> None:
    """Write the series month by month, in files of bounded size, sorted by symbol and time."""
    source = np.random.default_rng(1)
    names = [f"BINANCE:S{index:03d}USDT" for index in range(SERIES)]
    first = int(FIRST.timestamp()) * 1_000_000
    instants = pl.Series(first + np.arange(BARS) * 60_000_000).cast(pl.Datetime("us", "UTC"))
    months = pl.DataFrame({"ts": instants}).with_columns(bucket=pl.col("ts").dt.strftime("%Y-%m"))
    for part in months.partition_by("bucket", maintain_order=True):
        height = part.height
        walk = np.cumsum(source.integers(-2, 3, (SERIES, height), dtype=np.int32), axis=1)
        close = (10_000 + walk % 5_000).ravel() / 100
        frame = pl.DataFrame(
            {"symbol": pl.Series(names).gather(np.repeat(np.arange(SERIES), height))}
        ).with_columns(
            pl.lit("1m").alias("timeframe"),
            pl.lit(part["bucket"][0]).alias("bucket"),
            pl.concat([part["ts"]] * SERIES).alias("ts"),
            *(pl.Series(name, close) for name in ("open", "high", "low", "close")),
            pl.lit(1.0).alias("volume"),
            pl.lit(SOURCE).alias("source"),
        )
        write_deltalake(
            str(path),
            frame,
            mode="append",
            partition_by=["timeframe", "bucket"],
            target_file_size=FILE_BYTES,
            writer_properties=CODEC,
        )


def correct(workspace: Workspace, standing: pl.DataFrame, factor: float) -> None:
    """Check and publish other values for bars that stand."""
    raw = _changed(standing, factor).with_columns(symbol=pl.lit(SYMBOL)).with_row_index("row")
    checked = PIPELINE.admit(raw, Timeframe.parse("1m"))
    incoming = Incoming.of(
        checked,
        source=SOURCE,
        sha256=str(factor),
        spec_digest="bars/1",
        stamp=(),
        symbol=MANY,
        timeframe="1m",
    )
    commit = Commit(
        batch_id=str(factor), run_id="bench", stage_id="data.ingest", epoch=0, lock_id=None
    )
    publisher = Publisher(workspace.lakehouse, workspace.locks, {}, admit=PIPELINE.admit)
    publisher.publish([incoming], commit, datetime.now(UTC))


def replace(
    path: Path, standing: pl.DataFrame, factor: float, window: tuple[datetime, datetime]
) -> None:
    """Put other values in the place of the same bars, and nothing else."""
    first, last = (f"{at:%Y-%m-%d %H:%M:%S}" for at in window)
    bucket = f"{window[0]:%Y-%m}"
    keys = {"symbol": SYMBOL, "timeframe": "1m", "bucket": bucket}
    frame = _changed(standing, factor).with_columns(
        source=pl.lit(SOURCE), **{name: pl.lit(value) for name, value in keys.items()}
    )
    where = " AND ".join(f"{name} = '{value}'" for name, value in keys.items())
    write_deltalake(
        DeltaTable(str(path)),
        frame,
        mode="overwrite",
        predicate=f"{where} AND ts >= '{first}' AND ts < '{last}'",
        writer_properties=CODEC,
        target_file_size=FILE_BYTES,
    )


def _changed(standing: pl.DataFrame, factor: float) -> pl.DataFrame:
    prices = pl.col("open", "high", "low", "close") * factor
    return standing.select("ts", prices, "volume").select(
        "ts", "open", "high", "low", "close", "volume"
    )
