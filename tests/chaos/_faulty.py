"""A workspace beside a market that fails in every way, and what its lakehouse must come to."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import orjson
import polars as pl
from _cycle import STAGES
from _market import Setting, point_at, write_candidates

from quant_sdk.lakehouse.fingerprint import combine, fingerprint
from quant_sdk.lakehouse.timeframe import Timeframe, to_micros
from quant_sdk.market.faults import Correction, Delisting, Faults, Halt, Storm
from quant_sdk.market.listing import Instrument, Listing
from quant_sdk.market.market import Market
from quant_sdk.market.server import MarketServer
from quant_sdk.market.wire import answer_json
from quant_sdk.testing import FakeClock, StageRunner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from quant_sdk.market.faults import Strike
    from quant_sdk.market.wire import Answer

NOW = datetime(2026, 2, 3, 10, 30, tzinfo=UTC)
LATER = NOW + timedelta(hours=6)
"""When the market is asked again, and is dark."""
STEP = Timeframe.parse("15m")
BAR = STEP.micros
DAYS = 100
"""Ten pages of bars a series."""
START = STEP.floor(to_micros(NOW)) - DAYS * 86_400_000_000
VALUES = ("ts", "open", "high", "low", "close", "volume")
CANDIDATES = "data/candidates.json"
SYMBOLS = tuple(f"BINANCE:C{number}USDT" for number in range(6))
GONE, YOUNG = SYMBOLS[4], SYMBOLS[5]
"""One that is delisted while it is asked for, and one that was listed within the window."""
LISTED = to_micros(datetime(2025, 12, 24, 7, tzinfo=UTC))
MOST_ROUNDS = 12


class SteadyClock(FakeClock):
    """A fake clock that threads may turn at once: none takes back what another has added."""

    def __init__(self, start: datetime = NOW) -> None:
        super().__init__(start)
        self._turning = threading.Lock()

    def now(self) -> datetime:
        with self._turning:
            return super().now()

    def advance(self, seconds: float) -> None:
        with self._turning:
            super().advance(seconds)


def listing() -> Listing:
    return Listing(
        Instrument(
            exchange="BINANCE",
            base=symbol.removeprefix("BINANCE:").removesuffix("USDT"),
            quote="USDT",
            price=3.0 * 4**number,
            listed=LISTED if symbol == YOUNG else 0,
        )
        for number, symbol in enumerate(SYMBOLS)
    )


def at(day: str, hour: int = 0) -> int:
    return to_micros(datetime.fromisoformat(day).replace(hour=hour, tzinfo=UTC))


HALTS = (
    Halt(start=at("2026-01-30", 3), end=at("2026-01-30", 8)),
    Halt(start=at("2025-11-20", 3), end=at("2025-11-20", 4), symbols=frozenset({SYMBOLS[0]})),
)


def all_faults(seed: int) -> Faults:
    dark = to_micros(LATER)
    return Faults(
        seed=seed,
        error_rate=0.05,
        torn_rate=0.2,
        slow_rate=0.1,
        slow_seconds=0.02,
        storm=Storm(every=17 + seed % 5, length=3, retry_after=2),
        down=(20, 60 + seed % 30),
        dark=((dark, dark + 180_000_000),),
        halts=HALTS,
        delistings={GONE: Delisting(after_requests=1)},
        echo_credentials=True,
    )


KEY, SECRET = "planted-key-7c1f90e2", "planted-secret-55ab03d1"


class WatchedServer(MarketServer):
    """It asks for a key at first, repeats what it should not, and counts the faults that it met."""

    def __init__(self, market: Market) -> None:
        super().__init__(market)
        self.met: Counter[object] = Counter()
        self._guard = threading.Lock()

    def answer(self, method: str, target: str, body: bytes) -> tuple[Answer, Strike]:
        answer, strike = super().answer(method, target, body)
        with self._guard:
            self.met.update([strike.status, strike.tear, "slow" if strike.delay else None])
            denied = target.startswith("/api/v3/klines") and not self.met["denied"]
            self.met["denied"] += denied
        if denied:
            answer = answer_json({"code": -2015, "msg": "Invalid API-key."}, 401)
        if answer.status >= 400:
            told = orjson.dumps({"key": KEY, "secret": SECRET})
            is_object = answer.body.endswith(b"}")
            said = answer.body[:-1] + b',"you":' + told + b"}" if is_object else answer.body + told
            answer = replace(answer, body=said)
        return answer, strike


@contextmanager
def setting(
    folder: Path, symbols: tuple[str, ...], faults: Faults, clock: SteadyClock
) -> Iterator[Setting]:
    market = Market(seed=11, now=clock.now, listing=listing(), faults=faults)
    with WatchedServer(market) as served, StageRunner(folder, STAGES, clock=clock) as runner:
        point_at(runner.root, served.url)
        write_candidates(runner.root, symbols, STEP.text, DAYS)
        yield Setting(runner, served, clock)


def settle(found: Setting, symbols: tuple[str, ...]) -> Counter[str]:
    """Ingest and repair until nothing is left to ask for; return the causes met on the way.

    After every run, failed or not, each bar that is not there has its cause.
    """
    met: Counter[str] = Counter()
    for _ in range(MOST_ROUNDS):
        for stage in ("data.ingest", "data.repair"):
            record = found.runner.run(stage, candidates=CANDIDATES)
            assert record.state == "succeeded" or record.error["code"] == "source_error"
            at = to_micros(datetime.fromisoformat(record.created_at))
            for symbol in symbols:
                met.update(causes_of(found, symbol, STEP.floor(at)).values())
        if record.state == "succeeded" and not record.result["shards"]:
            return met
    raise AssertionError(f"after {MOST_ROUNDS} rounds something is still missing")


def causes_of(found: Setting, symbol: str, end: int) -> dict[int, str]:
    """Return the cause of each bar that is missing before `end`; every one of them has one."""
    lakehouse = found.runner.sdk.lakehouse
    bars = lakehouse.table("bars").scan().filter(pl.col("symbol") == symbol).select("ts").collect()
    there = bars["ts"].dt.timestamp("us").to_list()
    causes: dict[int, str] = {}
    for series in lakehouse.coverage(symbol):
        for gap in series.gaps:
            for opening in range(to_micros(gap.start), to_micros(gap.end), BAR):
                assert opening not in causes
                causes[opening] = gap.cause
    assert len(set(there)) == len(there)
    assert causes.keys() == set(range(START, end, BAR)) - set(there)
    assert all(causes.values())
    return causes


def correct(found: Setting, symbols: tuple[str, ...]) -> dict[str, Correction]:
    """Let the market change its mind of the last two bars of each symbol; return how."""
    last = (
        found.runner.sdk.lakehouse.table("bars").scan().group_by("symbol").agg(pl.col("ts").max())
    )
    ends = {symbol: to_micros(ts) for symbol, ts in last.collect().iter_rows()}
    changes = {
        symbol: Correction(start=ends[symbol] - BAR, end=ends[symbol] + BAR, factor=1.002)
        for symbol in symbols
    }
    found.market.faults = replace(found.market.faults, corrections=changes)
    return changes


def content(found: Setting, symbols: tuple[str, ...]) -> str:
    bars = found.runner.sdk.lakehouse.table("bars").scan()
    return combine(fingerprint(bars.filter(pl.col("symbol").is_in(symbols))))


def check_against_truth(found: Setting, symbol: str, end: int) -> Counter[str]:
    """Compare bars and coverage with the market, bar by bar; return the missing bars by cause."""
    table = found.runner.sdk.lakehouse.table("bars").scan().filter(pl.col("symbol") == symbol)
    held = table.sort("ts").select(VALUES).collect()
    truth = found.market.bars(symbol, STEP.text, START, end).select(VALUES)
    assert held.equals(truth.filter(pl.col("ts").is_in(held["ts"].implode()))), symbol
    causes = causes_of(found, symbol, end)
    never = set(range(START, end, BAR)) - set(truth["ts"].dt.timestamp("us"))
    for opening, cause in causes.items():
        assert opening in never or cause == "unknown_symbol"
        assert (cause == "unknown_symbol") <= (symbol == GONE)
        assert (cause == "not_listed_yet") <= (symbol == YOUNG and opening < LISTED)
    return Counter(causes.values())
