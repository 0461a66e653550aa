from __future__ import annotations

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_sdk.lakehouse.calendars import ALWAYS, FX
from quant_sdk.lakehouse.timeframe import Timeframe
from quant_sdk.seamless import InMemoryBackfillCoordinator, missing, outside, shards, without

HOUR = Timeframe.parse("1h")
STEP = 3_600_000_000
FRIDAY = 1_718_366_400_000_000 // STEP  # 2024-06-14T12:00Z, in hours
SYMBOLS = ("A:A", "A:B", "FX:C")


def calendar_of(symbol: str):
    return FX if symbol.startswith("FX:") else ALWAYS


def opens(slots: set[int]) -> set[int]:
    ts = pl.DataFrame({"ts": sorted(slots)}, schema={"ts": pl.Int64}).select(
        ts=(pl.col("ts") * STEP).cast(pl.Datetime("us", "UTC"))
    )
    kept = ts.filter(FX.expected(pl.col("ts"), HOUR))
    return {int(at) // STEP for at in kept["ts"].to_physical()}


def bars(present: dict[str, set[int]]) -> pl.LazyFrame:
    rows = [(symbol, slot * STEP) for symbol, slots in present.items() for slot in slots]
    frame = pl.DataFrame(rows, schema={"symbol": pl.String, "ts": pl.Int64}, orient="row")
    return frame.with_columns(pl.col("ts").cast(pl.Datetime("us", "UTC"))).lazy()


def windows(rows: list[tuple[str, int, int]]) -> pl.DataFrame:
    schema = {"symbol": pl.String, "start": pl.Int64, "end": pl.Int64}
    return pl.DataFrame([(s, a * STEP, b * STEP) for s, a, b in rows], schema=schema, orient="row")


def slots(intervals: pl.DataFrame) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for symbol, start, end in intervals.iter_rows():
        assert start < end
        assert start % STEP == end % STEP == 0
        own = set(range(start // STEP, end // STEP))
        assert not own & found.setdefault(symbol, set())
        found[symbol] |= own
    return {symbol: own for symbol, own in found.items() if own}


some_slots = st.sets(st.integers(FRIDAY - 5, FRIDAY + 80), max_size=40)
spans = st.lists(
    st.tuples(st.integers(FRIDAY - 5, FRIDAY + 80), st.integers(1, 30)), min_size=0, max_size=4
)


@settings(max_examples=200, deadline=None)
@given(st.fixed_dictionaries(dict.fromkeys(SYMBOLS, some_slots)), st.data())
def test_missing_bars_are_those_expected_in_the_window_and_not_there(present, data):
    asked = []
    for symbol in SYMBOLS:
        at = FRIDAY - 5
        for start, length in sorted(data.draw(spans)):
            if start >= at:
                asked.append((symbol, start, start + length))
                at = start + length
    found = slots(missing(bars(present), windows(asked), HOUR, calendar_of))
    wanted: dict[str, set[int]] = {}
    for symbol, start, end in asked:
        every = set(range(start, end))
        if symbol.startswith("FX:"):
            every = opens(every)
        wanted.setdefault(symbol, set()).update(every - present[symbol])
    assert found == {symbol: own for symbol, own in wanted.items() if own}


@settings(max_examples=200, deadline=None)
@given(spans, spans, st.integers(1, 20))
def test_what_is_known_is_cut_out_and_shards_hold_the_rest_aligned(asked, known, size):
    at, disjoint = 0, []
    for start, length in sorted(asked):
        if start >= at:
            disjoint.append(("A:A", start, start + length))
            at = start + length
    cut = [("A:A", start, start + length) for start, length in known]
    rest = without(windows(disjoint), windows(cut))
    covered = {slot for _, start, end in cut for slot in range(start, end)}
    wanted = {slot for _, start, end in disjoint for slot in range(start, end)} - covered
    assert slots(rest).get("A:A", set()) == wanted
    made = list(shards(rest, HOUR, size))
    assert len({shard.id for shard in made}) == len(made)
    held = [slot for shard in made for a, b in shard.wanted for slot in range(a // STEP, b // STEP)]
    assert sorted(held) == sorted(wanted)
    for shard in made:
        assert shard.start // STEP // size == (shard.end // STEP - 1) // size == shard.cell
        assert shard.bars == sum((b - a) // STEP for a, b in shard.wanted)


def test_windows_before_and_after_what_is_held_are_outside():
    held = pl.DataFrame({"symbol": ["A:A"], "first": [5 * STEP], "until": [9 * STEP]})
    found = outside(windows([("A:A", 2, 12), ("A:B", 2, 12)]), held)
    assert found.rows() == [
        ("A:A", 2 * STEP, 5 * STEP),
        ("A:A", 9 * STEP, 12 * STEP),
        ("A:B", 2 * STEP, 12 * STEP),
    ]


def test_a_held_series_that_covers_its_window_has_nothing_outside():
    held = pl.DataFrame({"symbol": ["A:A"], "first": [0], "until": [20 * STEP]})
    assert outside(windows([("A:A", 2, 12)]), held).is_empty()


def test_months_are_missing_by_the_calendar_month():
    month = Timeframe.parse("1M")
    asked = pl.DataFrame(
        {"symbol": ["A:A"], "start": [month.open_of(0)], "end": [month.open_of(4)]}
    )
    there = bars({"A:A": set()})
    held = there.collect().vstack(
        pl.DataFrame({"symbol": ["A:A"], "ts": [month.open_of(1)]}).with_columns(
            pl.col("ts").cast(pl.Datetime("us", "UTC"))
        )
    )
    found = missing(held.lazy(), asked, month, calendar_of)
    assert found.rows() == [
        ("A:A", month.open_of(0), month.open_of(1)),
        ("A:A", month.open_of(2), month.open_of(4)),
    ]


def test_a_shard_is_granted_to_one_worker_until_it_fails():
    coordinator = InMemoryBackfillCoordinator()
    first, second = list(shards(windows([("A:A", 0, 4)]), HOUR, 2))
    assert coordinator.claim(first)
    assert not coordinator.claim(first)
    coordinator.fail(first, "the venue is down")
    assert coordinator.failed == {first.id: "the venue is down"}
    assert coordinator.claim(first)
    coordinator.complete(first)
    assert not coordinator.claim(first)
    assert coordinator.claim(second)
    assert coordinator.completion_ratio() == 0.5
