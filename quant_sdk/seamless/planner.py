"""Planning: which bars of which series are to be asked for, from what the lakehouse holds."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Final

import polars as pl

from quant_sdk.lakehouse.timeframe import Timeframe, from_micros, to_micros
from quant_sdk.seamless.intervals import WINDOWS, expected_spans, missing, outside, without
from quant_sdk.seamless.shard import Shard, shards

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from quant_sdk.lakehouse.calendars import Calendar
    from quant_sdk.lakehouse.lakehouse import Lakehouse
    from quant_sdk.seamless.holes import Holes

DAY: Final = 86_400_000_000
SHARD_BARS: Final = 1_000
LONG_SHARD_BARS: Final = 50_000
"""Bars of a cell where a series is read from end to end: most shards are then one interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A series, and the window of it that is wanted: ``[start, end)``, microseconds."""

    symbol: str
    timeframe: str
    start: int
    end: int

    @classmethod
    def last_days(cls, symbol: str, timeframe: str, days: int, now: datetime) -> Wanted:
        """Return the bars that closed within the last `days`."""
        step, at = Timeframe.parse(timeframe), to_micros(now)
        start = step.floor(at - days * DAY)
        return cls(symbol=symbol, timeframe=timeframe, start=start, end=step.floor(at))


class Planner:
    """Finds the shards to fetch. Reads only.

    Args:
        lakehouse: what is held.
        holes: what need not be asked for.
        calendar_of: the calendar of a symbol.
        now: bars that close later are not wanted.
    """

    def __init__(
        self,
        lakehouse: Lakehouse,
        holes: Holes,
        calendar_of: Callable[[str], Calendar],
        now: datetime,
    ) -> None:
        self._bars = lakehouse.table("bars")
        self._holes = holes
        self._calendar_of = calendar_of
        self._now = now

    def edges(self, wanted: Iterable[Wanted], shard_bars: int = LONG_SHARD_BARS) -> list[Shard]:
        """Return what lies before and after the bars that are held: all of it where none is.

        What failed in between, and is still missing, is asked for too; other gaps are not.
        """
        found: list[Shard] = []
        for timeframe, windows in self._windows(wanted):
            held = self._held(timeframe, windows)
            around = outside(windows, held)
            inner = without(self._failed(timeframe, windows), around)
            asked = pl.concat([around, inner]).sort("symbol", "start")
            asked = self._expected(self._unknown(asked, timeframe), timeframe)
            found += shards(_following(asked, held), timeframe, shard_bars, apart=True)
        return found

    def gaps(self, wanted: Iterable[Wanted], shard_bars: int = SHARD_BARS) -> list[Shard]:
        """Return every missing bar of the windows."""
        found: list[Shard] = []
        for timeframe, windows in self._windows(wanted):
            present = self._bars.scan().filter(pl.col("timeframe") == timeframe.text)
            asked = missing(present, windows, timeframe, self._calendar_of)
            # Bars before the window are nobody's wish; before any other gap stands a bar.
            begins = windows.select("symbol", "start", begins=pl.lit(value=True))
            asked = (
                self._unknown(asked, timeframe)
                .join(begins, on=["symbol", "start"], how="left")
                .with_columns(follows=pl.col("begins").is_null())
            )
            found += shards(asked, timeframe, shard_bars)
        return found

    def _windows(self, wanted: Iterable[Wanted]) -> Iterator[tuple[Timeframe, pl.DataFrame]]:
        """Yield the windows of each timeframe, ended where the last closed bar ends."""
        ordered = sorted(wanted, key=lambda item: (item.timeframe, item.symbol, item.start))
        for text, group in groupby(ordered, key=lambda item: item.timeframe):
            timeframe = Timeframe.parse(text)
            closed = timeframe.floor(to_micros(self._now))
            rows = [(item.symbol, item.start, min(item.end, closed)) for item in group]
            frame = pl.DataFrame(rows, schema=WINDOWS, orient="row")
            yield timeframe, frame.filter(pl.col("start") < pl.col("end"))

    def _held(self, timeframe: Timeframe, windows: pl.DataFrame) -> pl.DataFrame:
        """Return ``symbol``, ``first`` and ``until`` of the series, in microseconds.

        Bars that have not closed do not count: a wrong one would end the asking.
        """
        closed = from_micros(timeframe.floor(to_micros(self._now)))
        ts = pl.col("ts").dt.timestamp("us")
        ends = (
            self._bars.scan()
            .filter(
                pl.col("timeframe") == timeframe.text,
                pl.col("symbol").is_in(windows["symbol"].unique().to_list()),
                pl.col("ts") < closed,
            )
            .group_by("symbol")
            .agg(first=ts.min(), last=ts.max())
            .collect()
        )
        until = [timeframe.open_of(timeframe.slot_of(at) + 1) for at in ends["last"]]
        return ends.select("symbol", "first", until=pl.Series(until, dtype=pl.Int64))

    def _failed(self, timeframe: Timeframe, windows: pl.DataFrame) -> pl.DataFrame:
        """Return the bars of the windows that failed to come, and are not there."""
        failed = (
            windows.join(self._holes.failed(timeframe.text), on="symbol", suffix="_failed")
            .select(
                "symbol",
                start=pl.max_horizontal("start", "start_failed"),
                end=pl.min_horizontal("end", "end_failed"),
            )
            .filter(pl.col("start") < pl.col("end"))
        )
        present = self._bars.scan().filter(pl.col("timeframe") == timeframe.text)
        return missing(present, failed, timeframe, self._calendar_of)

    def _unknown(self, asked: pl.DataFrame, timeframe: Timeframe) -> pl.DataFrame:
        return without(asked, self._holes.believed(timeframe.text, self._now))

    def _expected(self, asked: pl.DataFrame, timeframe: Timeframe) -> pl.DataFrame:
        """Narrow the intervals from their first to their last expected bar; drop those without.

        Closed hours in between cost no request of their own.
        """
        kept = []
        for symbol, start, end in asked.iter_rows():
            spans = expected_spans(start, end, timeframe, self._calendar_of(symbol))
            if spans:
                kept.append((symbol, spans[0][0], spans[-1][1]))
        return pl.DataFrame(kept, schema=WINDOWS, orient="row")


def _following(asked: pl.DataFrame, held: pl.DataFrame) -> pl.DataFrame:
    """Mark the intervals that lie behind a held bar."""
    behind = (pl.col("start") > pl.col("first")).fill_null(value=False)
    ends = held.select("symbol", "first")
    return asked.join(ends, on="symbol", how="left").with_columns(follows=behind)
