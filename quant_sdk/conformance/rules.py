"""The rules a bar must pass, in the order they are asked; the first that fails names the bar.

A rule marks bad rows with an expression over ``ts``, ``open``, ``high``, ``low``, ``close`` and
``volume``, and sees only the rows that passed the rules before it. The last two look at
neighbours, so the rows are first put in time order, and then freed of identical twins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Callable

    from quant_sdk.lakehouse.timeframe import Timeframe

PRICES: Final = ("open", "high", "low", "close")
VALUES: Final = (*PRICES, "volume")
MAX_RETURN: Final = 5.0
"""The largest close-to-close return that is believed: +500 %."""


def as_they_are(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows unchanged."""
    return rows


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """A rule: which rows are bad (Boolean, never null) and why, in a sentence with the numbers.

    ``prepare`` puts the rows into the form that ``bad`` expects, before it is asked.
    """

    name: str
    bad: Callable[[Timeframe], pl.Expr]
    reason: Callable[[Timeframe], pl.Expr]
    prepare: Callable[[pl.DataFrame], pl.DataFrame] = as_they_are


def on_grid(timeframe: Timeframe) -> pl.Expr:
    """Tell whether ``ts`` (Datetime us UTC) is an opening of the grid; null stays null."""
    ts = pl.col("ts")
    if timeframe.micros is not None:
        return (ts.dt.timestamp("us") - timeframe.origin) % timeframe.micros == 0
    months = (ts.dt.year() - 1970) * 12 + ts.dt.month() - 1
    return (months % timeframe.count == 0) & (ts == ts.dt.truncate("1mo"))


def close_return() -> pl.Expr:
    """Return the simple return from the preceding row's close to this one's (Float64)."""
    return pl.col("close") / pl.col("close").shift(1) - 1


def _missing(_: Timeframe) -> pl.Expr:
    return pl.col("ts").is_null()


def _off_grid(timeframe: Timeframe) -> pl.Expr:
    return ~on_grid(timeframe)


def _non_finite(_: Timeframe) -> pl.Expr:
    prices = [~pl.col(name).is_finite().fill_null(value=False) for name in PRICES]
    return pl.any_horizontal(*prices, ~pl.col("volume").is_finite().fill_null(value=True))


def _non_positive(_: Timeframe) -> pl.Expr:
    return pl.any_horizontal(pl.col(PRICES) <= 0)


def _negative_volume(_: Timeframe) -> pl.Expr:
    return (pl.col("volume") < 0).fill_null(value=False)


def _disordered(_: Timeframe) -> pl.Expr:
    low, high = pl.col("low"), pl.col("high")
    return (
        (low > pl.min_horizontal("open", "close"))
        | (high < pl.max_horizontal("open", "close"))
        | (low > high)
    )


def _in_time_order(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.sort("ts", "row")


def _conflicting(_: Timeframe) -> pl.Expr:
    """Rows whose ``ts`` another row has with other bits; rows come in time order."""
    ts = pl.col("ts")
    bits = [pl.col(name).reinterpret(dtype=pl.UInt64) for name in VALUES]
    other = pl.any_horizontal(each.ne_missing(each.shift(1)) for each in bits)
    return ts.is_in(ts.filter((ts == ts.shift(1)) & other).implode())


def _without_twins(rows: pl.DataFrame) -> pl.DataFrame:
    """Keep the first row of each ``ts``; after the conflicts only identical rows share one."""
    return rows.filter(
        pl.col("ts").ne_missing(pl.col("ts").shift(1)) | (pl.int_range(pl.len()) == 0)
    )


def _spiking(_: Timeframe) -> pl.Expr:
    return (close_return() > MAX_RETURN).fill_null(value=False)


def _say(template: str, *columns: str) -> Callable[[Timeframe], pl.Expr]:
    def reason(_: Timeframe) -> pl.Expr:
        return pl.format(template, *(_shown(name) for name in columns))

    return reason


def _shown(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.String).fill_null("null")


def _off_grid_reason(timeframe: Timeframe) -> pl.Expr:
    opening = pl.col("ts").dt.to_string("%Y-%m-%dT%H:%M:%S%.6fZ").fill_null("null")
    return pl.format(f"{{}} is not an opening of the {timeframe.text} grid", opening)


def _spike_reason(_: Timeframe) -> pl.Expr:
    before = pl.col("close").shift(1).cast(pl.String).fill_null("null")
    percent = (close_return() * 100).round(1).cast(pl.String).fill_null("null")
    limit = f"{MAX_RETURN:.0%}".replace("%", " %")
    template = f"close {{}} after {{}} is a return of +{{}} %, above +{limit}"
    return pl.format(template, _shown("close"), before, percent)


_OHLC: Final = "open {}, high {}, low {}, close {}"

RULES: Final = (
    Rule(name="timestamp_missing", bad=_missing, reason=_say("the timestamp is null")),
    Rule(name="off_grid", bad=_off_grid, reason=_off_grid_reason),
    Rule(
        name="non_finite",
        bad=_non_finite,
        reason=_say(f"a value is null or not finite: {_OHLC}, volume {{}}", *VALUES),
    ),
    Rule(
        name="non_positive_price",
        bad=_non_positive,
        reason=_say(f"a price is not above zero: {_OHLC}", *PRICES),
    ),
    Rule(
        name="negative_volume",
        bad=_negative_volume,
        reason=_say("volume {} is below zero", "volume"),
    ),
    Rule(
        name="ohlc_order",
        bad=_disordered,
        reason=_say(f"low <= open, close <= high does not hold: {_OHLC}", *PRICES),
    ),
    Rule(
        name="duplicate_conflict",
        bad=_conflicting,
        reason=_say(f"another row has this timestamp and other values: {_OHLC}", *PRICES),
        prepare=_in_time_order,
    ),
    Rule(name="return_spike", bad=_spiking, reason=_spike_reason, prepare=_without_twins),
)
"""The rules in order; a row is quarantined under the first it fails."""
