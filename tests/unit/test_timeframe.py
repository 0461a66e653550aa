from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_registry.errors import InvalidInput
from quant_sdk.lakehouse.buckets import bucket_at
from quant_sdk.lakehouse.timeframe import Timeframe

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micros(*date: int) -> int:
    return (datetime(*date, tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("30s", 30_000_000),
        ("1m", 60_000_000),
        ("4h", 14_400_000_000),
        ("1d", 86_400_000_000),
        ("1w", 604_800_000_000),
        ("1M", None),
    ],
)
def test_timeframe_knows_its_length_in_microseconds(text, length):
    timeframe = Timeframe.parse(text)
    assert timeframe.micros == length
    assert timeframe.text == str(timeframe) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "m",
        "0m",
        "05m",
        "5 m",
        "5m\n",
        "-5m",
        "5min",
        "1y",
        "5H",
        "\u0665m",
        "9" * 5000 + "m",
    ],
)
def test_what_is_no_timeframe_is_refused_with_a_fix(text):
    with pytest.raises(InvalidInput) as caught:
        Timeframe.parse(text)
    assert "1m, 5m" in caught.value.fix
    assert len(caught.value.message) < 100


@pytest.mark.parametrize("text", ["999999d", "121M"])
def test_bar_longer_than_ten_years_is_refused(text):
    with pytest.raises(InvalidInput, match="ten years"):
        Timeframe.parse(text)


@pytest.mark.parametrize(
    ("text", "bucket"), [("1m", "0999-02"), ("4h", "0999-02"), ("1d", "0999"), ("1w", "0999")]
)
def test_intraday_bars_are_stored_by_month_and_longer_ones_by_year(text, bucket):
    assert bucket_at(datetime(999, 2, 3, tzinfo=UTC), Timeframe.parse(text)) == bucket


def test_weeks_open_on_monday_and_months_on_day_one():
    wednesday = micros(2024, 2, 14, 13)
    assert Timeframe.parse("1w").floor(wednesday) == micros(2024, 2, 12)
    assert Timeframe.parse("1M").floor(wednesday) == micros(2024, 2, 1)
    assert Timeframe.parse("3M").floor(wednesday) == micros(2024, 1, 1)
    assert Timeframe.parse("1M").floor(micros(1969, 12, 31)) == micros(1969, 12, 1)


def test_grid_is_half_open():
    day = Timeframe.parse("6h").grid(micros(2024, 1, 1), micros(2024, 1, 2))
    assert day == [micros(2024, 1, 1, hour) for hour in (0, 6, 12, 18)]
    months = Timeframe.parse("1M").grid(micros(2023, 12, 2), micros(2024, 2, 1))
    assert months == [micros(2024, 1, 1)]
    assert Timeframe.parse("1m").grid(5, 5) == []


@given(
    text=st.sampled_from(["1s", "7m", "1h", "3d", "1w", "2w", "1M", "5M"]),
    at=st.integers(micros(1900, 1, 1), micros(2200, 1, 1)),
)
def test_every_instant_lies_in_exactly_the_slot_that_holds_it(text, at):
    timeframe = Timeframe.parse(text)
    slot = timeframe.slot_of(at)
    assert timeframe.open_of(slot) <= at < timeframe.open_of(slot + 1)
    assert timeframe.slot_of(timeframe.open_of(slot)) == slot
    assert timeframe.on_grid(at) == (timeframe.open_of(slot) == at)


def test_light_modules_load_no_polars():
    code = (
        "import sys, quant_sdk.lakehouse.timeframe, quant_sdk.lakehouse.symbols, "
        "quant_sdk.sources.legacy, quant_sdk.conformance; "
        "sys.exit(any(name in sys.modules for name in ('polars', 'pyarrow', 'deltalake')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
