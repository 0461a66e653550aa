"""A market that fails in every way: what can be had is had in the end, and the rest is named."""

from __future__ import annotations

import os

import polars as pl
import pytest
from _faulty import (
    CANDIDATES,
    GONE,
    HALTS,
    KEY,
    LATER,
    SECRET,
    STEP,
    SYMBOLS,
    YOUNG,
    SteadyClock,
    all_faults,
    check_against_truth,
    content,
    correct,
    setting,
    settle,
)

from quant_sdk import verify_chain
from quant_sdk.lakehouse.specs import TABLES
from quant_sdk.lakehouse.timeframe import to_micros
from quant_sdk.market.faults import Faults

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

SEEDS = range(40 if os.environ.get("QUANT_CHAOS") == "long" else 1)
STAYING = tuple(symbol for symbol in SYMBOLS if symbol != GONE)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_the_market_has_is_held_in_the_end_and_every_hole_has_its_cause(
    seed, tmp_path, monkeypatch
):
    monkeypatch.setenv("QUANT_BINANCE_API_KEY", KEY)
    monkeypatch.setenv("QUANT_BINANCE_API_SECRET", SECRET)
    clock = SteadyClock()
    with setting(tmp_path / "faulty", SYMBOLS, all_faults(seed), clock) as faulty:
        causes = settle(faulty, SYMBOLS)
        assert causes["fetch_failed"]
        changes = correct(faulty, STAYING)
        before = faulty.server.met[503]
        move_to(clock, LATER)
        settle(faulty, SYMBOLS)
        assert faulty.server.met[503] > before
        end = STEP.floor(to_micros(clock.now()))
        causes = {symbol: check_against_truth(faulty, symbol, end) for symbol in SYMBOLS}
        assert causes[SYMBOLS[0]] == {"verified_empty": 24}
        assert causes[SYMBOLS[1]] == {"verified_empty": 20}
        assert set(causes[GONE]) <= {"unknown_symbol", "verified_empty"}
        assert causes[GONE]["unknown_symbol"] >= 8_000
        assert set(causes[YOUNG]) <= {"verified_empty", "not_listed_yet"}
        verified = faulty.runner.run("data.verify", candidates=CANDIDATES)
        assert verified.state == "succeeded", verified.error
        assert faulty.runner.sdk.lakehouse.table("corrections").facts()["rows"] == 2 * len(STAYING)
        calm = Faults(halts=HALTS, corrections=changes)
        with setting(tmp_path / "twin", STAYING, calm, SteadyClock()) as twin:
            settle(twin, STAYING)
            move_to(twin.clock, clock.now())
            settle(twin, STAYING)
            assert content(twin, STAYING) == content(faulty, STAYING)
        met = faulty.server.met
        assert met.keys() >= {429, 503, "denied"}
        assert met.keys() & {"short", "cut"}
        assert_nothing_planted(faulty)
    assert all(report.ok for report in verify_chain(faulty.runner.workspace.audit))


def move_to(clock, moment):
    clock.advance((moment - clock.now()).total_seconds())


def assert_nothing_planted(found):
    for path in found.runner.root.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert KEY.encode() not in content, path
        assert SECRET.encode() not in content, path
    for name in TABLES:  # their files are compressed
        rows = found.runner.sdk.lakehouse.table(name).scan().collect()
        text = rows.cast(pl.String).write_csv()
        assert KEY not in text
        assert SECRET not in text
