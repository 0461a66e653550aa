from __future__ import annotations

import math
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_registry.errors import InvalidInput, MissingExtra
from quant_registry.run import Commit
from quant_sdk.features import FeatureStore, History, features_of, read
from quant_sdk.lakehouse.calendars import ALWAYS, FX, calendar_for
from quant_sdk.lakehouse.specs import BARS, FEATURE_VALUES, FEATURES, SYMBOLS, UTC_MICROS
from quant_sdk.lakehouse.table import Table
from quant_sdk.lakehouse.timeframe import Timeframe

START = datetime(2024, 1, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
TALIB = [
    "rsi_14",
    "adx_14",
    "atr_14",
    "natr_14",
    "ema_20",
    "ema_50",
    "sma_50",
    "sma_200",
    "macd",
    "macd_signal",
    "bb_upper",
    "bb_lower",
    "return_1",
    "return_5",
    "return_20",
    "volatility_20",
]


def bars_of(
    count: int,
    *,
    symbol: str = "X:ADABTC",
    timeframe: str = "1h",
    start: datetime = START,
    seed: int = 0,
    level: float = 100.0,
) -> pl.DataFrame:
    """Return bars of a random walk, one at each opening of the grid."""
    step = Timeframe.parse(timeframe)
    random = np.random.default_rng(seed)
    close = level * np.exp(np.cumsum(random.normal(0, 0.01, count)))
    spread = 1 + random.random(count) * 0.01
    first = step.slot_of(int(start.timestamp() * 1_000_000))
    opens = [step.open_of(first + slot) for slot in range(count)]
    return pl.DataFrame(
        {
            "symbol": [symbol] * count,
            "timeframe": [timeframe] * count,
            "ts": pl.Series(opens, dtype=pl.Int64).cast(UTC_MICROS),
            "open": close,
            "high": close * spread,
            "low": close / spread,
            "close": close,
        },
        schema_overrides={"symbol": pl.String, "timeframe": pl.String},
    )


def without(bars: pl.DataFrame, *rows: int) -> pl.DataFrame:
    return bars.filter(~pl.int_range(pl.len()).is_in(list(rows)))


def assert_same_bits(left: pl.DataFrame, right: pl.DataFrame, columns=tuple(FEATURES.columns)):
    """Compare frames bit for bit; a null is only like a null."""
    assert left.height == right.height
    for name in columns:
        one, other = left[name], right[name]
        if one.dtype == pl.Float64:
            one, other = (each.reinterpret(signed=False) for each in (one, other))
        assert one.eq_missing(other).all(), name


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    count=st.integers(1, 320),
    missing=st.sets(st.integers(0, 319), max_size=4),
    broken=st.sets(st.integers(0, 319), max_size=2),
    share=st.floats(0, 1),
)
def test_what_comes_later_changes_no_bit_of_what_was(seed, count, missing, broken, share):
    bars = without(bars_of(count, seed=seed), *missing)
    bars = bars.with_columns(
        close=pl.when(pl.int_range(pl.len()).is_in(list(broken)))
        .then(float("nan"))
        .otherwise("close")
    )
    cut = int(bars.height * share)
    full = features_of(bars, calendar_for)
    past = features_of(bars.head(cut), calendar_for)
    assert_same_bits(past, full.head(past.height))
    future = bars.tail(bars.height - cut).with_columns(pl.col("high", "low", "close") * 3)
    other = features_of(pl.concat([bars.head(cut), future]), calendar_for)
    assert_same_bits(past, other.head(past.height))


def test_each_prefix_gives_the_same_bits():
    bars = without(bars_of(260), 30)
    full = features_of(bars, calendar_for)
    for count in range(1, bars.height, 7):
        assert_same_bits(features_of(bars.head(count), calendar_for), full.head(count))


@pytest.mark.parametrize("gap", ["missing", "nan", "infinite"])
def test_a_gap_begins_all_windows_anew_and_nothing_becomes_zero(gap):
    bars = bars_of(600)
    if gap == "missing":
        holed = without(bars, 300)
    else:
        bad = float("nan") if gap == "nan" else float("inf")
        holed = bars.with_columns(
            high=pl.when(pl.int_range(pl.len()) == 300).then(bad).otherwise("high")
        )
    found = features_of(holed, calendar_for)
    assert found.height == 599
    assert_same_bits(found.tail(299), features_of(bars.tail(299), calendar_for))
    assert_same_bits(found.head(300), features_of(bars.head(300), calendar_for))
    assert found["rsi_14"][300:314].null_count() == 14
    for name in TALIB:
        assert not (found[name] == 0.0).any(), name
        assert not found[name].is_nan().any(), name


