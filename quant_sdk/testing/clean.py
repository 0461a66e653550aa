"""Frames without a flaw, made up: bars, ticks and quotes that break no rule and raise no note."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import polars as pl

from quant_registry.errors import InvalidInput
from quant_sdk.lakehouse.specs import UTC_MICROS
from quant_sdk.lakehouse.timeframe import Timeframe, to_micros

if TYPE_CHECKING:
    from collections.abc import Sequence

FIRST: Final = datetime(2024, 1, 1, tzinfo=UTC)
"""The opening of the first bar, and the instant of the first trade or quote."""

_SECOND: Final = 1_000_000


def clean_symbols(count: int) -> tuple[str, ...]:
    """Return so many symbols of an exchange that never closes, sorted."""
    return tuple(f"TEST:S{number:05d}USDT" for number in range(count))


def clean_bars(
    symbols: int | Sequence[str] = 3, rows: int = 500, timeframe: str = "1h"
) -> pl.DataFrame:
    """Return bars that lack nothing, sorted by symbol and time; the same ones each time.

    Args:
        symbols: how many, or which; one twice is refused.
        rows: bars of each symbol.
        timeframe: their length; not months.

    Returns:
        ``symbol``, ``timeframe`` (String), ``ts`` (Datetime us UTC, opening, from `FIRST` on, or
        from the next opening), ``open``, ``high``, ``low``, ``close``, ``volume`` (Float64).
    """
    step = Timeframe.parse(timeframe)
    if step.micros is None:
        raise InvalidInput("clean bars have no months", fix="use weeks at most")
    first = step.open_of(step.slot_of(to_micros(FIRST) - 1) + 1)
    walk = _walk(_phase())
    return (
        _grid(symbols, rows)
        .with_columns(
            timeframe=pl.lit(timeframe),
            ts=(pl.col("n") * step.micros + first).cast(UTC_MICROS),
            open=walk.shift(1).over("symbol").fill_null(walk),
            close=walk,
            volume=1_000 + 100 * (_phase() * 3).sin(),
        )
        .with_columns(
            high=pl.max_horizontal("open", "close") * 1.001,
            low=pl.min_horizontal("open", "close") * 0.999,
        )
        .select("symbol", "timeframe", "ts", "open", "high", "low", "close", "volume")
    )


def clean_ticks(symbols: int | Sequence[str] = 3, rows: int = 500) -> pl.DataFrame:
    """Return a trade a second, sorted by symbol and time, in the columns of ``ticks/1``."""
    return (
        _grid(symbols, rows)
        .with_columns(
            ts=_seconds(),
            trade_id=pl.col("n").cast(pl.String),
            price=_walk(_phase()),
            size=1 + (_phase() * 3).sin().abs(),
            side=pl.when(pl.col("n") % 2 == 0).then(pl.lit("buy")).otherwise(pl.lit("sell")),
        )
        .drop("n", "s")
    )


def clean_quotes(symbols: int | Sequence[str] = 3, rows: int = 500) -> pl.DataFrame:
    """Return a quote a second, sorted by symbol and time, in the columns of ``quotes/1``."""
    return (
        _grid(symbols, rows)
        .with_columns(
            ts=_seconds(),
            sequence=pl.col("n"),
            bid=_walk(_phase()) * 0.9995,
            ask=_walk(_phase()) * 1.0005,
            bid_size=1 + (_phase() * 3).sin().abs(),
            ask_size=1 + (_phase() * 5).sin().abs(),
        )
        .drop("n", "s")
    )


def _grid(symbols: int | Sequence[str], rows: int) -> pl.DataFrame:
    """Return ``symbol``, its number ``s`` and the row's number ``n`` within it."""
    names = clean_symbols(symbols) if isinstance(symbols, int) else tuple(sorted(symbols))
    if len(set(names)) != len(names):
        raise InvalidInput("a symbol is named twice", fix="name each once")
    series = pl.DataFrame({"symbol": names, "s": range(len(names))})
    return series.join(pl.DataFrame({"n": pl.int_range(rows, eager=True)}), how="cross")


def _phase() -> pl.Expr:
    return pl.col("n") * 0.1 + pl.col("s")


def _walk(phase: pl.Expr) -> pl.Expr:
    """Return prices around 100 of which two in a row always differ, by a few percent at most."""
    return 100 + 10 * phase.sin() + (pl.col("n") % 2) * 0.01


def _seconds() -> pl.Expr:
    return (pl.col("n") * _SECOND + to_micros(FIRST)).cast(UTC_MICROS)
