"""Legacy inputs for tests: small flat v1 files, a manifest, a workspace."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from pathlib import Path

STAGE = "ops.migration.dataops_v2"
START = int(datetime(2024, 1, 30, tzinfo=UTC).timestamp())


def bars(rows: int, *, seed: int = 0, start: int = START, step: int = 3600) -> pl.DataFrame:
    """Return a clean random walk: timestamp (int64 seconds), open, high, low, close, volume."""
    source = np.random.default_rng(seed)
    volume = np.round(np.random.default_rng(seed + 1000).gamma(2, 50, rows), 3)
    close = np.round(100 * np.exp(np.cumsum(source.normal(0, 0.002, rows))), 4)
    opening = np.concatenate([close[:1], close[:-1]])
    return pl.DataFrame(
        {
            "timestamp": start + np.arange(rows, dtype=np.int64) * step,
            "open": opening,
            "high": np.maximum(opening, close) + 0.5,
            "low": np.minimum(opening, close) - 0.5,
            "close": close,
            "volume": volume,
        }
    )


def write_flat(folder: Path, symbol: str, frame: pl.DataFrame, timeframe: str = "1h") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"BINANCE_{symbol}_{timeframe}.parquet"
    frame.write_parquet(path)
    return path


def write_manifest(workspace: Path, legacy: list[dict[str, Any]], **extra: Any) -> Path:
    path = workspace / "data" / "manifest.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"discovery": {"legacy": legacy}}
    path.write_text(json.dumps({"profiles": {"legacy": profile}, **extra}))
    return path


def make_workspace(root: Path, symbols: int, rows: int = 400) -> Path:
    """Make a workspace of `symbols` flat files; every third has a bad row, a duplicate, a gap."""
    for index in range(symbols):
        frame = bars(rows, seed=index)
        if index % 3 == 0:
            bad = frame[5:6].with_columns(close=pl.lit(-1.0))
            frame = pl.concat([frame[:20], frame[25:], frame[:1], bad])
        write_flat(root / "data" / "old", f"S{index:02d}USDT", frame)
    write_manifest(root, [{"path": "old", "layout": "flat_v1"}])
    return root