def test_warm_up_rows_are_null_and_as_long_as_the_window():
    nulls = features_of(bars_of(300), calendar_for)
    assert {name: nulls[name].null_count() for name in TALIB} == {
        "rsi_14": 14,
        "adx_14": 27,
        "atr_14": 14,
        "natr_14": 14,
        "ema_20": 19,
        "ema_50": 49,
        "sma_50": 49,
        "sma_200": 199,
        "macd": 33,
        "macd_signal": 33,
        "bb_upper": 19,
        "bb_lower": 19,
        "return_1": 1,
        "return_5": 5,
        "return_20": 20,
        "volatility_20": 20,
    }
    others = set(FEATURE_VALUES) - set(TALIB)
    assert all(nulls[name].null_count() == 300 for name in others)


def test_the_values_are_those_of_the_textbook():
    bars = bars_of(120)
    close, high, low = (bars[name].to_list() for name in ("close", "high", "low"))
    last = features_of(bars, calendar_for).row(-1, named=True)
    assert last["sma_50"] == pytest.approx(sum(close[-50:]) / 50)
    assert last["return_5"] == close[-1] / close[-6] - 1
    logs = [math.log(b / a) for a, b in pairwise(close)]
    assert last["volatility_20"] == pytest.approx(
        float(np.std(logs[-20:], ddof=1)) * math.sqrt(365 * 24)
    )
    deviation = float(np.std(close[-20:]))
    middle = sum(close[-20:]) / 20
    assert last["bb_upper"] == pytest.approx(middle + 2 * deviation)
    assert last["bb_lower"] == pytest.approx(middle - 2 * deviation)
    ema = sum(close[:20]) / 20
    for price in close[20:]:
        ema += (price - ema) * 2 / 21
    assert last["ema_20"] == pytest.approx(ema)
    moves = [b - a for a, b in pairwise(close)]
    gain = sum(max(move, 0) for move in moves[:14]) / 14
    loss = sum(max(-move, 0) for move in moves[:14]) / 14
    for move in moves[14:]:
        gain = (gain * 13 + max(move, 0)) / 14
        loss = (loss * 13 + max(-move, 0)) / 14
    assert last["rsi_14"] == pytest.approx(100 * gain / (gain + loss))
    ranges = [
        max(h, before) - min(lo, before)
        for h, lo, before in zip(high[1:], low[1:], close, strict=False)
    ]
    atr = sum(ranges[:14]) / 14
    for true_range in ranges[14:]:
        atr = (atr * 13 + true_range) / 14
    assert last["atr_14"] == pytest.approx(atr)
    assert last["natr_14"] == pytest.approx(100 * atr / close[-1])


def test_a_price_that_never_moved_has_no_rsi_and_one_that_only_fell_has_zero():
    prices = ["open", "high", "low", "close"]
    flat = bars_of(60).with_columns(pl.lit(3.7).alias(name) for name in prices)
    falling = bars_of(60).with_columns(
        (100.0 - pl.int_range(pl.len())).alias(name) for name in prices
    )
    assert features_of(flat, calendar_for)["rsi_14"].null_count() == 60
    assert features_of(falling, calendar_for)["rsi_14"][14:].to_list() == [0.0] * 46


def test_a_coin_of_a_tiny_price_has_the_features_of_any_other():
    shift = 2.0**-60
    prices = pl.col("open", "high", "low", "close")
    usual = features_of(bars_of(260), calendar_for)
    tiny = features_of(bars_of(260).with_columns(prices * shift), calendar_for)
    in_price = [name for name in TALIB if name.startswith(("atr", "ema", "sma", "macd", "bb"))]
    assert_same_bits(tiny.with_columns(pl.col(in_price) / shift), usual, TALIB)


def test_a_weekend_is_no_gap_for_currencies_and_a_missing_bar_is():
    week = datetime(2024, 1, 8, tzinfo=UTC)
    bars = bars_of(24 * 13, symbol="FXCM:EURUSD", start=week)
    open_bars = bars.filter(FX.expected(pl.col("ts"), Timeframe.parse("1h")))
    assert open_bars.height < bars.height
    assert features_of(open_bars, calendar_for)["rsi_14"].null_count() == 14
    assert features_of(open_bars, lambda _: ALWAYS)["rsi_14"].null_count() == 28
    holed = without(open_bars, 50)
    assert features_of(holed, calendar_for)["rsi_14"].null_count() == 28
    monday = without(open_bars, *range(117, 125))
    assert features_of(monday, calendar_for)["rsi_14"].null_count() == 28


def test_volatility_is_annualised_by_the_bars_of_the_calendars_year():
    bars = bars_of(30, symbol="FXCM:EURUSD", timeframe="1d", start=datetime(2024, 1, 1, tzinfo=UTC))
    always = features_of(bars, lambda _: ALWAYS)["volatility_20"][-1]
    week = bars.filter(pl.col("ts").dt.weekday() != 6)
    factor = features_of(week, lambda _: FX)["volatility_20"][-1]
    logs = np.diff(np.log(bars["close"].to_numpy()))
    assert always == pytest.approx(float(np.std(logs[-20:], ddof=1)) * math.sqrt(365))
    logs = np.diff(np.log(week["close"].to_numpy()))
    assert factor == pytest.approx(float(np.std(logs[-20:], ddof=1)) * math.sqrt(313))


