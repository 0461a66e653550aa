from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_sdk.conformance import ConformancePipeline
from quant_sdk.lakehouse.calendars import ALWAYS, FX
from quant_sdk.lakehouse.coverage import coverage
from quant_sdk.lakehouse.timeframe import Timeframe
from quant_sdk.sources.legacy import LegacyEntry, source_for

LEGACY = Path(__file__).parents[3] / "shared/data/legacy"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
needs_legacy = pytest.mark.skipif(not LEGACY.is_dir(), reason="../shared/data/legacy is absent")


def series(instants, symbol="BINANCE:ADABTC", timeframe="1h"):
    ts = pl.Series("ts", instants, pl.Int64).cast(pl.Datetime("us", "UTC"))
    names = {"symbol": [symbol] * len(ts), "timeframe": [timeframe] * len(ts)}
    return pl.DataFrame(names, schema=dict.fromkeys(names, pl.String)).with_columns(ts)


def by_hand(instants, timeframe, calendar):
    """Coverage from the whole grid, bar by bar."""
    present = sorted({timeframe.floor(at) for at in instants})
    last = timeframe.open_of(timeframe.slot_of(present[-1]) + 1)
    grid = timeframe.grid(present[0], last)
    ts = pl.Series("ts", grid, pl.Int64).cast(pl.Datetime("us", "UTC")).to_frame()
    marks = ts.select(calendar.expected(pl.col("ts"), timeframe)).to_series().to_list()
    expected = [at for at, mark in zip(grid, marks, strict=True) if mark]
    missing = sorted(set(expected) - set(present))
    gaps = []
    for at in missing:
        end = timeframe.open_of(timeframe.slot_of(at) + 1)
        if gaps and gaps[-1][1] == at:
            gaps[-1] = (gaps[-1][0], end, gaps[-1][2] + 1)
        else:
            gaps.append((at, end, 1))
    return len(expected), len(present), len(missing), len(set(present) - set(expected)), gaps


@settings(max_examples=150, deadline=None)
@given(
    text=st.sampled_from(["15m", "1h", "4h", "1d", "1w", "1M", "3M"]),
    slots=st.lists(st.integers(-40, 160), min_size=1, max_size=40),
    stray=st.booleans(),
    calendar=st.sampled_from([ALWAYS, FX]),
)
def test_coverage_equals_the_whole_grid_counted_by_hand(text, slots, stray, calendar):
    timeframe = Timeframe.parse(text)
    base = timeframe.slot_of(1_704_067_200_000_000)
    instants = [timeframe.open_of(base + slot) + 7 * stray for slot in slots]
    (found,) = coverage(series(instants, timeframe=text), calendar_of=lambda _: calendar)
    expected, present, missing, outside, gaps = by_hand(instants, timeframe, calendar)
    micros = timedelta(microseconds=1)
    assert (found.expected, found.present, found.missing) == (expected, present, missing)
    assert found.outside == outside
    assert [
        ((g.start - EPOCH) // micros, (g.end - EPOCH) // micros, g.missing) for g in found.gaps
    ] == gaps
    assert found.first == EPOCH + timeframe.floor(min(instants)) * micros
    assert found.last == EPOCH + timeframe.floor(max(instants)) * micros


def test_series_are_told_apart_even_when_their_rows_are_mixed(monkeypatch):
    hour = 3_600_000_000
    one, other = series([0, hour, 4 * hour]), series([0, 2 * hour], symbol="FX:GBPUSD")
    mixed = pl.concat([one, other]).sample(fraction=1, shuffle=True, seed=3)
    expected = coverage(pl.concat([one, other]))
    assert [(each.symbol, each.missing) for each in expected] == [
        ("BINANCE:ADABTC", 2),
        ("FX:GBPUSD", 1),
    ]
    assert coverage(mixed.lazy()) == expected
    monkeypatch.setattr("quant_sdk.lakehouse.coverage._MOST_RUNS", 1)
    assert coverage(mixed) == expected


def test_gap_cut_into_pieces_is_one_gap(monkeypatch):
    hour = 3_600_000_000
    frame = series([0, 2000 * hour], symbol="FX:GBPUSD")
    whole = coverage(frame)
    monkeypatch.setattr("quant_sdk.lakehouse.coverage._PIECE", 7)
    assert coverage(frame) == whole


def test_nothing_has_no_coverage():
    assert coverage(series([])) == []


@needs_legacy
@pytest.mark.parametrize(
    ("pair", "gaps"), [("ADA", 5), ("DASH", 2), ("ETC", 0), ("ETH", 0), ("LTC", 0), ("NXT", 0)]
)
def test_outages_of_real_pairs_are_reported_and_none_invented(pair, gaps):
    path = LEGACY / f"{pair}_BTC-5m.feather"
    (found,) = coverage(legacy_bars(LegacyEntry(path=str(path), layout="pair", exchange="BINANCE")))
    assert len(found.gaps) == gaps
    assert found.missing == sum(gap.missing for gap in found.gaps)
    assert found.expected == found.present + found.missing


@needs_legacy
def test_real_fx_has_no_week_end_among_its_gaps():
    entry = LegacyEntry(
        path=str(LEGACY / "gbpusd-m1-bid-2012.csv"),
        layout="csv",
        exchange="FXCM",
        timeframe="1m",
        timestamp_column="timestamp",
    )
    (found,) = coverage(legacy_bars(entry))
    assert found.calendar == "24x5"
    assert found.outside == 0
    assert 0 < found.missing < 0.01 * found.expected
    assert max(gap.missing for gap in found.gaps) < 60
    closed = [
        gap
        for gap in found.gaps
        if gap.start.weekday() == 5 or gap.end - gap.start > timedelta(hours=1)
    ]
    assert not closed


def legacy_bars(entry):
    source = source_for(entry.layout)
    (file,) = source.discover(entry, LEGACY)
    checked = ConformancePipeline.partial_ok(True).admit(
        source.read(file, now=NOW), Timeframe.parse(file.timeframe), symbol=file.symbol
    )
    assert checked.quarantined.height == checked.identical_duplicates == 0
    return checked.bars.with_columns(symbol=pl.lit(file.symbol), timeframe=pl.lit(file.timeframe))
