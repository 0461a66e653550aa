"""Rows on their way into the tables: `ConformancePipeline.admit`."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from _bars import divided
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_sdk.conformance import ConformancePipeline
from quant_sdk.lakehouse.timeframe import Timeframe

HOUR = Timeframe.parse("1h")
PIPELINE = ConformancePipeline.partial_ok(True)
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


def check(raw: pl.DataFrame):
    """Divide rows; each return is judged once, across gaps too."""
    return PIPELINE.admit(raw, HOUR, across_gaps=True)


def parts_of(raw: pl.DataFrame):
    return raw.partition_by("symbol", as_dict=True, include_key=False).items()


def reference(raw: pl.DataFrame) -> dict[str, object]:
    """Check each series by itself."""
    found: dict[str, object] = {"bars": {}, "refused": {}, "twins": 0, "spikes": 0, "flat": 0}
    for names, part in parts_of(raw):
        checked = check(part)
        found["bars"][names[0]] = checked.bars.rows()
        found["refused"][names[0]] = checked.quarantined.select("row", "rule", "reason").rows()
        found["twins"] += checked.identical_duplicates
        found["spikes"] += checked.notes["volume_spike"]
        found["flat"] += checked.notes["flat_close"]
    return found


def slow(raw: pl.DataFrame) -> dict[str, object]:
    """Divide each series row by row."""
    found: dict[str, object] = {"bars": {}, "refused": {}, "twins": 0}
    for names, part in parts_of(raw):
        rows = part.select(pl.col("ts").dt.timestamp("us"), *COLUMNS[1:]).rows()
        rules, kept, twins = divided(rows, HOUR)
        found["bars"][names[0]] = part[kept].select(COLUMNS).rows()
        numbers = part["row"].to_list()
        found["refused"][names[0]] = {numbers[at]: rule for at, rule in rules.items()}
        found["twins"] += twins
    return found


def seen(raw: pl.DataFrame) -> dict[str, object]:
    checked = check(raw)
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
    found = seen(raw)
    assert found == reference(raw)
    rules = {n: {row: rule for row, rule, _ in own} for n, own in found["refused"].items()}
    wanted = slow(raw)
    assert (found["bars"], rules) == (wanted["bars"], wanted["refused"])
    assert found["twins"] == wanted["twins"]


@pytest.mark.parametrize("rows", [0, 1])
def test_next_to_nothing_is_checked_too(rows):
    raw = numbered(series("A:A", rows))
    checked = check(raw)
    assert (checked.bars.height, checked.quarantined.height) == (rows, 0)


def test_a_volume_spike_and_a_flat_run_are_counted_and_stay():
    part = series("A:A", 300).with_columns(
        volume=pl.when(pl.int_range(pl.len()) == 7).then(1e9).otherwise("volume"),
        close=pl.when(pl.int_range(pl.len()) < 12).then(100.0).otherwise("close"),
        low=pl.lit(1.0),
        high=pl.lit(9000.0),
    )
    checked = check(numbered(part, series("A:B", 300)))
    assert checked.notes == {"volume_spike": 1, "flat_close": 1}
    assert checked.bars.height == 600


def test_the_border_of_two_series_is_no_return_and_no_step_back():
    low = series("A:A", 5)
    high = series("A:B", 5).with_columns(pl.col("open", "high", "low", "close") * 1000)
    assert check(numbered(low, high)).quarantined.is_empty()


def far(year: int) -> pl.Expr:
    return pl.lit(datetime(year, 1, 1, tzinfo=UTC)).cast(pl.Datetime("us", "UTC"))


def altered(at: int, **columns: pl.Expr) -> pl.DataFrame:
    """Return the rows of three series, one row with other values."""
    raw = numbered(*(series(name, 6, seed) for seed, name in enumerate(("A:A", "A:B", "A:C"))))
    return raw.with_columns(
        pl.when(pl.col("row") == at).then(value).otherwise(name).alias(name)
        for name, value in columns.items()
    )


@pytest.mark.parametrize(
    ("columns", "rule"),
    [
        ({"ts": far(1850)}, "implausible_time"),
        ({"ts": far(2300)}, "implausible_time"),
        ({"ts": far(2300), "close": pl.lit(-1.0)}, "implausible_time"),
        ({"symbol": pl.lit("it's")}, "malformed_symbol"),
        ({"symbol": pl.lit("A:..")}, "malformed_symbol"),
        ({"symbol": pl.lit(None, dtype=pl.String)}, "null_value"),
        ({"symbol": pl.lit("it's"), "ts": far(1850)}, "implausible_time"),
        ({"ts": pl.lit(None, dtype=pl.Datetime("us", "UTC"))}, "timestamp_missing"),
    ],
)
@pytest.mark.parametrize("at", [0, 8])
def test_what_a_run_refuses_for_its_schema_is_not_admitted(columns, rule, at):
    raw = altered(at, **columns)
    result = PIPELINE.run(raw.drop("row").with_columns(timeframe=pl.lit("1h")), node="n")
    checked = PIPELINE.admit(raw, HOUR)
    assert checked.quarantined["row", "rule"].rows() == [(at, rule)]
    assert checked.bars.equals(result.frame.drop("timeframe"))
    told = ("row", "rule", "reason")
    assert checked.quarantined[told].equals(result.quarantined[told])
    assert checked.rows_in == 18 == checked.bars.height + 1


def test_each_malformed_symbol_is_named_with_its_own_rows():
    raw = altered(3, symbol=pl.lit("it's")).with_columns(
        symbol=pl.when(pl.col("row") == 9).then(pl.lit("..")).otherwise("symbol")
    )
    result = PIPELINE.run(raw.drop("row").with_columns(timeframe=pl.lit("1h")), node="n")
    told = ("row", "rule", "reason")
    found = PIPELINE.admit(raw, HOUR).quarantined
    assert found["row"].to_list() == [3, 9]
    assert found[told].equals(result.quarantined[told])


def test_nulls_that_no_rule_refuses_are_refused_for_the_schema():
    raw = altered(3, close=pl.lit(None, dtype=pl.Float64))
    pipeline = ConformancePipeline.partial_ok(True, rules=["off_grid"])
    assert pipeline.admit(raw, HOUR).quarantined["row", "rule"].rows() == [(3, "null_value")]


def test_a_series_whose_own_time_or_symbol_is_wrong_is_not_admitted():
    raw = altered(2, ts=far(2300)).filter(symbol=pl.lit("A:A")).drop("symbol")
    checked = PIPELINE.admit(raw, HOUR, symbol="A:A")
    assert checked.quarantined["row", "rule"].rows() == [(2, "implausible_time")]
    assert checked.quarantined.columns == ["row", *COLUMNS, "rule", "reason"]
    refused = PIPELINE.admit(raw, HOUR, symbol="it's").quarantined
    assert refused["rule"].value_counts(sort=True).rows() == [
        ("malformed_symbol", 5),
        ("implausible_time", 1),
    ]
