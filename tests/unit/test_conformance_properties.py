"""What holds for any rows: none is lost, the output is clean, counts are those of a slow look."""

from __future__ import annotations

import math
import os
from collections import Counter

import polars as pl
import pytest
from _bars import COLUMNS, START, UTC_MICROS, VALUES, Slow, at
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_sdk.conformance import ConformancePipeline
from quant_sdk.lakehouse.coverage import coverage
from quant_sdk.lakehouse.timeframe import Timeframe

pytestmark = pytest.mark.chaos

MANY = 2000 if os.environ.get("QUANT_CHAOS") == "long" else 90
MINUTE = 60_000_000
SCHEMA = {
    "symbol": pl.String,
    "timeframe": pl.String,
    "ts": UTC_MICROS,
    **dict.fromkeys(VALUES, pl.Float64),
}
MINUTES = Timeframe.parse("1m")
PIPELINE = ConformancePipeline.partial_ok(True)
GOOD = (10.0, 12.0, 9.0, 11.0)

prices = st.sampled_from([10.0, 11.0, 12.0, 9.0, 80.0, 0.0, -0.0, -1.0, math.nan, math.inf, None])
volumes = st.sampled_from([5.0, 0.0, -0.0, -1.0, math.nan, math.inf, None])
symbols = st.sampled_from(["A:A", "A:B", "B:A"])
timeframes = st.sampled_from(["1m", "1m", "1m", "5m"])
slots = st.integers(0, 12).map(lambda n: START + n * MINUTE)
odd_times = st.sampled_from([None, START + 7, START - MINUTE])
any_row = st.tuples(symbols, timeframes, slots | odd_times, *[prices] * 4, volumes)
good_row = st.builds(
    lambda symbol, ts, scale, volume: (symbol, "1m", ts, *(p * scale for p in GOOD), volume),
    symbols,
    slots,
    st.sampled_from([1.0, 1.0, 1.0, 2.0, 7.0, 50.0]),
    st.sampled_from([5.0, 5.0, None]),
)
flat_run = st.builds(
    lambda symbol, length: [(symbol, "1m", START + n * MINUTE, *GOOD, 5.0) for n in range(length)],
    symbols,
    st.integers(8, 13),
)
frames = st.builds(
    lambda run, rows: pl.DataFrame(run + rows, schema=SCHEMA, orient="row"),
    flat_run | st.just([]),
    st.lists(good_row | good_row | any_row, max_size=16),
)


def counts(report) -> dict[str, int]:
    return {each.rule: each.count for each in report.rules if each.count}


