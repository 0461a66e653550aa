"""Presets: what blocks is quarantined, whatever the rule is; a severity of nothing is refused."""

from __future__ import annotations

import pickle
from dataclasses import replace

import polars as pl
import pytest
from _bars import put, series

from quant_sdk.conformance import PRESETS, ConformancePipeline, Preset
from quant_sdk.errors import InvalidInput, UnknownName
from quant_sdk.lakehouse.timeframe import Timeframe
from quant_sdk.testing import SeamlessFaults
from quant_sdk.testing.clean import clean_bars

STRICT = PRESETS["strict-blocking"]
ADA, ETH = "BINANCE:ADABTC", "BINANCE:ETHBTC"
MINUTES = Timeframe.parse("1m")


def graded(**severities) -> Preset:
    return replace(STRICT, name="mine", severities=severities)


def check(frame, rule, severity="block", **options):
    """Return what comes of a frame where one rule has another severity."""
    pipeline = ConformancePipeline.partial_ok(True, preset=graded(**{rule: severity}), **options)
    result = pipeline.run(frame, node="n")
    report = result.report
    assert report.rows_in == report.rows_out + report.quarantined + report.identical_duplicates
    return result


def count(report, rule) -> int:
    (found,) = [each.count for each in report.rules if each.rule == rule]
    return found


def refused(result, rule) -> list[int]:
    return result.quarantined.filter(rule=rule)["row"].to_list()


def scaled(frame: pl.DataFrame, rows: range, factor: float) -> pl.DataFrame:
    """Return the frame with prices `factor` times as high in some rows."""
    here = pl.int_range(pl.len()).is_in(list(rows))
    prices = pl.col("open", "high", "low", "close")
    return frame.with_columns(pl.when(here).then(prices * factor).otherwise(prices))


def test_a_late_row_is_refused_where_coming_out_of_order_blocks():
    good = pl.concat([series(ADA, 5), series(ETH, 5)])
    mixed = good[[0, 5, 2, 6, 1, 3, 4, 8, 7, 9]]
    result = check(mixed, "out_of_order")
    assert refused(result, "out_of_order") == [4, 8]
    assert result.quarantined["symbol"].to_list() == [ADA, ETH]
    assert result.quarantined["reason"][0] == (
        "2024-01-01T00:01:00.000000Z came after 2024-01-01T00:02:00.000000Z"
    )
    assert result.frame.height == 8
    assert count(result.report, "out_of_order") == 2
    assert [each.out_of_order for each in result.report.series] == [1, 1]
    assert count(check(mixed, "out_of_order", "warn").report, "out_of_order") == 2


def test_the_later_ones_of_identical_rows_are_quarantined_where_that_blocks():
    frame = pl.concat([series(rows=3), series(rows=3)[:2], series(rows=3)[:1]])
    result = check(frame, "identical_duplicate")
    assert refused(result, "identical_duplicate") == [3, 4, 5]
    assert result.report.identical_duplicates == 0
    assert result.frame.equals(series(rows=3))
    assert [each.identical_duplicates for each in result.report.series] == [3]
    assert check(frame, "identical_duplicate", "warn").report.identical_duplicates == 3


def test_bars_that_stay_up_after_a_gap_are_refused_where_that_blocks():
    whole = pl.concat([scaled(series(ADA, 40), range(20, 30), 50.0), series(ETH, 40)])
    frame = whole.filter(~pl.int_range(pl.len()).is_in(list(range(15, 20))))
    result = check(frame, "return_after_gap")
    assert refused(result, "return_after_gap") == list(range(15, 25))
    assert result.report.quarantined == 10
    before = frame["close"][14]
    assert result.quarantined["reason"].str.contains(f"after {before} is", literal=True).all()
    again = check(result.frame, "return_after_gap")
    assert again.report.quarantined == 0
    assert check(frame, "return_after_gap", "warn").frame.equals(frame)


def test_a_return_after_a_gap_is_judged_without_the_rule_about_neighbours_too():
    frame = scaled(series(rows=10), range(5, 10), 50.0).filter(pl.int_range(pl.len()) != 4)
    result = check(frame, "return_after_gap", rules=["return_after_gap"])
    assert refused(result, "return_after_gap") == [4, 5, 6, 7, 8]


def test_volumes_far_above_the_mean_are_refused_where_that_blocks_and_none_is_left():
    frame = put(put(series(rows=400), 7, volume=1e12), 9, volume=1e6)
    assert count(check(frame, "volume_spike", "warn").report, "volume_spike") == 1
    result = check(frame, "volume_spike")
    assert refused(result, "volume_spike") == [7, 9]
    assert check(result.frame, "volume_spike").report.quarantined == 0


