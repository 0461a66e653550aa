"""Four processes ingest the same symbols, compaction beside them: nothing is lost, nothing twice.

After every round the bars equal the market's, every key is there once, and the ledger agrees.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import polars as pl
import pytest
from _children import PATIENCE, MarketChild, RunnerChild, environment
from _market import point_at, write_candidates
from _orders import SEED, SYNTHETIC, OffsetClock

from quant_sdk import QuantSDK, verify_chain
from quant_sdk.lakehouse.timeframe import Timeframe, to_micros
from quant_sdk.market.faults import Correction, Faults
from quant_sdk.market.listing import standard_listing
from quant_sdk.market.market import Market
from quant_sdk.testing.patience import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(3000)]

LONG = os.environ.get("QUANT_CHAOS") == "long"
ROUNDS = 50 if LONG else 4
WORKERS = 4
SYMBOLS = tuple(f"BINANCE:S{number:04}USDT" for number in range(40 if LONG else 16))
STEP = Timeframe.parse("5m")
DAYS = 2
HOUR = 3600.0
BAR = STEP.micros
COLUMNS = ("symbol", "ts", "open", "high", "low", "close", "volume")
CANDIDATES = "data/candidates.json"


class Crowd:
    """A workspace, the market's truth, and what has been corrected so far.

    Args:
        root: the workspace.
        rounds: how many; the clock of the last one is the machine's.
    """

    def __init__(self, root, rounds):
        self.root = root
        self.rounds = rounds
        self.sdk = QuantSDK(root)
        self.clock = OffsetClock()
        self.corrections = {}
        self.first = None

    def turn(self, number):
        """Set the clock for a round."""
        self.clock.offset = -HOUR * (self.rounds - 1 - number)

    def closed(self):
        return STEP.floor(to_micros(self.clock.now()))

    def correct(self, symbol):
        """Let the last two bars that are held of a symbol have other prices from now on."""
        last = to_micros(self.bars().filter(pl.col("symbol") == symbol)["ts"].max())
        self.corrections[symbol] = {"start": last - BAR, "end": last + BAR, "factor": 1.001}

    def bars(self):
        return (
            self.sdk.lakehouse.table("bars").scan().select(COLUMNS).sort("symbol", "ts").collect()
        )

    def truth(self, symbol, start, end):
        told = {name: Correction(**each) for name, each in self.corrections.items()}
        market = Market(
            seed=SEED,
            now=self.clock.now,
            listing=standard_listing(synthetic=SYNTHETIC),
            faults=Faults(corrections=told),
        )
        frame = market.bars(symbol, STEP.text, start, end)
        return frame.select(pl.lit(symbol).alias("symbol"), *COLUMNS[1:])

    def version(self):
        return self.sdk.lakehouse.table("bars").version()

    def await_version(self, version):
        """Wait until the runs have made so many versions of the bars."""
        eventually(lambda: self.version() >= version, "a commit")

    def check(self, before, after):
        """Compare with the truth; the round's runs began and ended between two closed ends."""
        held = self.bars()
        assert held.select("symbol", "ts").is_unique().all()
        parts = held.partition_by("symbol", as_dict=True)
        assert {name for (name,) in parts} == set(SYMBOLS)
        for (symbol,), bars in parts.items():
            start, end = (to_micros(bars["ts"][at]) for at in (0, -1))
            self.first = self.first or start
            assert abs(start - self.first) in {0, BAR}
            assert before <= end + BAR <= after
            assert bars.equals(self.truth(symbol, start, end + BAR)), symbol
        corrected = self.sdk.lakehouse.table("corrections").scan().collect()
        assert sorted(corrected["symbol"]) == sorted([*self.corrections] * 2)

    def check_runs(self):
        """See that the killed runs have their end, and no chain of events is torn."""
        runs = self.sdk.runs("data.ingest", limit=1000)
        dead = [run for run in runs if run.state != "succeeded"]
        kills = self.rounds // 3
        assert {run.state for run in dead} <= {"abandoned"}
        assert len(dead) <= kills
        assert WORKERS * self.rounds - kills <= len(runs) <= WORKERS * self.rounds
        heads = {run.run_id: tuple(run.audit_head.values()) for run in runs}
        assert all(report.ok for report in verify_chain(self.sdk.workspace.audit, heads=heads))


@pytest.fixture
def crowd(tmp_path):
    root = tmp_path / "workspace"
    root.mkdir()
    write_candidates(root, SYMBOLS, STEP.text, DAYS)
    return Crowd(root, ROUNDS)


def ingest(batch_rows):
    return {"candidates": CANDIDATES, "batch_rows": batch_rows, "workers": 4}


@contextmanager
def beside(compactor, crowd, ends):
    """Compact without rest, as soon as there is something, until the context ends."""
    over = threading.Event()

    def compact():
        crowd.await_version(1)
        while not over.is_set():
            compactor.begin("lakehouse.optimize", crowd.clock.offset, small_files=2)
            ends.append(compactor.answer())

    with ThreadPoolExecutor(1) as pool:
        compacting = pool.submit(compact)
        try:
            yield
        finally:
            over.set()
            compacting.result(PATIENCE)


def by_workers(crowd, workers, number):
    """Let every worker ingest, all at once, or, every second time, each while others publish.

    In every third round one is killed in the middle, and another comes in its place.
    """
    version = crowd.version()
    for at, worker in enumerate(workers):
        if at and number % 2:
            crowd.await_version(version + at)
        worker.begin("data.ingest", crowd.clock.offset, **ingest(50 if number else 4_000))
    live = list(workers)
    if number % 3 == 2:
        crowd.await_version(version + 1)
        live.pop(0).kill()
    return [worker.answer() for worker in live]


def by_commands(crowd):
    """Let as many commands ingest, as a person would run them."""
    options = ("--candidates", CANDIDATES, "--batch-rows", "50", "--workers", "4")
    command = [sys.executable, "-m", "quant_cli.main", "stage", "run", "data.ingest", *options]
    started = [
        subprocess.Popen(
            [*command, "--json", "--workspace", str(crowd.root)],
            stdout=subprocess.PIPE,
            env=environment(),
        )
        for _ in range(WORKERS)
    ]
    return [json.loads(process.communicate(timeout=PATIENCE)[0]) for process in started]


def test_a_crowd_of_ingests_loses_nothing_and_writes_nothing_twice(crowd):
    compactions = []
    with ExitStack() as kept:
        market = kept.enter_context(MarketChild())
        point_at(crowd.root, market.url)
        children = [kept.enter_context(RunnerChild(crowd.root)) for _ in range(WORKERS + 1)]
        *workers, other = children
        for child in children:
            child.answer()
        for number in range(ROUNDS):
            crowd.turn(number)
            if number % 2:
                crowd.correct(SYMBOLS[number // 2])
            market.set(crowd.clock.offset, crowd.corrections)
            before = crowd.closed()
            with beside(other, crowd, compactions):
                if number == ROUNDS - 1:
                    ends = by_commands(crowd)
                else:
                    ends = by_workers(crowd, workers, number)
            assert {end["state"] for end in ends} == {"succeeded"}, ends
            if len(ends) < WORKERS:
                workers[0] = kept.enter_context(RunnerChild(crowd.root))
                workers[0].answer()
            other.begin("data.verify", crowd.clock.offset, candidates=CANDIDATES)
            verified = other.answer()
            assert verified["state"] == "succeeded", verified
            crowd.check(before, crowd.closed())
    assert {end["state"] for end in compactions} == {"succeeded"}, compactions
    assert sum(end["result"]["count"] for end in compactions) >= ROUNDS // 2
    crowd.check_runs()
