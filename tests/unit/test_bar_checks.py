from __future__ import annotations

import math

import polars as pl
import pytest
from _bars import bits, divided
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_sdk.conformance import ConformancePipeline
from quant_sdk.conformance.rules import RULES
from quant_sdk.lakehouse.timeframe import Timeframe

MINUTE = 60_000_000
TIMEFRAME = Timeframe.parse("1m")
PIPELINE = ConformancePipeline.partial_ok(True)
VALUES = ("open", "high", "low", "close", "volume")
SCHEMA = {"ts": pl.Datetime("us", "UTC"), **dict.fromkeys(VALUES, pl.Float64)}
GOOD = (10.0, 12.0, 9.0, 11.0, 5.0)


def raw(rows):
    return pl.DataFrame(rows, schema=SCHEMA, orient="row").with_row_index("row")


def check(rows, timeframe=TIMEFRAME):
    return PIPELINE.admit(rows, timeframe, across_gaps=True)


prices = st.sampled_from([10.0, 11.0, 12.0, 9.0, 80.0, 0.0, -0.0, -1.0, math.nan, math.inf, None])
volumes = st.sampled_from([5.0, 0.0, -0.0, -1.0, math.nan, math.inf, None])
stamps = st.integers(0, 8).map(lambda n: n * MINUTE) | st.sampled_from([None, 7, -MINUTE])
any_row = st.tuples(stamps, *[prices] * 4, volumes)
good_row = st.builds(
    lambda ts, scale, volume: (ts, *(p * scale for p in GOOD[:4]), volume),
    st.integers(0, 8).map(lambda n: n * MINUTE),
    st.sampled_from([1.0, 1.0, 1.0, 2.0, 7.0, 50.0]),
    st.sampled_from([5.0, None]),
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(good_row | good_row | any_row, min_size=1, max_size=14),
    st.sampled_from(["1m", "2m", "1d", "1w", "1M"]),
)
def test_every_row_goes_where_the_slow_reference_puts_it(rows, text):
    timeframe = Timeframe.parse(text)
    rules, kept, duplicates = divided(rows, timeframe)
    checked = check(raw(rows), timeframe)
    assert dict(checked.quarantined.select("row", "rule").iter_rows()) == rules
    assert checked.bars["ts"].to_physical().to_list() == [rows[i][0] for i in kept]
    assert [bits(row[1:]) for row in checked.bars.rows()] == [bits(rows[i][1:]) for i in kept]
    assert checked.identical_duplicates == duplicates
    assert checked.rows_in == checked.bars.height + checked.quarantined.height + duplicates
    assert checked.quarantined["reason"].null_count() == 0


def test_clean_rows_are_passed_on_without_a_copy():
    frame = raw([(n * MINUTE, *GOOD) for n in range(100)])
    checked = check(frame)
    assert checked.bars.equals(frame.drop("row"))
    assert checked.quarantined.height == checked.identical_duplicates == 0
    addresses = {each["close"].to_arrow().buffers()[1].address for each in (checked.bars, frame)}
    assert len(addresses) == 1


def test_quarantine_has_one_shape_with_and_without_rows():
    clean = check(raw([(0, *GOOD)])).quarantined
    bad = check(raw([(7, *GOOD)])).quarantined
    assert clean.schema == bad.schema
    assert clean.columns == ["row", "ts", *VALUES, "rule", "reason"]
    assert bad["reason"].item() == "1970-01-01T00:00:00.000007Z is not an opening of the 1m grid"


def test_first_failing_rule_in_the_order_of_the_tuple_wins():
    row = (7, -1.0, -1.0, -1.0, math.nan, -1.0)
    assert check(raw([row])).quarantined["rule"].to_list() == ["off_grid"]
    assert [rule.id for rule in RULES] == [
        "timestamp_missing",
        "off_grid",
        "non_finite",
        "non_positive_price",
        "negative_volume",
        "ohlc_order",
        "duplicate_conflict",
        "return_spike",
    ]


def test_spike_says_both_closes_and_its_return():
    spike = (MINUTE, *(100.0 * price for price in GOOD[:4]), 1.0)
    checked = check(raw([(0, *GOOD), spike, (2 * MINUTE, *GOOD)]))
    (found,) = checked.quarantined.iter_rows(named=True)
    assert found["row"] == 1
    expected = "close 1100.0 after 11.0 is a return of +9900.0 %, above +500 %"
    assert found["reason"] == expected
    assert checked.bars.height == 2


def test_identical_spikes_are_one_quarantined_and_one_duplicate():
    spike = (MINUTE, *(100.0 * price for price in GOOD[:4]), 1.0)
    checked = check(raw([(0, *GOOD), spike, spike]))
    assert (checked.bars.height, checked.quarantined.height) == (1, 1)
    assert checked.identical_duplicates == 1


def test_volume_spikes_and_flat_closes_are_noted_and_kept():
    volumes = [1.0, 1.5] * 100 + [1e6]
    rows = [(n * MINUTE, *GOOD[:4], volume) for n, volume in enumerate(volumes)]
    checked = check(raw(rows))
    assert checked.notes == {"volume_spike": 1, "flat_close": 1}
    assert checked.bars.height == len(rows)


@pytest.mark.parametrize(("length", "runs"), [(9, 0), (10, 1)])
def test_run_of_ten_equal_closes_is_flat(length, runs):
    closes = [10.0, *[11.0] * length, 10.5]
    rows = [(n * MINUTE, 10.0, 12.0, 9.0, close, None) for n, close in enumerate(closes)]
    assert check(raw(rows)).notes["flat_close"] == runs


def test_no_rows_are_no_bars():
    checked = check(raw([]))
    assert checked.rows_in == checked.bars.height == 0
    assert checked.notes == {"volume_spike": 0, "flat_close": 0}


def test_a_frame_of_several_chunks_is_told_apart_as_one_of_a_single_chunk():
    rows = [(n * MINUTE, *GOOD) for n in range(40)]
    flawed = [(41 * MINUTE, 10.0, 12.0, 9.0, -11.0, 5.0), (0, *GOOD)]
    frame = raw([*rows, *flawed])
    chunked = pl.concat([frame[:20], frame[20:30], frame[30:]], rechunk=False)
    assert chunked.n_chunks() == 3
    checked, whole = check(chunked), check(frame)
    assert checked.quarantined.equals(whole.quarantined)
    assert checked.bars.equals(whole.bars)