def test_the_whole_stall_is_refused_where_it_blocks():
    flat = pl.when(pl.int_range(pl.len()).is_in(list(range(5, 17)))).then(100.0)
    wide = {"low": pl.lit(1.0), "high": pl.lit(900.0)}
    ada = series(ADA, 30).with_columns(close=flat.otherwise("close"), **wide)
    frame = pl.concat([ada, series(ETH, 30)])
    assert count(check(frame, "flat_close", "warn").report, "flat_close") == 1
    result = check(frame, "flat_close")
    assert refused(result, "flat_close") == list(range(5, 17))
    assert result.quarantined["reason"][0] == "10 bars or more in a row close at 100.0"
    assert check(result.frame, "flat_close").report.quarantined == 0


NOTES = ("out_of_order", "identical_duplicate", "return_after_gap", "volume_spike", "flat_close")


@pytest.mark.parametrize("rule", NOTES)
def test_every_note_about_rows_that_is_made_to_block_refuses_rows(rule):
    planted = SeamlessFaults.plant(None, clean_bars(5, 300), {rule: 2})
    result = check(planted.frame, rule)
    found = count(result.report, rule)
    assert result.report.verdict == "block"
    assert result.report.quarantined == found >= 2
    assert count(check(result.frame, rule).report, rule) == 0
    rows = planted.frame.drop("timeframe").with_row_index("row")
    pipeline = ConformancePipeline.partial_ok(True, preset=graded(**{rule: "block"}))
    admitted = pipeline.admit(rows, Timeframe.parse("1h"))
    assert admitted.bars.equals(result.frame.drop("timeframe"))


@pytest.mark.parametrize("rule", ["missing_bars", "stale_series"])
def test_what_is_not_there_cannot_be_quarantined_and_gives_the_verdict(rule):
    frame = series(rows=30).filter(pl.int_range(pl.len()) != 9)
    limits = {"max_missing_share": 0.0, "max_bars_behind": 0.0}
    pipeline = ConformancePipeline.partial_ok(
        True, preset=graded(**{rule: "block"}), thresholds=limits
    )
    result = pipeline.run(frame, node="n", as_of="2024-01-01T01:00:00Z")
    assert result.report.verdict == "block"
    assert (count(result.report, rule) > 0, result.frame.height) == (True, 29)


def test_a_severity_for_a_rule_that_there_is_not_is_refused():
    with pytest.raises(UnknownName) as caught:
        ConformancePipeline(preset=graded(flat_clos="block"))
    assert caught.value.near[0] == "flat_close"
    assert "unexpected_column" in caught.value.fix
    with pytest.raises(InvalidInput, match="the severity 'fatal'"):
        ConformancePipeline(preset=graded(flat_close="fatal"))
    ConformancePipeline("ticks", preset=graded(flat_close="block", unexpected_column="note"))


def test_a_rule_without_which_bars_cannot_be_told_apart_cannot_be_less_than_a_block():
    with pytest.raises(InvalidInput, match="off_grid cannot be 'note'"):
        ConformancePipeline(preset=graded(off_grid="note"))
    ConformancePipeline(preset=graded(off_grid="block"))


def test_a_column_that_is_missing_and_needed_blocks_whatever_a_preset_says():
    result = check(series().drop("close"), "missing_column", "note")
    assert result.report.verdict == "block"
    assert result.frame.height == 0
    optional = check(series().drop("volume"), "missing_column", "note").report
    assert [each.severity for each in optional.schema_findings] == ["note"]


def test_a_preset_cannot_be_changed_by_one_of_its_users():
    for preset in PRESETS.values():
        with pytest.raises(TypeError):
            preset.thresholds["max_return"] = 1.0
        with pytest.raises(TypeError):
            preset.severities["off_grid"] = "note"
    with pytest.raises(TypeError):
        PRESETS["mine"] = STRICT
    mine = {"flat_close": "block"}
    preset = graded(**mine)
    mine["flat_close"] = "note"
    assert preset.severities["flat_close"] == "block"
    assert pickle.loads(pickle.dumps(preset)) == preset


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [("max_return", 0.5, "return_spike"), ("flat_run", 3, None), ("volume_sigmas", 1, None)],
)
def test_rows_are_admitted_with_the_thresholds_of_the_pipeline(name, value, rule):
    frame = scaled(put(series(rows=60), 30, volume=4000.0), range(20, 60), 2.0)
    flat = pl.when(pl.int_range(pl.len()).is_in([40, 41, 42])).then(220.0).otherwise("close")
    frame = frame.with_columns(close=flat, low=pl.lit(1.0), high=pl.lit(9000.0))
    pipeline = ConformancePipeline.partial_ok(True, thresholds={name: value})
    report = pipeline.run(frame, node="n").report
    rows = frame.drop("symbol", "timeframe").with_row_index("row")
    admitted = pipeline.admit(rows, MINUTES, symbol=ADA)
    assert admitted.notes == {each: count(report, each) for each in ("volume_spike", "flat_close")}
    assert admitted.quarantined["rule"].to_list() == ([rule] if rule else [])
    assert admitted.quarantined.height == report.quarantined
