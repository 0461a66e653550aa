"""Pause, resume, cancel and throttle in the middle of an ingest and of the cycle."""

from __future__ import annotations

import itertools
import json
import threading
import time
from contextlib import contextmanager

import pytest
from _cycle import STAGE, check_end, contents, make_cycle, offset_now, still_market
from _market import point_at, write_candidates
from _orders import OffsetClock

from quant_sdk import StageSpec
from quant_sdk.market.faults import Storm
from quant_sdk.market.server import MarketServer
from quant_sdk.testing import StageRunner
from quant_sdk.testing.patience import eventually
from quant_stages import STAGES

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

KLINES = "/api/v3/klines"
SYMBOLS = tuple(
    f"BINANCE:{base}USDT"
    for base in ("BTC", "ETH", "BNB", "SOL", "XRP", "ADA", "DOGE", "LTC", "LINK", "DOT")
)
SLOWLY = {"candidates": "data/candidates.json", "workers": 1, "batch_rows": 1}
SOON = 5.0
"""Seconds within which a run ends that is cancelled."""


class LoggedServer(MarketServer):
    """It notes when each request for bars came, and how many were refused."""

    def __init__(self, market):
        super().__init__(market)
        self.asked = []
        self.refused = threading.Event()

    def answer(self, method, target, body):
        if target.startswith(KLINES):
            self.asked.append(time.monotonic())
        answer, strike = super().answer(method, target, body)
        if strike.status == 429:
            self.refused.set()
        return answer, strike


@contextmanager
def opened(root, **faults):
    """Open a runner beside a market whose faults meet requests for bars."""
    market = still_market(paths=(KLINES,), **faults)
    with (
        LoggedServer(market) as server,
        StageRunner(root, STAGES, clock=OffsetClock(offset_now())) as runner,
    ):
        point_at(root, server.url)
        write_candidates(root, SYMBOLS)
        yield runner, server


def slow(seconds=0.05):
    return {"slow_rate": 1.0, "slow_seconds": seconds}


def commits(runner):
    events = runner.events()
    return sum("commit" in event["event"] for event in events), versions(runner)


def versions(runner):
    return {table["name"]: table["version"] for table in runner.sdk.lakehouse.tables()}


def await_heartbeat(runner, run_id):
    """Wait until a run has lived for a while: its status is written again."""
    path = runner.workspace.root / runner.sdk.run(run_id).status_file
    before = json.loads(path.read_bytes())["heartbeat_at"]
    eventually(lambda: json.loads(path.read_bytes())["heartbeat_at"] > before, "a heartbeat")


def await_child(runner, stage):
    """Return the run of a step of the cycle, once there is one."""
    return eventually(lambda: runner.sdk.runs(stage), f"a run of {stage}")[0].run_id


def test_a_paused_ingest_asks_for_nothing_and_commits_nothing(tmp_path):
    with opened(tmp_path, **slow()) as (runner, server):
        run = runner.start("data.ingest", **SLOWLY)
        run.wait_for_event("batch_committed", 2)
        run.pause()
        before = len(server.asked), commits(runner)
        assert len(server.asked) < len(SYMBOLS)
        await_heartbeat(runner, run.run_id)
        assert (len(server.asked), commits(runner)) == before
        run.resume()
        assert run.end().state == "succeeded"
        assert run.end().result["rows"]["bars"] == len(SYMBOLS) * 235
        assert len(server.asked) == len(SYMBOLS)
        assert runner.run("data.verify", candidates=SLOWLY["candidates"]).state == "succeeded"


def test_a_paused_cycle_stands_still_in_its_step_and_ends_as_an_undisturbed_one(tmp_path):
    with opened(tmp_path / "other") as (runner, server):
        make_cycle(tmp_path / "other", server.url)
        assert runner.run(STAGE).state == "succeeded"
        expected = contents(runner.sdk)
    with opened(tmp_path / "workspace", **slow(1.5)) as (runner, server):
        make_cycle(tmp_path / "workspace", server.url)
        run = runner.start(STAGE)
        eventually(lambda: server.asked, "a request for bars")
        run.ask_pause()
        child = await_child(runner, "data.ingest")
        eventually(lambda: runner.sdk.run(child).state == "paused", "the pause of the step")
        before = sum(server.requests.values()), commits(runner)
        await_heartbeat(runner, run.run_id)
        assert (sum(server.requests.values()), commits(runner)) == before
        assert before[1][0] == 0
        run.resume()
        assert run.end().state == "succeeded"
        check_end(runner.sdk, expected)


