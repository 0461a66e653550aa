from __future__ import annotations

import json

import pytest

from quant_sdk.errors import InvalidInput
from quant_sdk.market.faults import (
    Correction,
    Delisting,
    Faults,
    Halt,
    Storm,
    Trouble,
    read_faults,
)


def trouble(now=0, **faults) -> Trouble:
    return Trouble(Faults(**faults), lambda: now, lambda: 0.0)


def test_a_market_without_faults_strikes_nobody():
    strikes = [trouble().strike("/api/v3/klines") for _ in range(50)]
    assert {(each.status, each.tear, each.delay) for each in strikes} == {(None, None, 0.0)}


def test_about_as_many_requests_fail_as_declared():
    struck = trouble(error_rate=0.05)
    failed = sum(struck.strike(f"/api?{number}").status is not None for number in range(4_000))
    assert 140 < failed < 260


def test_the_fate_of_a_request_does_not_depend_on_those_between():
    targets = [f"/api?{number}" for number in range(200)]
    one, other = (trouble(error_rate=0.3, torn_rate=0.3) for _ in range(2))
    forward = {target: one.strike(target) for target in targets}
    backward = {target: other.strike(target) for target in reversed(targets)}
    assert forward == backward
    assert len({(each.status, each.tear) for each in forward.values()}) == 6


def test_the_seed_draws_other_fates():
    fates = [
        [each.strike(f"/api?{number}").status for number in range(100)]
        for each in (trouble(seed=seed, error_rate=0.3) for seed in (1, 1, 2))
    ]
    assert fates[0] == fates[1] != fates[2]


def test_what_failed_once_is_drawn_anew():
    struck = trouble(error_rate=0.5)
    assert {struck.strike("/api").status is None for _ in range(40)} == {True, False}


def test_faults_are_read_from_json(tmp_path):
    path = tmp_path / "faults.json"
    path.write_text(
        json.dumps(
            {
                "error_rate": 0.05,
                "storm": {"every": 20, "length": 2},
                "down": [3, 4],
                "outages": [[1, 2]],
                "halts": [{"start": 1, "end": 2, "symbols": ["BINANCE:BTCUSDT"]}],
                "delistings": {"BINANCE:ETHUSDT": {"after_requests": 3}},
                "corrections": {"BINANCE:BTCUSDT": {"start": 1, "factor": 1.01}},
            }
        )
    )
    assert read_faults(path) == Faults(
        error_rate=0.05,
        storm=Storm(every=20, length=2),
        down=(3, 4),
        outages=((1, 2),),
        halts=(Halt(start=1, end=2, symbols=frozenset({"BINANCE:BTCUSDT"})),),
        delistings={"BINANCE:ETHUSDT": Delisting(after_requests=3)},
        corrections={"BINANCE:BTCUSDT": Correction(start=1, factor=1.01)},
    )


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"eror_rate": 1}', "eror_rate"),
        ('{"storm": {"every": 1, "length": 1, "often": 2}}', "storm.often"),
        ('{"error_rate": 3}', "error_rate"),
        ('{"storm": {"every": 3, "length": 3}}', "storm"),
        ('{"corrections": {"BINANCE:BTCUSDT": {"start": 1, "factor": 0}}}', "above zero"),
        ("{", "JSON"),
    ],
)
def test_faults_that_mean_nothing_are_refused(tmp_path, content, told):
    path = tmp_path / "faults.json"
    path.write_text(content)
    with pytest.raises(InvalidInput, match=told) as refused:
        read_faults(path)
    assert refused.value.fix


def test_a_file_of_faults_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InvalidInput, match=r"nowhere\.json"):
        read_faults(tmp_path / "nowhere.json")
