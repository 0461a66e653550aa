"""How series stand against the windows that are wanted of them: fresh, and whole or with holes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from quant_registry.clock import iso
from quant_sdk.lakehouse.causes import EMPTY, NOTED, known_causes, with_causes
from quant_sdk.lakehouse.coverage import Gap
from quant_sdk.lakehouse.timeframe import Timeframe, from_micros, to_micros
from quant_sdk.seamless.intervals import WINDOWS, missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from quant_sdk.lakehouse.calendars import Calendar
    from quant_sdk.lakehouse.lakehouse import Lakehouse
    from quant_sdk.seamless.planner import Wanted

UNASKED: Final = "unasked"
"""The cause of a hole of which no source was asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a series lacks of its window, up to the last closed bar.

    Attributes:
        symbol, timeframe: the series.
        start, end: the window, ``[start, end)``.
        gaps: expected bars that are missing, each interval with its cause.
    """

    symbol: str
    timeframe: str
    start: datetime
    end: datetime
    gaps: tuple[Gap, ...]

    @property
    def missing(self) -> dict[str, int]:
        """Missing bars by cause."""
        counts: Counter[str] = Counter()
        for gap in self.gaps:
            counts[gap.cause or UNASKED] += gap.missing
        return dict(sorted(counts.items()))

    @property
    def behind(self) -> int:
        """How many closed bars at its end are missing, those vouched empty left out."""
        behind, at = 0, self.end
        for gap in reversed(self.gaps):
            if gap.end != at:
                break
            behind += 0 if gap.cause in EMPTY else gap.missing
            at = gap.start
        return behind

    def to_dict(self) -> dict[str, Any]:
        """Return the form of reports."""
        return {
            "symbol": self.symbol,
            "timeframe": self.timeframe,
            "start": iso(self.start),
            "end": iso(self.end),
            "behind": self.behind,
            "missing": self.missing,
            "gaps": [
                {
                    "start": iso(gap.start),
                    "end": iso(gap.end),
                    "missing": gap.missing,
                    "cause": gap.cause or UNASKED,
                }
                for gap in self.gaps
            ],
        }


def standings(
    lakehouse: Lakehouse,
    wanted: Iterable[Wanted],
    calendar_of: Callable[[str], Calendar],
    now: datetime,
) -> list[Standing]:
    """Return how each wanted series stands, sorted by timeframe and symbol.

    Args:
        lakehouse: what is held.
        wanted: series with their windows, one a series.
        calendar_of: the calendar of a symbol.
        now: only bars closed by then are expected.
    """
    notes = known_causes([lakehouse.table(name) for name in NOTED], now=now)
    ordered = sorted(wanted, key=lambda item: (item.timeframe, item.symbol))
    found: list[Standing] = []
    for text, group in groupby(ordered, key=lambda item: item.timeframe):
        step = Timeframe.parse(text)
        closed = step.floor(to_micros(now))
        rows = [(item.symbol, item.start, max(item.start, min(item.end, closed))) for item in group]
        windows = pl.DataFrame(rows, schema=WINDOWS, orient="row")
        present = lakehouse.table("bars").scan().filter(pl.col("timeframe") == text)
        absent = dict(_spans(missing(present, windows, step, calendar_of)))
        for symbol, start, end in rows:
            known = notes.get((symbol, text), [])
            gaps = (with_causes(gap, known, step) for gap in _gaps(absent.get(symbol, []), step))
            found.append(
                Standing(
                    symbol=symbol,
                    timeframe=text,
                    start=from_micros(start),
                    end=from_micros(end),
                    gaps=tuple(chain.from_iterable(gaps)),
                )
            )
    return found


def _spans(intervals: pl.DataFrame) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    grouped = intervals.group_by("symbol").agg("start", "end")
    for symbol, starts, ends in grouped.iter_rows():
        yield symbol, sorted(zip(starts, ends, strict=True))


def _gaps(spans: Iterable[tuple[int, int]], step: Timeframe) -> Iterator[Gap]:
    for first, last in spans:
        bars = step.slot_of(last) - step.slot_of(first)
        yield Gap(from_micros(first), from_micros(last), bars)
