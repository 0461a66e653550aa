"""What several rules say or compute alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Callable

    from quant_sdk.conformance.rule import Asked
    from quant_sdk.lakehouse.timeframe import Timeframe

PRICES: Final = ("open", "high", "low", "close")
VALUES: Final = (*PRICES, "volume")
OHLC: Final = "open {}, high {}, low {}, close {}"


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


def is_positive(*columns: str) -> pl.Expr:
    """Tell whether every one of the columns is a finite number above zero; null is not."""
    fine = [(pl.col(name) > 0) & (pl.col(name) < float("inf")) for name in columns]
    return pl.all_horizontal(fine).fill_null(value=False)


def say(template: str, *columns: str) -> Callable[[Asked], pl.Expr]:
    """Return a reason: `template` with the values of `columns` in place of its ``{}``."""

    def reason(_: Asked) -> pl.Expr:
        return pl.format(template, *(shown(name) for name in columns))

    return reason


def shown(name: str) -> pl.Expr:
    """Return a column as text."""
    return pl.col(name).cast(pl.String).fill_null("null")


def shown_time(name: str = "ts") -> pl.Expr:
    """Return a column of instants (Datetime us UTC) as text: ISO 8601 with microseconds."""
    return pl.col(name).dt.to_string("%Y-%m-%dT%H:%M:%S%.6fZ").fill_null("null")
