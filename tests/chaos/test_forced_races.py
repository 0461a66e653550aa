"""Runs that meet at the worst moment, forced: what each writes is there once, and whole."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from _children import PATIENCE
from _cycle import offset_now, still_market
from _lake import Lake
from _legacy import make_workspace
from _market import NOW, point_at, write_candidates
from _orders import OffsetClock

from quant_registry.workspace import Workspace
from quant_sdk.lakehouse import snapshot
from quant_sdk.lakehouse.ledger import Ledger
from quant_sdk.lakehouse.table import Table
from quant_sdk.lakehouse.versions import versions_of
from quant_sdk.market.server import MarketServer
from quant_sdk.testing import StageRunner
from quant_stages import STAGES

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

SYMBOLS = ("BINANCE:BTCUSDT", "BINANCE:ETHUSDT")
CANDIDATES = "data/candidates.json"
DAYS = 2


class Meeting:
    """Brings two runs together: one about to ask what is untold, one about to tell.

    Where a lock keeps them apart, neither waits for the other longer than a moment.
    """

    MOMENT = 1.0

    def __init__(self, monkeypatch) -> None:
        self.asking, self.committed, self.asked = (threading.Event() for _ in range(3))
        self._add, self._reconcile = Ledger.add, Ledger.reconcile

        def add(ledger, entries):
            self.add(ledger, list(entries))

        def reconcile(ledger, tables, **more):
            return self.ask(ledger, tables, **more)

        monkeypatch.setattr(Ledger, "add", add)
        monkeypatch.setattr(Ledger, "reconcile", reconcile)

    def ask(self, ledger, tables, **more):
        first = not self.asking.is_set()
        self.asking.set()
        if first:
            self.committed.wait(self.MOMENT)
        found = self._reconcile(ledger, tables, **more)
        if first:
            self.asked.set()
        return found

    def add(self, ledger, entries):
        if entries and self.asking.is_set() and not self.asked.is_set():
            self.committed.set()
            self.asked.wait(self.MOMENT)
        self._add(ledger, entries)


@pytest.fixture
def beside_market(tmp_path):
    """Return a runner whose workspace holds one series, beside a market in this process."""
    clock = OffsetClock(offset_now())
    make_workspace(tmp_path, 1)
    with (
        MarketServer(still_market()) as server,
        StageRunner(tmp_path, STAGES, clock=clock) as runner,
    ):
        point_at(tmp_path, server.url)
        write_candidates(tmp_path, SYMBOLS[:1], days=DAYS)
        assert runner.run("data.ingest", candidates=CANDIDATES).state == "succeeded"
        yield runner


@pytest.mark.parametrize("stage", ["data.repair", "lakehouse.optimize", "ops.migration.dataops_v2"])
def test_what_is_committed_and_about_to_be_told_is_told_once(stage, beside_market, monkeypatch):
    runner = beside_market
    params = {"candidates": CANDIDATES, "depth_days": DAYS + 2} if stage == "data.repair" else {}
    with monkeypatch.context() as patched:
        meeting = Meeting(patched)
        other = runner.start(stage, **params)
        assert meeting.asking.wait(PATIENCE)
        write_candidates(runner.root, SYMBOLS[1:2], days=DAYS)
        first = runner.start("data.ingest", candidates=CANDIDATES)
        assert first.end().state == "succeeded"
        assert other.end().state == "succeeded", other.end().error
    verified = runner.run("data.verify", candidates=CANDIDATES)
    assert verified.state == "succeeded", verified.error


def test_a_verification_tells_nothing_for_a_run_that_is_about_to(beside_market, monkeypatch):
    runner = beside_market
    committed, go = threading.Event(), threading.Event()
    add = Ledger.add

    def add_late(ledger, entries):
        entries = list(entries)
        if entries and not committed.is_set():
            committed.set()
            assert go.wait(PATIENCE)
        add(ledger, entries)

    write_candidates(runner.root, SYMBOLS[1:2], days=DAYS)
    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "add", add_late)
        run = runner.start("data.ingest", candidates=CANDIDATES)
        assert committed.wait(PATIENCE)
        verification = runner.start("data.verify", candidates=CANDIDATES)
        assert verification.run_id
        verification._thread.join(Meeting.MOMENT)  # it waits for the run, or is done
        go.set()
        assert run.end().state == "succeeded"
        assert verification.end().state == "succeeded", verification.end().error
    verified = runner.run("data.verify", candidates=CANDIDATES)
    assert verified.state == "succeeded", verified.error


def test_a_run_is_told_from_its_commits_while_others_commit(tmp_path, monkeypatch):
    lake = Lake(tmp_path)
    lake.bring("first", "first", {1: 1.0})
    expected = versions_of(lake.bars, {"first"})
    load, later = Table.delta, iter([2, 3, 4])

    def loaded_too_early(table):
        handle = load(table)
        monkeypatch.setattr(Table, "delta", load)
        for hour in itertools.islice(later, 1):
            lake.bring(f"later-{hour}", "later", {hour: 2.0})
        monkeypatch.setattr(Table, "delta", loaded_too_early)
        return handle

    monkeypatch.setattr(Table, "delta", loaded_too_early)
    assert versions_of(lake.bars, {"first"}) == expected


def test_two_snapshots_that_are_made_at_once_are_both_whole(tmp_path, monkeypatch):
    """As by the cycle and by the migration, whose locks are not the same."""
    lake = Lake(tmp_path)
    lake.bring("first", "first", {1: 1.0})
    workspace = Workspace.resolve(tmp_path)
    linked, go = threading.Event(), threading.Event()
    with_digests = snapshot._with_digests

    def late(described, draft):
        if not linked.is_set():
            linked.set()
            go.wait(Meeting.MOMENT)
        return with_digests(described, draft)

    monkeypatch.setattr(snapshot, "_with_digests", late)
    with ThreadPoolExecutor(1) as pool:
        one = pool.submit(snapshot.create_snapshot, workspace, "one", [lake.bars], now=NOW)
        assert linked.wait(PATIENCE)
        snapshot.create_snapshot(workspace, "two", [lake.bars], now=NOW)
        go.set()
        one.result(PATIENCE)
    for name in ("one", "two"):
        assert snapshot.verify_snapshot(workspace, name)["ok"]
