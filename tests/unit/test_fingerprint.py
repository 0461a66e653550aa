from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from quant_sdk.lakehouse.fingerprint import VALUE, combine, fingerprint, key_hash, merge, value_hash

MASK = 2**64 - 1
SCHEMA = {
    "symbol": pl.String,
    "timeframe": pl.String,
    "ts": pl.Datetime("us", "UTC"),
    **dict.fromkeys(VALUE[1:], pl.Float64),
}
prices = st.floats(allow_nan=False, width=64)
bar = st.tuples(
    st.sampled_from(["A:X", "B:Y"]),
    st.sampled_from(["1m", "1h"]),
    st.integers(-(10**15), 4 * 10**15),
    *[prices] * 4,
    prices | st.none(),
)
bars = st.lists(bar, min_size=1, max_size=12)


def frame(rows):
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


@given(bars, st.randoms(use_true_random=False))
def test_fingerprint_does_not_depend_on_the_order_of_rows(rows, random):
    shuffled = random.sample(rows, len(rows))
    assert fingerprint(frame(shuffled)).equals(fingerprint(frame(rows)))


@given(bars, bars)
def test_fingerprints_of_parts_add_up_to_that_of_the_whole(one, other):
    whole = fingerprint(frame(one + other))
    assert merge(fingerprint(frame(one)), fingerprint(frame(other))).equals(whole)


@given(bars, st.data())
def test_any_single_changed_value_changes_the_hash(rows, data):
    row = data.draw(st.integers(0, len(rows) - 1))
    column = data.draw(st.integers(2, 7))
    fresh = data.draw(st.integers(0, 10**15) if column == 2 else prices)
    old = rows[row][column]
    assume(repr(fresh) != repr(old))
    changed = [list(each) for each in rows]
    changed[row][column] = fresh
    before, after = fingerprint(frame(rows)), fingerprint(frame(changed))
    assert not before["value_hash"].equals(after["value_hash"])
    assert before["key_hash"].equals(after["key_hash"]) == (column != 2)
    assert combine(before) != combine(after)


@settings(max_examples=25)
@given(bars)
def test_expressions_and_grouped_fingerprint_agree(rows):
    series = frame(rows).with_columns(symbol=pl.lit("A:X"), timeframe=pl.lit("1m"))
    hashes = series.select(key_hash(), value_hash())
    assert fingerprint(series.lazy()).select("key_hash", "value_hash").equals(hashes)


def reference(row):
    """The documented formula in Python integers."""
    import struct

    from quant_sdk.lakehouse import fingerprint as module

    bits = [row[2] & MASK]
    for value in row[3:]:
        raw = module._NULL if value is None else struct.unpack("<Q", struct.pack("<d", value))[0]
        bits.append(raw)
    x = module._SEED
    for name, each in zip(VALUE, bits, strict=True):
        x = (x + (each ^ (each >> 32)) * module._ODD[name]) & MASK
    for factor in module._FMIX:
        x = ((x ^ (x >> 33)) * factor) & MASK
    return x ^ (x >> 33)


@given(bars)
def test_hash_is_the_documented_formula_on_every_polars(rows):
    expected = sum(reference(each) for each in rows) & MASK
    assert frame(rows).select(value_hash()).item() == expected


def test_swapped_values_between_rows_or_columns_are_seen():
    one = frame(
        [("A:X", "1m", 0, 1.0, 2.0, 1.0, 2.0, 5.0), ("A:X", "1m", 60, 2.0, 3.0, 2.0, 3.0, 7.0)]
    )
    volumes = one.with_columns(volume=pl.col("volume").reverse())
    columns = one.with_columns(open="high", high="open")
    seen = {combine(fingerprint(each)) for each in (one, volumes, columns)}
    assert len(seen) == 3


def test_fingerprint_lists_each_series_with_rows_and_ends():
    rows = [("B:Y", "1m", 60, *[1.0] * 4, None), ("A:X", "1h", 5, *[1.0] * 5)]
    rows.append(("B:Y", "1m", 0, *[1.0] * 4, 0.0))
    prints = fingerprint(frame(rows))
    assert prints["symbol"].to_list() == ["A:X", "B:Y"]
    assert prints["rows"].to_list() == [1, 2]
    assert prints["first"][1] == datetime(1970, 1, 1, tzinfo=UTC)
    assert prints["last"][1] == datetime(1970, 1, 1, 0, 0, 0, 60, tzinfo=UTC)
    assert prints.schema["value_hash"] == pl.UInt64


def test_table_without_rows_has_a_content_hash():
    empty = fingerprint(frame([]))
    assert empty.height == 0
    assert len(combine(empty)) == 64


@pytest.mark.parametrize("unit", ["ms", "ns"])
def test_unit_of_the_timestamp_column_does_not_matter(unit):
    rows = frame([("A:X", "1m", 60_000_000, *[1.0] * 5)])
    other = rows.with_columns(pl.col("ts").dt.cast_time_unit(unit))
    assert fingerprint(other).equals(fingerprint(rows))
