"""The rows that some built-in rule about bars may refuse, found in few passes over all rows.

Each test here is a bound for several rules at once: what passes all of them breaks no rule. What
does not is asked rule by rule, and may turn out to be fine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from quant_sdk.conformance.rules import on_grid
from quant_sdk.conformance.selection import BLOCK, PLACE, each_block, each_pair, none, places

if TYPE_CHECKING:
    from quant_sdk.conformance.selection import Neighbours
    from quant_sdk.conformance.steps import Steps
    from quant_sdk.lakehouse.timeframe import Timeframe

COVERED: Final = frozenset(
    {
        "timestamp_missing",
        "off_grid",
        "non_finite",
        "non_positive_price",
        "negative_volume",
        "ohlc_order",
    }
)
"""The rules whose rows are among the suspects."""

_INFINITE: Final = float("inf")
_ROUNDING: Final = 1e-9


def suspects(raw: pl.DataFrame, steps: Steps, timeframe: Timeframe) -> pl.Series:
    """Return the positions of the rows that a rule in `COVERED` may refuse."""
    return places(_off_grid(raw["ts"], steps, timeframe), *_misshapen(raw))


def _off_grid(ts: pl.Series, steps: Steps, timeframe: Timeframe) -> pl.Series:
    """Return the rows without a time and those off the grid.

    A row that lies one bar after the row before it is on the grid where that one is.
    """
    if timeframe.micros is None:
        frame = pl.DataFrame({"ts": ts})
        fine = frame.select(on_grid(timeframe).fill_null(value=False)).to_series()
        return (~fine).arg_true()
    times = ts.gather(steps.at).to_physical()
    fine = ((times - timeframe.origin) % timeframe.micros == 0).fill_null(value=False)
    if fine.all():
        return steps.at[:0]
    spans = pl.DataFrame({"start": steps.at, "end": steps.at.shift(-1, fill_value=ts.len())})
    lost = spans.filter(~fine).select(pl.int_ranges("start", "end", dtype=PLACE).explode())
    return lost.to_series()


def _misshapen(raw: pl.DataFrame) -> list[pl.Series]:
    """Return the rows whose low and high do not bound the rest, or whose volume is no count."""

    def of_block(start: int) -> pl.Series:
        block = raw.slice(start, BLOCK)
        low, high, volume = block["low"], block["high"], block["volume"]
        # NaN sorts above infinity in polars: a finite high that bounds the rest bounds them all.
        fine = (low > 0) & (high < _INFINITE)
        for name in ("open", "close"):
            fine &= (low <= block[name]) & (block[name] <= high)
        counted = (volume >= 0) & (volume < _INFINITE)
        fine = fine.fill_null(value=False) & counted.fill_null(value=True)
        return none() if fine.all() else ((~fine).arg_true() + start).cast(PLACE)

    return each_block(raw.height, of_block)


def stays_above(
    close: pl.Series, starts: pl.Series, at: pl.Series, max_return: float
) -> pl.DataFrame:
    """Return ``before``, ``at``: the bars at `at`, and those that follow while they stay up there.

    Each is held against the close of ``before``, the last bar before the first leap.

    Args:
        close: finite, above zero.
        starts: the first row of each series.
        at: rows that are above the row before by more than `max_return`; ascending.
        max_return: 1 is +100 %.
    """
    ends = starts.shift(-1, fill_value=close.len())
    found = [pl.DataFrame(schema={"before": PLACE, "at": PLACE})]
    past = 0
    for first, last in zip(at, ends.gather(ends.search_sorted(at, side="right")), strict=True):
        if first < past:
            continue
        down = ~(close.slice(first, last - first) / close[first - 1] - 1 > max_return)
        past = first + (down.arg_max() if down.any() else last - first)
        run = pl.int_range(first, past, dtype=PLACE, eager=True)
        found.append(
            pl.DataFrame({"at": run}).select(pl.lit(first - 1, PLACE).alias("before"), "at")
        )
    return pl.concat(found)


def leaps(close: pl.Series, starts: pl.Series, max_return: float) -> pl.Series:
    """Return the rows whose close may be above that of the row before by more than `max_return`.

    Args:
        close: finite, above zero.
        starts: the first row of each series, which has no return.
        max_return: 1 is +100 %.
    """
    factor = (1 + max_return) * (1 - _ROUNDING)

    def of_block(first: int, columns: Neighbours) -> pl.Series:
        ((before, after),) = columns
        return ((after > before * factor).arg_true() + first).cast(PLACE)

    rows = places(*each_pair(of_block, close))
    return rows.filter(~rows.is_in(starts.implode()))
