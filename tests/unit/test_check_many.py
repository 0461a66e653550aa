from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_sdk.conformance import check_bars, check_many
from quant_sdk.lakehouse.timeframe import Timeframe

HOUR = Timeframe.parse("1h")
STEP = 3_600_000_000
COLUMNS = ("ts", "open", "high", "low", "close", "volume")


def series(symbol: str, rows: int, seed: int = 0) -> pl.DataFrame:
    source = np.random.default_rng(seed)
    close = np.round(100 * np.exp(np.cumsum(source.normal(0, 0.01, rows))), 4)
    opening = np.concatenate([close[:1], close[:-1]])
    return pl.DataFrame(
        {
            "symbol": [symbol] * rows,
            "ts": 1_700_000_000_000_000 // STEP * STEP + np.arange(rows) * STEP,
            "open": opening,
            "high": np.maximum(opening, close) + 1,
            "low": np.minimum(opening, close) - 1,
            "close": close,
            "volume": source.gamma(2, 50, rows),
        }
    ).with_columns(pl.col("ts").cast(pl.Datetime("us", "UTC")))


def numbered(*parts: pl.DataFrame) -> pl.DataFrame:
    return pl.concat(parts).with_row_index("row")


FLAWS = {
    "none": pl.col("close"),
    "negative": -pl.col("close"),
    "nan": pl.lit(float("nan")),
    "null": pl.lit(None, dtype=pl.Float64),
    "spike": pl.col("close") * 9,
}


def reference(raw: pl.DataFrame) -> dict[str, object]:
    """Check each series by itself."""
    found: dict[str, object] = {"bars": {}, "refused": {}, "twins": 0, "spikes": 0, "flat": 0}
    for names, part in raw.partition_by("symbol", as_dict=True, include_key=False).items():
        checked = check_bars(part, HOUR)
        found["bars"][names[0]] = checked.bars.rows()
        found["refused"][names[0]] = checked.quarantined.select("row", "rule", "reason").rows()
        found["twins"] += checked.identical_duplicates
        found["spikes"] += checked.notes["volume_spike"]
        found["flat"] += checked.notes["flat_close"]
    return found


def seen(raw: pl.DataFrame) -> dict[str, object]:
    checked = check_many(raw, HOUR)
    names = raw["symbol"].unique().to_list()
    bars, refused = checked.bars, checked.quarantined
    assert checked.rows_in == bars.height + refused.height + checked.identical_duplicates
    assert bars.equals(bars.sort("symbol", "ts"))
    return {
        "bars": {n: bars.filter(symbol=n).select(COLUMNS).rows() for n in names},
        "refused": {
            n: refused.filter(symbol=n).select("row", "rule", "reason").rows() for n in names
        },
        "twins": checked.identical_duplicates,
        "spikes": checked.notes["volume_spike"],
        "flat": checked.notes["flat_close"],
    }


plans = st.lists(
    st.tuples(
        st.sampled_from(["A:A", "A:B", "A:C"]),
        st.integers(1, 30),
        st.sampled_from(sorted(FLAWS)),
        st.integers(0, 29),
        st.sampled_from(["sorted", "reversed", "twin", "conflict", "flat", "busy"]),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(plans)
def test_many_series_at_once_are_divided_as_each_by_itself(plan):
    parts = []
    for place, (symbol, rows, flaw, at, form) in enumerate(plan):
        part = series(symbol, rows, place).with_row_index("at")
        close = pl.when(pl.col("at") == at).then(FLAWS[flaw]).otherwise("close")
        part = part.with_columns(close.alias("close")).drop("at")
        if form == "reversed":
            part = part.reverse()
        elif form == "twin":
            part = pl.concat([part, part[:1]])
        elif form == "conflict":
            part = pl.concat([part, part[:1].with_columns(volume=pl.lit(1.0))])
        elif form == "flat":
            part = part.with_columns(close=pl.lit(100.0), low=pl.lit(1.0), high=pl.lit(9000.0))
        elif form == "busy":
            part = part.with_columns(
                volume=pl.when(pl.int_range(pl.len()) == rows - 1).then(1e9).otherwise("volume")
            )
        parts.append(part)
    raw = numbered(*parts)
    assert seen(raw) == reference(raw)


@pytest.mark.parametrize("rows", [0, 1])
def test_next_to_nothing_is_checked_too(rows):
    raw = numbered(series("A:A", rows))
    checked = check_many(raw, HOUR)
    assert (checked.bars.height, checked.quarantined.height) == (rows, 0)


def test_a_volume_spike_and_a_flat_run_are_counted_and_stay():
    part = series("A:A", 300).with_columns(
        volume=pl.when(pl.int_range(pl.len()) == 7).then(1e9).otherwise("volume"),
        close=pl.when(pl.int_range(pl.len()) < 12).then(100.0).otherwise("close"),
        low=pl.lit(1.0),
        high=pl.lit(9000.0),
    )
    checked = check_many(numbered(part, series("A:B", 300)), HOUR)
    assert checked.notes == {"volume_spike": 1, "flat_close": 1}
    assert checked.bars.height == 600


def test_the_border_of_two_series_is_no_return_and_no_step_back():
    low = series("A:A", 5)
    high = series("A:B", 5).with_columns(pl.col("open", "high", "low", "close") * 1000)
    assert check_many(numbered(low, high), HOUR).quarantined.is_empty()