def test_series_are_kept_apart_and_months_close_where_the_next_opens():
    one, other = bars_of(80, seed=1), bars_of(80, symbol="X:ETHBTC", seed=2)
    months = bars_of(40, timeframe="1M", seed=3)
    found = features_of(pl.concat([other, months, one]), calendar_for)
    assert_same_bits(found.filter(pl.col("symbol") == "X:ETHBTC"), features_of(other, calendar_for))
    monthly = found.filter(pl.col("timeframe") == "1M")
    assert_same_bits(monthly, features_of(months, calendar_for))
    assert monthly["known_at"][:-1].to_list() == monthly["ts"][1:].to_list()
    assert monthly["bucket"][0] == "2024"
    hourly = found.filter(pl.col("timeframe") == "1h")
    assert (hourly["known_at"] - hourly["ts"]).unique().to_list() == [HOUR]
    assert set(hourly["bucket"]) == {"2024-01", "2024-02"}


def test_no_bars_have_no_features():
    assert features_of(bars_of(0), calendar_for).equals(FEATURES.empty)


def test_without_ta_lib_the_answer_is_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "talib", None)
    with pytest.raises(MissingExtra) as told:
        History(tmp_path, calendar_for, NOW)
    assert "pip install 'quant-stage-sdk[features]'" in told.value.fix


def test_importing_the_package_loads_nothing_heavy(child_env):
    code = "import quant_sdk.features, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=child_env, capture_output=True, text=True, check=True
    )
    assert not {"polars", "talib", "numpy", "deltalake"} & set(done.stdout.split())


# What follows is about the table.


def commit(epoch: int = 1) -> Commit:
    return Commit(batch_id="b", run_id="r", stage_id="t.stage", epoch=epoch, lock_id="l")


class House:
    """A lakehouse whose bars are set, and whose features are brought up to them."""

    def __init__(self, folder) -> None:
        self.path = folder / "lakehouse"
        self.store = FeatureStore(self.path, folder / "locks")
        self._bars = Table(self.path, BARS)

    def know(self, *symbols: str) -> None:
        rows = [
            {"symbol": name, "exchange": "X", "source": "t", "valid_from": START}
            for name in symbols
        ]
        frame = pl.DataFrame(rows, schema=SYMBOLS.columns)
        Table(self.path, SYMBOLS).append(frame, commit(), {})

    def set_bars(self, bars: pl.DataFrame) -> None:
        whole = bars.with_columns(
            bucket=pl.col("ts").dt.strftime("%Y-%m"), volume=pl.lit(1.0), source=pl.lit("t")
        ).select(list(BARS.columns))
        self._bars.overwrite(whole, commit(), {})

    def refresh(self, now: datetime = NOW, **wanted):
        """Return what was found, and what became of it, of the last group of series."""
        history = History(self.path, calendar_for, now)
        outcome = []
        for group in history.series(**wanted):
            found = history.pending(group)
            outcome.append((found, self.store.put(found.rows, commit(), found.gone)))
        return outcome

    def version(self) -> int:
        return Table(self.path, FEATURES).version()

    def held(self) -> pl.DataFrame:
        held = Table(self.path, FEATURES).scan().collect()
        return held.sort("timeframe", "symbol", "ts")


@pytest.fixture
def house(tmp_path) -> House:
    made = House(tmp_path)
    made.know("X:ADABTC", "X:ETHBTC")
    return made


def test_a_second_look_finds_nothing_and_makes_no_version(house):
    house.set_bars(bars_of(100))
    ((_, done),) = house.refresh()
    assert (done.added, done.replaced) == (100, 0)
    before = house.version()
    ((found, done),) = house.refresh()
    assert (found.bars, found.rows.height, found.gone.height) == (100, 0, 0)
    assert done.version == -1
    assert house.version() == before


def test_only_new_bars_are_written_and_equal_what_a_whole_computation_gives(house):
    bars = bars_of(120)
    house.set_bars(bars.head(100))
    house.refresh()
    house.set_bars(bars)
    ((found, done),) = house.refresh()
    assert (found.rows.height, done.added, done.replaced) == (20, 20, 0)
    assert_same_bits(house.held(), features_of(bars, calendar_for))


