"""The steps of time between neighbouring rows: where series begin, where time does not go on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import polars as pl

from quant_sdk.conformance.selection import PLACE, each_pair, places

if TYPE_CHECKING:
    from quant_sdk.conformance.selection import Neighbours
    from quant_sdk.lakehouse.timeframe import Timeframe


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """The rows that do not lie one bar after the row before them, in a series of its own or not.

    Attributes:
        at: their positions, ascending; the first row is always among them.
        begins: which of them begin a run of one series (Boolean).
        steps: microseconds from the row before (Int64); null where one of both has no time.
        names: the series of each run, in order; one empty name where there is no symbol.
    """

    at: pl.Series
    begins: pl.Series
    steps: pl.Series
    names: pl.Series

    @property
    def starts(self) -> pl.Series:
        """The positions at which runs begin."""
        return self.at.filter(self.begins)

    @property
    def unmoved(self) -> pl.Series:
        """The positions of rows that are not later than the row before them in their run."""
        return self._within(self.steps <= 0)

    @property
    def back(self) -> pl.Series:
        """The positions of rows that are earlier than the row before them in their run."""
        return self._within(self.steps < 0)

    @property
    def equal(self) -> pl.Series:
        """The positions of rows with the time of the row before them in their run."""
        return self._within(self.steps == 0)

    @property
    def scattered(self) -> bool:
        """Whether a series comes in several runs."""
        return self.names.n_unique() < self.names.len()

    @property
    def sorted(self) -> bool:
        """Whether series follow each other by name, each in one run, in time, without repeats."""
        return not self.scattered and self.names.is_sorted() and self.unmoved.is_empty()

    def _within(self, chosen: pl.Series) -> pl.Series:
        return self.at.filter(chosen.fill_null(value=False) & ~self.begins)


def steps_of(ts: pl.Series, symbol: pl.Series | None, timeframe: Timeframe) -> Steps:
    """Return the steps of rows: ``ts`` (Datetime us) and ``symbol`` (String; None: one series)."""
    if ts.is_empty():
        return _nothing()
    columns = [ts.to_physical()] if symbol is None else [ts.to_physical(), symbol]
    found = [_first(), *each_pair(partial(_odd, timeframe), *columns)]
    every = pl.concat(found)
    starts = every.filter("begins")["at"]
    names = pl.Series([""]) if symbol is None else symbol.gather(starts)
    return Steps(at=every["at"], begins=every["begins"], steps=every["steps"], names=names)


def _odd(timeframe: Timeframe, first: int, columns: Neighbours) -> pl.DataFrame:
    times, *series = columns
    steps = times[1] - times[0]
    begins = series[0][1] != series[0][0] if series else _all(steps, value=False)
    odd = begins | _is_odd(steps, timeframe)
    return _frame((odd.arg_true() + first).cast(PLACE), begins.filter(odd), steps.filter(odd))


def _is_odd(steps: pl.Series, timeframe: Timeframe) -> pl.Series:
    """Tell which steps are not of one bar; months have no length, so all of theirs are."""
    if timeframe.micros is None:
        return _all(steps, value=True)
    return (steps != timeframe.micros).fill_null(value=True)


def _all(like: pl.Series, *, value: bool) -> pl.Series:
    return pl.repeat(value=value, n=like.len(), eager=True)


def _frame(at: pl.Series, begins: pl.Series, steps: pl.Series) -> pl.DataFrame:
    return pl.DataFrame({"at": at, "begins": begins, "steps": steps})


def _first() -> pl.DataFrame:
    at, steps = pl.Series([0], dtype=PLACE), pl.Series([None], dtype=pl.Int64)
    return _frame(at, pl.Series([True]), steps)


def _nothing() -> Steps:
    empty = _first().clear()
    return Steps(
        at=empty["at"],
        begins=empty["begins"],
        steps=empty["steps"],
        names=pl.Series([], dtype=pl.String),
    )


def disordered(steps: Steps, ts: pl.Series) -> pl.Series:
    """Return the positions of rows that are earlier than the row of their series before them.

    Args:
        steps: of the rows.
        ts: their times, without nulls.
    """
    return places(steps.back, _back_between_runs(steps, ts) if steps.scattered else steps.at[:0])


def _back_between_runs(steps: Steps, ts: pl.Series) -> pl.Series:
    starts = steps.starts
    ends = starts.shift(-1, fill_value=ts.len()) - 1
    runs = pl.DataFrame(
        {"at": starts, "name": steps.names, "first": ts.gather(starts), "last": ts.gather(ends)}
    )
    before = pl.col("last").shift(1).over("name")
    return runs.filter(pl.col("first") < before)["at"]


def order_of(steps: Steps, ts: pl.Series) -> pl.Series:
    """Return the positions of rows in the order of series and time; equal ones as they come.

    Args:
        steps: of the rows.
        ts: their times (Datetime us), whole seconds without nulls.
    """
    frame = pl.DataFrame({"key": _keys(steps, ts)})
    return frame.select(pl.arg_sort_by("key", maintain_order=True)).to_series().cast(PLACE)


def _keys(steps: Steps, ts: pl.Series) -> pl.Series:
    """Return numbers that are ordered as series and time are."""
    codes = steps.names.cast(pl.Enum(steps.names.unique().sort())).to_physical()
    starts = steps.starts
    lengths = starts.shift(-1, fill_value=ts.len()) - starts
    runs = pl.DataFrame({"code": codes.cast(pl.Int64), "rows": lengths})
    series = runs.select(pl.col("code").repeat_by("rows").explode()).to_series()
    # In seconds, 64 bits hold 300 years of 900 million series.
    slots = ts.to_physical() // 1_000_000
    first, last = slots.min(), slots.max()
    assert isinstance(first, int)  # noqa: S101  rows have times
    assert isinstance(last, int)  # noqa: S101
    return series * (last - first + 1) + (slots - first)
