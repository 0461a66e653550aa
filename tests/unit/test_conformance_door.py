"""What a caller may not ask for is refused before a row is looked at."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pyarrow as pa
import pytest
from _bars import series

from quant_registry.errors import Conflict, InvalidInput, UnknownName
from quant_sdk.conformance import RULES, ConformancePipeline, Preset, Rule

GOOD = {"id": "mine", "kind": "bars", "severity": "block", "measures": "m", "source": "s"}


@pytest.mark.parametrize(
    ("slip", "named"),
    [
        ({"severity": "BLOCK"}, "severity"),
        ({"severity": "error"}, "severity"),
        ({"scope": "rows"}, "scope"),
        ({"id": 7}, "id"),
        ({"id": "My rule"}, "id"),
        ({"kind": ""}, "kind"),
        ({"bad": None}, "bad"),
        ({"scope": "rollup"}, "counts"),
    ],
)
def test_a_rule_that_would_never_stop_anything_cannot_be_made(slip, named):
    with pytest.raises(ValueError, match=named):
        Rule(**{**GOOD, "bad": lambda _: pl.lit(value=True), **slip})


def test_a_rule_under_the_id_of_another_is_refused():
    other = replace(RULES[3], bad=lambda _: pl.lit(value=False))
    with pytest.raises(Conflict, match=RULES[3].id):
        ConformancePipeline(rules=[other])


@pytest.mark.parametrize(
    "thresholds",
    [
        {"max_return": None},
        {"max_return": float("nan")},
        {"max_return": -5},
        {"max_return": True},
        {"max_return": "5"},
        {"flat_run": 2.5},
        {"flat_run": 1},
    ],
)
def test_a_threshold_that_is_not_possible_is_refused_wherever_it_is_given(thresholds):
    with pytest.raises(InvalidInput, match=next(iter(thresholds))):
        ConformancePipeline(thresholds=thresholds)
    with pytest.raises(InvalidInput, match=next(iter(thresholds))):
        ConformancePipeline(preset=Preset(name="own", thresholds=thresholds))


@pytest.mark.parametrize("name", ["max_retrun", 1])
def test_an_unknown_threshold_is_refused_wherever_it_is_given(name):
    for options in (
        {"thresholds": {name: 2}},
        {"preset": Preset(name="own", thresholds={name: 2})},
    ):
        with pytest.raises(UnknownName):
            ConformancePipeline(**options)


def test_a_table_that_polars_cannot_take_is_no_table():
    wide = pa.array([1], pa.decimal256(60, 2))
    with pytest.raises(InvalidInput, match="no table"):
        ConformancePipeline().run(pa.table({"open": wide}), node="n")


def test_constant_volume_has_no_spikes_in_one_series_either():
    from quant_sdk.lakehouse.timeframe import Timeframe

    rows = series(rows=60).with_columns(volume=pl.lit(0.1)).with_row_index("row")
    checked = ConformancePipeline.partial_ok(True).admit(
        rows.drop("symbol", "timeframe"), Timeframe.parse("1m"), symbol="BINANCE:ADABTC"
    )
    assert checked.notes["volume_spike"] == 0
