"""Fetching: 2,000 symbols of 500 daily bars from the loopback market, through ccxt."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import ccxt
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from _measure import Row, alternate

from quant_sdk import QuantSDK
from quant_sdk.testing import FakeClock

SYMBOLS = 2_000
BARS = 500
WORKERS = 8
ROUNDS = 3
NOW = datetime(2026, 2, 3, 10, 30, tzinfo=UTC)
SINCE = int((NOW - timedelta(days=BARS)).replace(hour=0, minute=0).timestamp() * 1000)


def rows() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder, _Market() as url:
        home = Path(folder)
        fetched = iter(range(ROUNDS + 1))
        bare(url, home)  # the market renders each answer once
        subject, floor = alternate(
            lambda: ingest(url, home / f"workspace-{next(fetched)}"),
            lambda: bare(url, home),
            ROUNDS,
        )
    return [
        Row(
            name=f"ingest {SYMBOLS:,} symbols x {BARS} daily bars",
            measured=f"{subject:.1f} s",
            floor=f"{floor:.1f} s: ccxt alone in {WORKERS} threads, and one Parquet file",
            value=subject / floor,
            target=1.25,
        )
    ]


def ingest(url: str, root: Path) -> None:
    """Run ``data.ingest`` in a fresh workspace: everything on."""
    (root / "data").mkdir(parents=True)
    venue = {"exchange": "binance", "base_url": url, "max_requests_per_second": 1e6}
    settings = {"sources": {"market": "live", "venues": {"BINANCE": venue}}}
    (root / "quant.yml").write_text(json.dumps(settings))
    wanted = [{"timeframe": "1d", "depth_days": BARS}]
    data = [{"symbol": f"BINANCE:{name}", "ingest": wanted} for name in names()]
    (root / "data" / "candidates.json").write_text(json.dumps({"data": data}))
    sdk = QuantSDK(root, clock=FakeClock(NOW))
    params = {"candidates": "data/candidates.json", "workers": WORKERS}
    record = sdk.run_stage("data.ingest", params)
    assert record.state == "succeeded", record.error
    assert record.result is not None
    assert record.result["rows"]["bars"] == SYMBOLS * BARS, record.result


def bare(url: str, home: Path) -> None:
    """Fetch the same pages with ccxt and nothing else; write one Parquet file."""
    first = _exchange(url)
    first.load_markets()
    own = threading.local()

    def page(name: str) -> np.ndarray:
        if not hasattr(own, "exchange"):
            own.exchange = _exchange(url)
            own.exchange.set_markets(first.markets, first.currencies)
        unified = f"{name.removesuffix('USDT')}/USDT"
        return np.asarray(own.exchange.fetch_ohlcv(unified, "1d", SINCE, BARS), dtype=np.float64)

    with ThreadPoolExecutor(WORKERS) as pool:
        pages = list(pool.map(page, names()))
    values = np.concatenate(pages)
    assert len(values) == SYMBOLS * BARS
    columns = {"symbol": np.repeat(names(), [len(each) for each in pages])}
    named = ("ts", "open", "high", "low", "close", "volume")
    columns |= {name: values[:, at] for at, name in enumerate(named)}
    pq.write_table(pa.table(columns), home / "bare.parquet")


def names() -> list[str]:
    return [f"S{index:04d}USDT" for index in range(SYMBOLS)]


def _exchange(url: str) -> ccxt.binance:
    exchange = ccxt.binance(
        {"enableRateLimit": False, "options": {"fetchMarkets": {"types": ["spot"]}}}
    )
    exchange.options["fetchCurrencies"] = False
    for name, path in exchange.urls["api"].items():
        if isinstance(path, str):
            exchange.urls["api"][name] = url + path[path.index("/", 8) :]
    return exchange


class _Market:
    """The market in a process of its own."""

    def __enter__(self) -> str:
        command = ["-m", "quant_cli.main", "market", "serve", "--json"]
        command += ["--synthetic", str(SYMBOLS), "--at", NOW.isoformat()]
        self._process = subprocess.Popen(
            [sys.executable, *command], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        return str(json.loads(self._process.stdout.readline())["url"])

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate(timeout=30)
