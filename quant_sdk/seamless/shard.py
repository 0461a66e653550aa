"""Shards: pieces of missing intervals, aligned to a grid, each fetched and published by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from quant_sdk.lakehouse.coverage import opens_of, slots_of
from quant_sdk.lakehouse.timeframe import Timeframe, from_micros

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Missing bars of one series within one cell of the grid.

    Attributes:
        symbol, timeframe: the series.
        cell: the number of the cell; cells hold equally many bars, cell 0 begins with slot 0.
        wanted: the missing intervals in it, ``[start, end)``, microseconds, sorted, disjoint.
        follows: the bar before the first of them is held, in this cell or the one before.
        part: tells shards of one cell apart that are fetched apart.
    """

    symbol: str
    timeframe: str
    cell: int
    wanted: tuple[tuple[int, int], ...]
    follows: bool = False
    part: int = 0

    @property
    def start(self) -> int:
        """The first opening that is missing, microseconds since the epoch."""
        return self.wanted[0][0]

    @property
    def end(self) -> int:
        """Where the last missing bar ends, exclusive."""
        return self.wanted[-1][1]

    @property
    def id(self) -> str:
        """Names the shard, the same in every process and run."""
        part = f".{self.part}" if self.part else ""
        return f"{self.symbol}/{self.timeframe}/{self.cell}{part}"

    @property
    def bars(self) -> int:
        """How many bars are missing."""
        step = Timeframe.parse(self.timeframe)
        return sum(step.slot_of(end) - step.slot_of(start) for start, end in self.wanted)

    def describe(self) -> str:
        """Return the shard as a person would say it."""
        first, last = (from_micros(at).strftime("%Y-%m-%dT%H:%MZ") for at in (self.start, self.end))
        return f"{self.symbol} {self.timeframe} [{first}, {last})"


def shards(
    intervals: pl.DataFrame, timeframe: Timeframe, bars: int, *, apart: bool = False
) -> Iterator[Shard]:
    """Yield the shards of missing intervals, by symbol and time.

    Args:
        intervals: ``symbol``, ``start``, ``end`` (Int64 us, ``[start, end)``) on the grid, and
            ``follows`` (Boolean): whether the bar before it is held; False where it is left out.
        timeframe: theirs.
        bars: how many bars a cell holds.
        apart: each interval is a shard of its own, also where a cell holds several; what lies
            between them is not fetched then.
    """
    if "follows" not in intervals.columns:
        intervals = intervals.with_columns(follows=False)
    slots = intervals.select(
        "symbol",
        "follows",
        start=slots_of(intervals["start"], timeframe),
        end=slots_of(intervals["end"], timeframe),
    )
    first, last = pl.col("start") // bars, (pl.col("end") - 1) // bars
    cut = (
        slots.with_columns(cell=pl.int_ranges(first, last + 1))
        .explode("cell")
        .select(
            "symbol",
            "cell",
            start=pl.max_horizontal("start", pl.col("cell") * bars),
            end=pl.min_horizontal("end", (pl.col("cell") + 1) * bars),
            # Bars before a cell's edge are another shard's.
            follows=pl.col("follows") & (pl.col("start") >= pl.col("cell") * bars),
        )
    )
    opened = cut.with_columns(
        start=opens_of(cut["start"], timeframe), end=opens_of(cut["end"], timeframe)
    ).sort("symbol", "cell", "start")
    part = pl.int_range(pl.len()).over("symbol", "cell") if apart else pl.lit(0)
    grouped = opened.with_columns(part=part).group_by("symbol", "cell", "part", maintain_order=True)
    told = grouped.agg("start", "end", pl.col("follows").first())
    for symbol, cell, number, starts, ends, follows in told.iter_rows():
        yield Shard(
            symbol=symbol,
            timeframe=timeframe.text,
            cell=cell,
            wanted=tuple(zip(starts, ends, strict=True)),
            follows=follows,
            part=number,
        )
