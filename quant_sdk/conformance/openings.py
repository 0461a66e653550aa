"""The slots that a calendar expects, as runs: laid out once for all series that trade by it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from quant_sdk.lakehouse.coverage import expected_only

if TYPE_CHECKING:
    from collections.abc import Mapping

    from quant_sdk.lakehouse.calendars import Calendar
    from quant_sdk.lakehouse.timeframe import Timeframe


class Openings:
    """The expected slots of one calendar on one grid, within what is asked about.

    Args:
        calendar: the calendar.
        timeframe: the grid.
        reach: the slots ``[start, end)`` (Int64) that are asked about; they may overlap.
    """

    def __init__(self, calendar: Calendar, timeframe: Timeframe, reach: pl.DataFrame) -> None:
        self.calendar = calendar
        whole = _joined(reach)
        if not calendar.always_open:
            whole = expected_only(whole, timeframe, calendar)
        self._starts, self._ends = whole["start"], whole["end"]
        lengths = self._ends - self._starts
        self._before = lengths.cum_sum() - lengths

    def holds(self, slots: pl.Series) -> pl.Series:
        """Tell which slots (Int64) are expected."""
        if self._starts.is_empty():
            return pl.repeat(value=False, n=slots.len(), eager=True)
        run = self._run(slots)
        return (run >= 0) & (slots < self._ends.gather(run.clip(0)))

    def count(self, start: pl.Series, end: pl.Series) -> pl.Series:
        """Count the expected slots in each of the intervals ``[start, end)`` (Int64)."""
        return self._until(end) - self._until(start)

    def cut(self, holes: pl.DataFrame) -> pl.DataFrame:
        """Cut intervals (``symbol``, ``start``, ``end``) down to runs of expected slots."""
        first = self._ends.search_sorted(holes["start"], side="right")
        last = self._starts.search_sorted(holes["end"], side="left")
        pieces = (
            holes.with_columns(first=first, last=last)
            .filter(pl.col("first") < pl.col("last"))
            .with_columns(run=pl.int_ranges("first", "last"))
            .explode("run")
        )
        begins, ends = self._starts.gather(pieces["run"]), self._ends.gather(pieces["run"])
        return pieces.select(
            "symbol",
            start=pl.max_horizontal("start", begins.alias("_begins")),
            end=pl.min_horizontal("end", ends.alias("_ends")),
        )

    def _until(self, slots: pl.Series) -> pl.Series:
        """Count the expected slots before each slot."""
        if self._starts.is_empty():
            return pl.repeat(0, slots.len(), eager=True, dtype=pl.Int64)
        run = self._run(slots)
        at = run.clip(0)
        frame = pl.DataFrame(
            {
                "run": run,
                "before": self._before.gather(at),
                "within": slots - self._starts.gather(at),
                "length": self._ends.gather(at) - self._starts.gather(at),
            }
        )
        found = pl.col("before") + pl.min_horizontal("within", "length")
        return frame.select(pl.when(pl.col("run") < 0).then(0).otherwise(found)).to_series()

    def _run(self, slots: pl.Series) -> pl.Series:
        """Return the last run that begins at each slot or before it; -1 where there is none."""
        return self._starts.search_sorted(slots, side="right").cast(pl.Int64) - 1


def _joined(reach: pl.DataFrame) -> pl.DataFrame:
    """Return intervals as runs that neither overlap nor touch, sorted."""
    known = reach.select("start", "end").filter(pl.col("end") > pl.col("start")).sort("start")
    apart = (pl.col("start") > pl.col("end").cum_max().shift(1)).fill_null(value=False)
    runs = known.group_by(apart.cum_sum().alias("run"), maintain_order=True)
    return runs.agg(pl.col("start").first(), pl.col("end").max()).select("start", "end")


def openings(
    calendars: Mapping[str, Calendar], timeframe: Timeframe, reach: pl.DataFrame
) -> list[tuple[Openings, list[str]]]:
    """Return for each calendar its openings, and the symbols that it is for.

    Args:
        calendars: by symbol; symbols that share the object share its openings.
        timeframe: the grid.
        reach: the slots ``symbol``, ``start``, ``end`` (Int64) that are asked about; the times of
            one symbol are not laid out for those of another calendar, nor what lies between.
    """
    groups: dict[int, tuple[Calendar, list[str]]] = {}
    for symbol, calendar in calendars.items():
        groups.setdefault(id(calendar), (calendar, []))[1].append(symbol)
    return [
        (Openings(calendar, timeframe, reach.filter(pl.col("symbol").is_in(symbols))), symbols)
        for calendar, symbols in groups.values()
    ]