def test_a_corrected_bar_renews_what_follows_it_and_nothing_before(house):
    bars = pl.concat([bars_of(100), bars_of(100, symbol="X:ETHBTC", seed=1)])
    house.set_bars(bars)
    house.refresh()
    fixed = bars.with_columns(
        close=pl.when(pl.int_range(pl.len()) == 60).then(pl.col("high")).otherwise("close")
    )
    house.set_bars(fixed)
    ((found, done),) = house.refresh()
    assert (done.added, done.replaced) == (0, 40)
    assert found.rows["ts"].min() == bars["ts"][60]
    assert_same_bits(house.held(), features_of(fixed, calendar_for))


def test_a_filled_gap_joins_two_runs_and_a_withdrawn_bar_parts_them(house):
    bars = bars_of(100)
    house.set_bars(without(bars, 40))
    house.refresh()
    house.set_bars(bars)
    ((_, done),) = house.refresh()
    assert (done.added, done.replaced) == (1, 59)
    assert_same_bits(house.held(), features_of(bars, calendar_for))
    house.set_bars(without(bars, 40))
    ((_, done),) = house.refresh()
    assert (done.replaced, done.removed) == (59, 1)
    assert_same_bits(house.held(), features_of(without(bars, 40), calendar_for))


def test_a_series_whose_bars_are_all_gone_has_no_features(house):
    house.set_bars(pl.concat([bars_of(30), bars_of(30, symbol="X:ETHBTC")]))
    house.refresh()
    house.set_bars(bars_of(30))
    house.refresh()
    assert house.held()["symbol"].unique().to_list() == ["X:ADABTC"]


def test_a_bar_that_is_not_closed_yet_has_no_features(house):
    house.set_bars(bars_of(30))
    house.refresh(START + 20 * HOUR + timedelta(minutes=59))
    assert house.held()["ts"].max() == START + 19 * HOUR
    house.refresh(START + 21 * HOUR)
    assert house.held()["ts"].max() == START + 20 * HOUR


def test_bars_of_a_symbol_nobody_knows_are_refused_by_name(house):
    house.set_bars(pl.concat([bars_of(30), bars_of(30, symbol="X:NOBODY")]))
    ((_, done),) = house.refresh()
    assert (done.added, done.refused) == (30, ("X:NOBODY",))
    assert house.held()["symbol"].unique().to_list() == ["X:ADABTC"]
    house.know("X:NOBODY")
    ((_, done),) = house.refresh()
    assert done.added == 30


def test_series_are_looked_at_in_groups_and_only_those_asked_for(house):
    house.set_bars(pl.concat([bars_of(30), bars_of(30, symbol="X:ETHBTC")]))
    assert len(house.refresh(most_rows=40)) == 2
    assert [found.series for found, _ in house.refresh(symbols=["X:ETHBTC"])] == [1]
    assert house.refresh(timeframes=["1d"]) == []


def test_what_was_known_by_an_instant_is_read_back(house):
    house.set_bars(bars_of(30))
    house.refresh()

    def told(**wanted):
        frame = read(house.path, timeframe="1h", symbol="X:ADABTC", **wanted)
        return [ts.hour for ts in frame["ts"]]

    assert told(known_by=START + 3 * HOUR) == [0, 1, 2]
    assert told(start=START + 23 * HOUR, end=START + 26 * HOUR) == [23, 0, 1]
    assert told(source="embedded:scanner") == []
    with pytest.raises(InvalidInput, match="naive"):
        told(start=datetime(2024, 1, 1))  # noqa: DTZ001


@settings(max_examples=12, deadline=None)
@given(
    changes=st.lists(
        st.tuples(
            st.sampled_from(["grow", "drop", "fix"]),
            st.integers(0, 59),
            st.sampled_from(["X:ADABTC", "X:ETHBTC"]),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_whatever_becomes_of_the_bars_the_table_says_what_they_say_now(changes, tmp_path_factory):
    house = House(tmp_path_factory.mktemp("any"))
    house.know("X:ADABTC", "X:ETHBTC")
    whole = pl.concat([bars_of(60), bars_of(60, symbol="X:ETHBTC", seed=1)])
    shown = {"X:ADABTC": 40, "X:ETHBTC": 40}
    gone: set[tuple[str, int]] = set()
    for kind, place, symbol in changes:
        if kind == "grow":
            shown[symbol] = max(shown[symbol], place)
        elif kind == "drop":
            gone ^= {(symbol, place)}
        else:
            at = (pl.col("symbol") == symbol) & (pl.col("ts") == START + place * HOUR)
            whole = whole.with_columns(close=pl.when(at).then("high").otherwise("close"))
        hour = (pl.col("ts") - START).dt.total_hours()
        lost = [f"{name} {number}" for name, number in gone]
        bars = whole.filter(
            hour < pl.col("symbol").replace_strict(shown),
            ~(pl.col("symbol") + " " + hour.cast(pl.String)).is_in(lost),
        )
        house.set_bars(bars)
        house.refresh()
        expected = features_of(bars, calendar_for)
        assert_same_bits(house.held(), expected)
