"""A workspace whose venues are a loopback market, and candidates of it."""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from quant_sdk.market.market import Market
from quant_sdk.market.server import MarketServer
from quant_sdk.testing import FakeClock, StageRunner
from quant_stages import STAGES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from quant_sdk.market.faults import Faults

NOW = datetime(2026, 2, 3, 10, 30, tzinfo=UTC)
SYMBOLS = ("BINANCE:BTCUSDT", "BINANCE:ETHUSDT", "BINANCE:ADAUSDT")


def point_at(root: Path, url: str, **venue: object) -> None:
    """Write the settings of a workspace that asks the market at `url`."""
    root.mkdir(parents=True, exist_ok=True)
    settings = {"exchange": "binance", "base_url": url, "max_requests_per_second": 100_000}
    document = {
        "sources": {
            "market": "live",
            "venues": {"BINANCE": {**settings, **venue}},
            "scanner": {"base_url": f"{url}/scanner", "max_requests_per_second": 1_000},
        }
    }
    (root / "quant.yml").write_text(json.dumps(document))  # JSON is YAML


def write_candidates(
    root: Path, symbols: Iterable[str] = SYMBOLS, timeframe: str = "1h", days: int = 10
) -> str:
    """Write a file of candidates; return its path as seen from the workspace."""
    path = root / "data" / "candidates.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    data = [
        {
            "symbol": symbol,
            "exchange": symbol.partition(":")[0],
            "asset_type": "crypto",
            "ingest": [{"timeframe": timeframe, "depth_days": days}],
        }
        for symbol in symbols
    ]
    path.write_text(json.dumps({"schema": "candidates/1", "meta": {}, "data": data}))
    return "data/candidates.json"


class Setting:
    """A stage runner, the market it asks, and the clock of both."""

    def __init__(self, runner: StageRunner, server: MarketServer, clock: FakeClock) -> None:
        self.runner = runner
        self.server = server
        self.clock = clock

    @property
    def market(self) -> Market:
        return self.server.market


@contextmanager
def market_setting(
    folder: Path, *, faults: Faults | None = None, name: str = "workspace", **venue: object
) -> Iterator[Setting]:
    clock = FakeClock(NOW)
    market = Market(seed=3, now=clock.now, faults=faults)
    with (
        MarketServer(market) as server,
        StageRunner(folder / name, STAGES, clock=clock) as runner,
    ):
        point_at(runner.root, server.url, **venue)
        yield Setting(runner, server, clock)