@pytest.mark.parametrize("asked_to_pause", [False, True])
def test_an_ingest_is_cancelled_at_once_in_a_long_silence(asked_to_pause, tmp_path):
    storm = Storm(every=4, length=3, retry_after=250)
    with opened(tmp_path, storm=storm) as (runner, server):
        run = runner.start("data.ingest", **SLOWLY)
        assert server.refused.wait(SOON * 4)
        if asked_to_pause:
            run.ask_pause()
        assert_cancelled_soon(run)
        asked = len(server.asked)
        held = runner.sdk.lakehouse.table("bars").facts()["rows"]
        assert asked <= 4
        assert held % 235 == 0
        assert runner.run("data.verify", candidates=SLOWLY["candidates"]).state == "succeeded"


def test_a_cycle_is_cancelled_at_once_in_a_long_silence_of_its_step(tmp_path):
    storm = Storm(every=3, length=2, retry_after=250)
    with opened(tmp_path, storm=storm) as (runner, server):
        make_cycle(tmp_path, server.url)
        run = runner.start(STAGE)
        assert server.refused.wait(SOON * 4)
        assert_cancelled_soon(run)
        assert runner.sdk.run(await_child(runner, "data.ingest")).state == "cancelled"
        assert not runner.sdk.runs("data.repair")


def assert_cancelled_soon(run):
    began = time.monotonic()
    assert run.cancel().state == "cancelled"
    assert time.monotonic() - began < SOON


def test_a_throttle_is_obeyed_from_the_middle_of_an_ingest_on_and_lifted_again(tmp_path):
    rate = 10.0
    with opened(tmp_path, **slow(0.02)) as (runner, server):
        run = runner.start("data.ingest", **SLOWLY)
        eventually(lambda: len(server.asked) >= 2, "requests")
        runner.sdk.throttle(rate, run.run_id)
        run.wait_for_event("throttled")
        first = len(server.asked) + 1  # one may have been let go before
        eventually(lambda: len(server.asked) >= first + 4, "throttled requests")
        runner.sdk.throttle(None, run.run_id)
        run.wait_for_event("unthrottled")
        assert run.end().state == "succeeded"
        times = server.asked[first : first + 4]
        assert all(b - a >= 0.9 / rate for a, b in itertools.pairwise(times))


def test_an_ingest_is_cancelled_at_once_in_the_middle_of_many_pages(tmp_path):
    with opened(tmp_path, **slow(0.3)) as (runner, server):
        write_candidates(tmp_path, SYMBOLS[:2], "1m", 60)
        run = runner.start("data.ingest", candidates=SLOWLY["candidates"])
        eventually(lambda: len(server.asked) >= 4, "requests")
        assert_cancelled_soon(run)
        assert len(server.asked) < 20


def cancelled_before_its_step(run, _params):
    """Run a step just when this run was cancelled, as a cycle may."""
    directive = {"scope": run.run_id, "action": "cancel", "issued_at": run.clock.now().isoformat()}
    run.workspace.control.write_text(json.dumps({"directives": [directive]}))
    run.run_stage("steered.step")


def stand(run, _params):
    """Stand for three seconds, unless cancelled."""
    for _ in range(30):
        run.safe_point()
        run.rest(0.1)


STEERED = (
    StageSpec(
        id="steered.flow",
        category="steered",
        title="Flow",
        body="test_steered_cycle:cancelled_before_its_step",
    ),
    StageSpec(id="steered.step", category="steered", title="Step", body="test_steered_cycle:stand"),
)


def test_a_cancel_that_comes_just_before_a_step_begins_ends_the_step_too(tmp_path):
    with StageRunner(tmp_path, STEERED) as runner:
        assert runner.run("steered.flow").state == "cancelled"
        assert {run.state for run in runner.sdk.runs("steered.step")} <= {"cancelled"}
