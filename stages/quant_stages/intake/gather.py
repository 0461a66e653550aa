"""Fetching one shard; pure, so that threads can do it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from quant_sdk.errors import MissingExtra, QuantError, RunCancelled, SourceError
from quant_sdk.lakehouse.symbols import split_symbol
from quant_sdk.lakehouse.timeframe import Timeframe
from quant_sdk.seamless import expected_spans
from quant_sdk.sources.fetch import COLUMNS, Hole, fetch_bars
from quant_sdk.sources.protocol import BarQuery

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from quant_sdk.lakehouse.calendars import Calendar
    from quant_sdk.seamless import Shard
    from quant_sdk.sources.fetch import Fetched
    from quant_sdk.sources.protocol import BarSource
    from quant_sdk.sources.venues import Sources


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """What came of a shard.

    Attributes:
        shard: what was asked for.
        source: the id of the source, empty where the venue has none.
        bars: ts, open, high, low, close, volume, as they came; the bars that were wanted, and
            those just before them.
        holes: dictionaries of symbol, timeframe, start, end, cause, detail, source: expected bars
            that did not come.
        requests: pages that were asked for.
        failures: what pages failed with; a hole that one left begins with its code.
        error: why nothing could be asked for at all.
    """

    shard: Shard
    source: str
    bars: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=COLUMNS))
    holes: tuple[dict[str, Any], ...] = ()
    requests: int = 0
    failures: tuple[SourceError, ...] = ()
    error: QuantError | None = None


class Gatherer:
    """Fetches shards from the venues of their symbols.

    Args:
        sources: gives the source and the caller of a venue.
        calendar_of: the calendar of a symbol; a closed market makes no hole.
        now_us: bars that close later are left out, microseconds since the epoch.
        refused: series to which no bar of these sources may be added, and why.
        goes_on: False when the run is to be cancelled; asked before every page, for a shard may
            have many.
    """

    def __init__(
        self,
        sources: Sources,
        calendar_of: Callable[[str], Calendar],
        now_us: int,
        *,
        refused: Mapping[tuple[str, str], QuantError],
        goes_on: Callable[[], bool],
    ) -> None:
        self._sources = sources
        self._calendar_of = calendar_of
        self._now_us = now_us
        self._refused = refused
        self._goes_on = goes_on

    def gather(self, shard: Shard) -> Gathered:
        """Fetch one shard; a venue that fails leaves a hole, a wrong wish is the shard's error.

        Raises:
            RunCancelled: the run is to be cancelled.
            MissingExtra: the client of the venue is not installed.
        """
        refused = self._refused.get((shard.symbol, shard.timeframe))
        if refused is not None:
            return Gathered(shard=shard, source="", error=refused)
        venue, _ = split_symbol(shard.symbol)
        try:
            source = self._sources.bars(venue)
            return self._fetch(shard, source, venue)
        except (RunCancelled, MissingExtra):
            raise
        except SourceError as error:
            detail = f"{error.code}: {error.message}"
            holes = (
                Hole(
                    symbol=shard.symbol,
                    timeframe=shard.timeframe,
                    start=start,
                    end=end,
                    cause="fetch_failed",
                    detail=detail,
                )
                for start, end in shard.wanted
            )
            return Gathered(
                shard=shard,
                source=venue,
                holes=tuple(self._holes(shard, tuple(holes), venue)),
                failures=(error,),
            )
        except QuantError as error:
            return Gathered(shard=shard, source="", error=error)

    def _fetch(self, shard: Shard, source: BarSource, venue: str) -> Gathered:
        step = Timeframe.parse(shard.timeframe)
        context = source.capabilities.lookback if shard.follows else 0
        spans = [(_back(start, context, step), end) for start, end in shard.wanted]
        query = BarQuery(
            symbol=shard.symbol, timeframe=shard.timeframe, start=spans[0][0], end=spans[-1][1]
        )
        caller = self._sources.caller(venue)
        failures: list[SourceError] = []

        def ask(call: Callable[[], Any]) -> Any:
            if not self._goes_on():
                raise RunCancelled(f"cancelled before the next page of {shard.describe()}")
            try:
                return caller(call)
            except SourceError as error:
                failures.append(error)
                raise

        fetched = fetch_bars(source, query, now_us=self._now_us, caller=ask)
        return Gathered(
            shard=shard,
            source=source.id,
            bars=_within(fetched, spans, query),
            holes=tuple(self._holes(shard, fetched.holes, source.id)),
            requests=fetched.requests,
            failures=tuple(failures),
        )

    def _holes(self, shard: Shard, holes: tuple[Hole, ...], source: str) -> list[dict[str, Any]]:
        """Return the holes within what was wanted, on the calendar."""
        step, calendar = Timeframe.parse(shard.timeframe), self._calendar_of(shard.symbol)
        found = []
        for hole in holes:
            for start, end in shard.wanted:
                for first, last in expected_spans(
                    max(start, hole.start), min(end, hole.end), step, calendar
                ):
                    row = {"symbol": shard.symbol, "timeframe": shard.timeframe}
                    ends = {"start": first, "end": last}
                    said = {"cause": hole.cause, "detail": hole.detail, "source": source}
                    found.append({**row, **ends, **said})
        return found


def _back(start: int, bars: int, timeframe: Timeframe) -> int:
    return timeframe.open_of(timeframe.slot_of(start) - bars)


def _within(fetched: Fetched, spans: list[tuple[int, int]], query: BarQuery) -> pl.DataFrame:
    if spans == [(query.start, query.end)]:
        return fetched.bars
    ts = pl.col("ts").dt.timestamp("us")
    return fetched.bars.filter(
        pl.any_horizontal((ts >= start) & (ts < end) for start, end in spans)
    )
