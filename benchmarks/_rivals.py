"""What other libraries do about the same flaws, written as their documentation writes checks.

Each function returns a call that checks a frame of bars of one timeframe, sorted by symbol and ts:
types, nulls, finite and positive prices, volumes, the order of prices, the grid, keys that occur
once, returns, time that goes on without gaps, spikes of volume and stalls. None of them knows a
calendar, tells how much is missing of which series and day, or parts good rows from bad.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Callable

PRICES = ("open", "high", "low", "close")
KEY = ["symbol", "timeframe", "ts"]
STEP = 60_000_000


def ordered() -> pl.Expr:
    low, high = pl.col("low"), pl.col("high")
    return (low <= pl.min_horizontal("open", "close")) & (
        high >= pl.max_horizontal("open", "close")
    )


def on_grid() -> pl.Expr:
    return pl.col("ts").dt.timestamp("us") % STEP == 0


def calm() -> pl.Expr:
    return (first() | (pl.col("close") / pl.col("close").shift(1) - 1 <= 5)).fill_null(value=True)


def first() -> pl.Expr:
    return (pl.col("symbol") != pl.col("symbol").shift(1)).fill_null(value=True)


def goes_on() -> pl.Expr:
    """Right after the bar before: neither out of order, nor after a gap."""
    return first() | (pl.col("ts") - pl.col("ts").shift(1) == pl.duration(microseconds=STEP))


def usual_volume() -> pl.Expr:
    volume = pl.col("volume")
    most = (volume.mean() + 10 * volume.std()).over("symbol")
    return (volume <= most).fill_null(value=True)


def moves() -> pl.Expr:
    same = (pl.col("close") == pl.col("close").shift(1)) & ~first()
    return same.cast(pl.Int8).rolling_sum(9).fill_null(0) < 9


def pandera(frame: pl.DataFrame) -> Callable[[], object]:
    import pandera.polars as pa

    def of(expression: pl.Expr) -> pa.Check:
        return pa.Check(lambda data: data.lazyframe.select(expression))

    finite = pa.Check(lambda data: data.lazyframe.select(pl.col(data.key).is_finite()))
    schema = pa.DataFrameSchema(
        {
            "symbol": pa.Column(pl.String, pa.Check.str_matches(r"^[A-Z0-9_]{1,32}:")),
            "timeframe": pa.Column(pl.String, pa.Check.isin(["1m"])),
            "ts": pa.Column(pl.Datetime("us", "UTC")),
            **{name: pa.Column(pl.Float64, [finite, pa.Check.gt(0)]) for name in PRICES},
            "volume": pa.Column(pl.Float64, [finite, pa.Check.ge(0)], nullable=True),
        },
        checks=[of(each()) for each in (ordered, on_grid, calm, goes_on, usual_volume, moves)],
        unique=KEY,
    )
    return lambda: schema.validate(frame, lazy=True)


def dataframely(frame: pl.DataFrame) -> Callable[[], object]:
    import dataframely as dy

    price = {"nullable": False, "min_exclusive": 0.0, "allow_inf": False, "allow_nan": False}

    class Bars(dy.Schema):
        symbol = dy.String(primary_key=True, regex=r"^[A-Z0-9_]{1,32}:")
        timeframe = dy.String(primary_key=True)
        ts = dy.Datetime(primary_key=True, time_zone="UTC", time_unit="us")
        open = dy.Float64(**price)
        high = dy.Float64(**price)
        low = dy.Float64(**price)
        close = dy.Float64(**price)
        volume = dy.Float64(nullable=True, min=0.0)

        @dy.rule()
        def prices_in_order(cls) -> pl.Expr:  # noqa: N805  a rule is a class method there
            return ordered()

        @dy.rule()
        def opens_on_the_grid(cls) -> pl.Expr:  # noqa: N805
            return on_grid()

        @dy.rule()
        def no_leap(cls) -> pl.Expr:  # noqa: N805
            return calm()

        @dy.rule()
        def without_gaps(cls) -> pl.Expr:  # noqa: N805
            return goes_on()

        @dy.rule()
        def volume_as_usual(cls) -> pl.Expr:  # noqa: N805
            return usual_volume()

        @dy.rule()
        def no_stall(cls) -> pl.Expr:  # noqa: N805
            return moves()

    def check() -> object:
        return Bars.filter(frame)[1].counts()

    return check


def great_expectations(frame: pl.DataFrame) -> Callable[[], object]:
    """It takes pandas; what needs an expression is a column that was computed before, untimed."""
    import great_expectations as gx
    from great_expectations import expectations as gxe

    own = {"on_grid": on_grid(), "calm": calm(), "goes_on": goes_on(), "moves": moves()}
    pandas = frame.with_columns(**own).to_pandas()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = {"globally": False, "metric_calculations": False}
        source = context.data_sources.add_pandas("bars").add_dataframe_asset("bars")
        batch = source.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": pandas})
    wanted = [
        *(gxe.ExpectColumnValuesToNotBeNull(column=name) for name in (*KEY, *PRICES)),
        *(
            gxe.ExpectColumnValuesToBeBetween(column=name, min_value=0, strict_min=True)
            for name in PRICES
        ),
        gxe.ExpectColumnValuesToBeBetween(column="volume", min_value=0),
        *(
            gxe.ExpectColumnPairValuesAToBeGreaterThanB(column_A=a, column_B=b, or_equal=True)
            for a, b in (("high", "open"), ("high", "close"), ("open", "low"), ("close", "low"))
        ),
        *(gxe.ExpectColumnValuesToBeInSet(column=name, value_set=[True]) for name in own),
        gxe.ExpectCompoundColumnsToBeUnique(column_list=KEY),
    ]
    suite = gx.ExpectationSuite(name="bars", expectations=wanted)

    def check() -> object:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = batch.validate(suite, result_format="SUMMARY")
        assert found.success, found
        return found

    return check