@settings(max_examples=MANY // 2, deadline=None)
@given(frames)
def test_rows_in_are_rows_out_quarantined_and_identical_duplicates(frame):
    result = PIPELINE.run(frame, node="n")
    report = result.report
    assert report.rows_in == frame.height
    assert report.rows_in == report.rows_out + report.quarantined + report.identical_duplicates
    assert (report.rows_out, report.quarantined) == (result.frame.height, result.quarantined.height)
    assert result.quarantined["row"].is_unique().all()
    assert result.quarantined["reason"].null_count() == 0


@settings(max_examples=MANY // 2, deadline=None)
@given(frames)
def test_the_pipeline_finds_nothing_in_its_own_output(frame):
    out = PIPELINE.run(frame, node="n").frame
    again = ConformancePipeline().run(out, node="n")
    assert again.report.flags == 0
    assert again.report.verdict == "pass"
    assert again.frame.equals(out)
    assert not {"out_of_order", "identical_duplicate"} & counts(again.report).keys()


@settings(max_examples=MANY, deadline=None)
@given(frames)
def test_counts_are_those_of_a_slow_look_at_each_series(frame):
    slow = Slow(frame)
    result = PIPELINE.run(frame, node="n")
    found = dict(result.quarantined.select("row", "rule").iter_rows())
    assert found == slow.rules
    wanted = Counter(slow.rules.values()) | Counter(slow.counts)
    assert counts(result.report) == {rule: count for rule, count in wanted.items() if count}
    kept = result.frame.with_columns(pl.col("ts").dt.timestamp("us"))
    assert sorted(kept.select("symbol", "timeframe", "ts").rows()) == sorted(slow.kept)
    assert kept.columns == list(COLUMNS)


@settings(max_examples=MANY // 3, deadline=None)
@given(frames, st.randoms(use_true_random=False))
def test_the_good_rows_do_not_depend_on_the_order_in_which_they_came(frame, random):
    order = random.sample(range(frame.height), frame.height)
    one, other = (PIPELINE.run(each, node="n") for each in (frame, frame[order]))
    assert one.frame.equals(other.frame)
    assert one.report.series == tuple(
        type(mine)(**{**mine.to_dict(), "gaps": mine.gaps, "out_of_order": theirs.out_of_order})
        for mine, theirs in zip(other.report.series, one.report.series, strict=True)
    )


@settings(max_examples=MANY // 3, deadline=None)
@given(frames)
def test_each_day_adds_up_to_its_series(frame):
    report = PIPELINE.run(frame, node="n").report
    for series in report.series:
        days = [
            day
            for day in report.daily
            if (day["symbol"], day["timeframe"]) == (series.symbol, series.timeframe)
        ]
        assert sum(day["expected"] for day in days) == series.expected
        assert sum(day["present"] for day in days) == series.present
    placed = sum(
        each.count
        for each in report.rules
        if each.severity == "block" and each.rule != "timestamp_missing"
    )
    assert sum(day["flags"] for day in report.daily) == placed


@settings(max_examples=MANY // 3, deadline=None)
@given(frames)
def test_the_same_rows_have_the_same_digest_in_one_chunk_or_many(frame):
    chunks = [frame[at : at + 3] for at in range(0, frame.height, 3)] or [frame]
    chunked = pl.concat(chunks, rechunk=False)
    one, other = (PIPELINE.run(each, node="n").report for each in (frame, chunked.lazy()))
    assert one.digest == other.digest


@settings(max_examples=MANY // 2, deadline=None)
@given(frames)
def test_rows_on_their_way_into_the_tables_are_divided_as_in_a_run(frame):
    frame = frame.with_columns(timeframe=pl.lit("1m"))
    result = PIPELINE.run(frame, node="n")
    rows = frame.drop("timeframe").with_row_index("row")
    many = PIPELINE.admit(rows, MINUTES)
    assert many.bars.equals(result.frame.drop("timeframe"))
    assert many.quarantined.select("row", "rule", "reason").equals(
        result.quarantined.select("row", "rule", "reason")
    )
    assert many.identical_duplicates == result.report.identical_duplicates
    for (symbol,), own in rows.group_by("symbol"):
        one = PIPELINE.admit(own.drop("symbol"), MINUTES, symbol=symbol)
        assert one.bars.equals(many.bars.filter(symbol=pl.lit(symbol)).drop("symbol"))
        assert one.quarantined.equals(many.quarantined.filter(symbol=pl.lit(symbol)).drop("symbol"))


@settings(max_examples=MANY // 2, deadline=None)
@given(
    st.sampled_from(["BINANCE:ADABTC", "FXCM:EURUSD", "NASDAQ:AAPL"]),
    st.sampled_from(["5m", "50m", "1h", "1d", "1w", "1M"]),
    st.sets(st.integers(0, 400), min_size=1, max_size=30),
)
def test_completeness_is_that_of_the_lakehouse(symbol, timeframe, chosen):
    """`coverage` lays gaps out bar by bar; here calendars are laid out once, as runs."""
    step = Timeframe.parse(timeframe)
    first = step.slot_of(START)
    bars = at([step.open_of(first + n) for n in sorted(chosen)], symbol=symbol, timeframe=timeframe)
    report = PIPELINE.run(bars, node="n").report
    (found,) = report.series
    (wanted,) = coverage(bars)
    assert (found.expected, found.present, found.missing, found.outside) == (
        wanted.expected,
        wanted.present,
        wanted.missing,
        wanted.outside,
    )
    longest = sorted((-gap.missing, iso(gap.start), iso(gap.end)) for gap in wanted.gaps)
    told = sorted((-gap["missing"], gap["start"], gap["end"]) for gap in found.gaps)
    assert found.gap_count == len(longest)
    assert [gap[0] for gap in told] == [gap[0] for gap in longest[:10]]
    assert set(told) <= set(longest)
    held = {day["day"]: day["present"] for day in report.daily}
    strays = sum(held.values()) - (wanted.present - wanted.outside)
    assert strays == 0


def iso(moment) -> str:
    return moment.isoformat().replace("+00:00", "Z")
