"""kill -9 over the whole cycle, at named places and at any instant: the next cycle ends well."""

from __future__ import annotations

import os
import random
import time
from contextlib import nullcontext

import pytest
from _children import ForkChild
from _cycle import (
    STAGE,
    check_end,
    contents,
    copy,
    make_cycle,
    offset_now,
    sdk_of,
    still_market,
)
from _orders import PLACES as ALL_PLACES
from test_kill_migration import Flapping

from quant_sdk.market.server import MarketServer

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(3000)]

LONG = os.environ.get("QUANT_CHAOS") == "long"
KILLS = 150 if LONG else 2
PLACES = ALL_PLACES if LONG else ("before_ledger", "in_catalog", "before_swap", "before_manifest")
MOST_COMINGS = 100 if LONG else 1
MANY_FILES = {"timeframe": "1h", "start": "2026-01-01", "end": "2026-01-12", "shard_bars": 24}


@pytest.fixture(scope="module")
def forks():
    with ForkChild() as child:
        yield child


@pytest.fixture(scope="module")
def undisturbed(forks, tmp_path_factory):
    """Return a workspace, what an undisturbed cycle makes of it, and how long that takes."""
    with MarketServer(still_market()) as server:
        template = make_cycle(tmp_path_factory.mktemp("template") / "workspace", server.url)
        sdk = sdk_of(template, offset_now())
        # Many small files, so that there is something to compact.
        symbols = {"symbols": ["BINANCE:LTCUSDT"], "batch_rows": 1}
        assert sdk.run_stage("seamless.backfill", MANY_FILES | symbols).state == "succeeded"
        workspace = copy(template, tmp_path_factory.mktemp("undisturbed"))
        began = time.monotonic()
        assert forks.run(workspace, STAGE, offset_now()) == 0
        seconds = time.monotonic() - began
        sdk = sdk_of(workspace, offset_now())
        expected = contents(sdk)
        check_end(sdk, expected)
        yield template, expected, seconds


def check_next_cycle(workspace, offset, expected):
    """Run the cycle again; the end is the undisturbed one, and every dead run has its end."""
    sdk = sdk_of(workspace, offset)
    dead = [run.run_id for run in sdk.runs(limit=1000) if not run.is_terminal]
    record = sdk.run_stage(STAGE)
    assert record.state == "succeeded", record.error
    assert [step["state"] for step in record.result["steps"]] == ["succeeded"] * 8
    assert record.result["health_check"] == "passed"
    check_end(sdk, expected)
    for buried in map(sdk.run, dead):
        assert buried.state in {"abandoned", "succeeded"}
        assert buried.evidence
        if buried.stage_id == STAGE and buried.state == "abandoned":
            assert record.continues == buried.run_id
    return dead


@pytest.mark.parametrize("place", PLACES)
def test_killed_at_a_bad_place_the_next_cycle_ends_well(place, undisturbed, forks, tmp_path):
    """In the long version at every coming to the place, until a run comes there no more."""
    template, expected, _ = undisturbed
    for nth in range(1, MOST_COMINGS + 1):
        workspace, offset = copy(template, tmp_path / str(nth)), offset_now()
        code = forks.run(workspace, STAGE, offset, place=place, nth=nth)
        dead = check_next_cycle(workspace, offset, expected)
        assert len(dead) <= 2  # the cycle and its step
        if code == 0:
            break
        assert code == -9
    assert nth > 1 or code == -9, "no run ever came there"


@pytest.mark.parametrize("seed", range(KILLS))
def test_killed_at_random_instants_the_next_cycle_ends_well(seed, undisturbed, forks, tmp_path):
    """One to three deaths in a row; every second time while it is paused and resumed."""
    template, expected, seconds = undisturbed
    source = random.Random(seed)
    workspace, offset = copy(template, tmp_path), offset_now()
    with Flapping(workspace) if seed % 2 else nullcontext():
        for _ in range(1 + seed % 3):
            forks.run(workspace, STAGE, offset, seconds=source.uniform(0.0, seconds * 1.3))
    check_next_cycle(workspace, offset, expected)
