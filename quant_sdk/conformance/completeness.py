"""Which bars of a window are there, and which are missing: all series of one timeframe at once.

Bars are counted in slots, their numbers on the grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from quant_sdk.conformance.openings import Openings, openings
from quant_sdk.conformance.verified import GAPS, without_empty
from quant_sdk.lakehouse.coverage import slots_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from quant_sdk.conformance.steps import Steps
    from quant_sdk.conformance.work import Window
    from quant_sdk.lakehouse.calendars import Calendar
    from quant_sdk.lakehouse.timeframe import Timeframe

    _Markets = Sequence[tuple[Openings, list[str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Completeness:
    """The bars of each series against its calendar.

    Attributes:
        series: a row a symbol, sorted: ``symbol``, ``calendar``, ``first``, ``last`` (slots of the
            first and the last bar, null where there is none), ``low``, ``high`` (the slots
            ``[low, high)`` that were looked at), ``present``, ``outside``, ``missing``,
            ``verified_empty``, ``behind``.
        gaps: `GAPS` of missing bars of which nobody said that there are none.
        empty: `GAPS` of verified-empty ones.
        strays: ``symbol``, ``slot`` of bars that nobody expected.
        markets: the openings of each calendar, and the symbols that it is for.
    """

    series: pl.DataFrame
    gaps: pl.DataFrame
    empty: pl.DataFrame
    strays: pl.DataFrame
    markets: Sequence[tuple[Openings, list[str]]]


def completeness(  # noqa: PLR0913  bars, their grid, and what they are held against
    ts: pl.Series,
    steps: Steps,
    timeframe: Timeframe,
    *,
    window: Window,
    calendar_of: Callable[[str], Calendar],
    also: Iterable[str] = (),
) -> Completeness:
    """Return what is there of each series, and what is missing.

    Args:
        ts: Datetime us UTC on the grid, sorted by series and time, each once.
        steps: of these rows.
        timeframe: the grid.
        window: what to look at.
        calendar_of: the calendar of a symbol.
        also: symbols to be looked at, whether there are bars of them or not.
    """
    spans = _spans(ts, steps, timeframe, also)
    spans = _looked_at(spans, timeframe, window)
    calendars = {symbol: calendar_of(symbol) for symbol in spans["symbol"]}
    late = _late(spans, timeframe, window)
    looked = spans.select("symbol", start="low", end="high")
    markets = openings(calendars, timeframe, pl.concat([looked, late]))
    holes = pl.concat([_inner(ts, steps, timeframe), *_edges(spans)])
    gaps = _expected(_clipped(holes, spans), markets)
    strays = pl.concat([_beyond(ts, spans, timeframe), *_closed(ts, spans, timeframe, markets)])
    gaps, empty = without_empty(gaps, window, timeframe)
    return Completeness(
        series=_counted(spans, gaps, empty, strays, calendars).with_columns(
            behind=_behind(spans, late, timeframe, window, markets)
        ),
        gaps=gaps,
        empty=empty,
        strays=strays,
        markets=markets,
    )


def _spans(ts: pl.Series, steps: Steps, timeframe: Timeframe, also: Iterable[str]) -> pl.DataFrame:
    """Return of each series its rows, its first and its last slot, null where it has no rows."""
    starts = steps.starts.cast(pl.Int64)
    ends = starts.shift(-1, fill_value=ts.len())
    physical = ts.to_physical()
    spans = pl.DataFrame(
        {
            "symbol": steps.names,
            "row": starts,
            "rows": ends - starts,
            "first": slots_of(physical.gather(starts), timeframe),
            "last": slots_of(physical.gather(ends - 1), timeframe),
        }
    )
    absent = sorted(set(also) - set(steps.names))
    if not absent:
        return spans
    nothing = pl.DataFrame({"symbol": absent}, schema={"symbol": pl.String}).with_columns(
        row=pl.lit(0, dtype=pl.Int64), rows=pl.lit(0, dtype=pl.Int64)
    )
    return pl.concat([spans, nothing], how="diagonal").sort("symbol")


def _looked_at(spans: pl.DataFrame, timeframe: Timeframe, window: Window) -> pl.DataFrame:
    """Add the slots ``[low, high)`` to be looked at; none where a series has neither end."""
    low, high = pl.col("first"), pl.col("last") + 1
    if window.start is not None:
        low = _slot(timeframe.slot_of(window.start - 1) + 1)
    if window.end is not None:
        high = _slot(_last_slot(window, timeframe))
    known = spans.with_columns(low=low, high=high)
    bounded = known.with_columns(low=pl.coalesce("low", "high", _slot(0)))
    return bounded.with_columns(high=pl.max_horizontal("low", pl.coalesce("high", "low")))


def _slot(number: int) -> pl.Expr:
    return pl.lit(number, dtype=pl.Int64)


def _last_slot(window: Window, timeframe: Timeframe) -> int:
    """Return the slot after the last one that is expected in the window."""
    ends = [] if window.end is None else [timeframe.slot_of(window.end - 1) + 1]
    closed = [] if window.as_of is None else [timeframe.slot_of(window.as_of)]
    return min([*ends, *closed])


def _inner(ts: pl.Series, steps: Steps, timeframe: Timeframe) -> pl.DataFrame:
    """Return the slots between neighbouring bars of one series."""
    late = ~steps.begins if timeframe.micros is None else ~steps.begins & (steps.steps > 0)
    at = steps.at.filter(late)
    physical = ts.to_physical()
    places = pl.DataFrame({"run": steps.begins.cum_sum() - 1}).filter(late)["run"]
    found = pl.DataFrame(
        {
            "symbol": steps.names.gather(places),
            "start": slots_of(physical.gather(at - 1), timeframe) + 1,
            "end": slots_of(physical.gather(at), timeframe),
        }
    )
    return found.filter(pl.col("end") > pl.col("start"))


def _edges(spans: pl.DataFrame) -> list[pl.DataFrame]:
    """Return the slots of the window before the first bar and after the last one."""
    before = spans.select("symbol", start="low", end=pl.min_horizontal("high", "first"))
    after = spans.drop_nulls("last").select(
        "symbol", start=pl.max_horizontal("low", pl.col("last") + 1), end="high"
    )
    return [part.filter(pl.col("end") > pl.col("start")) for part in (before, after)]


def _clipped(holes: pl.DataFrame, spans: pl.DataFrame) -> pl.DataFrame:
    if holes.is_empty():
        return holes
    bounded = holes.join(spans.select("symbol", "low", "high"), on="symbol", how="left")
    cut = bounded.select(
        "symbol",
        start=pl.max_horizontal("start", "low"),
        end=pl.min_horizontal("end", "high"),
    )
    return cut.filter(pl.col("end") > pl.col("start")).sort("symbol", "start")


def _expected(holes: pl.DataFrame, markets: _Markets) -> pl.DataFrame:
    """Cut the holes of markets that close down to the bars that their calendar expects."""
    if holes.is_empty() or all(market.calendar.always_open for market, _ in markets):
        return holes
    parts = []
    for market, symbols in markets:
        own = holes.filter(pl.col("symbol").is_in(symbols))
        parts.append(own if market.calendar.always_open else market.cut(own))
    return pl.concat(parts).sort("symbol", "start")


def _beyond(ts: pl.Series, spans: pl.DataFrame, timeframe: Timeframe) -> pl.DataFrame:
    """Return the bars before and after the window."""
    found = [_strays(pl.Series([], dtype=pl.Int64), "")]
    wide = spans.filter((pl.col("first") < pl.col("low")) | (pl.col("last") >= pl.col("high")))
    for symbol, row, rows, low, high in wide.select(
        "symbol", "row", "rows", "low", "high"
    ).iter_rows():
        slots = slots_of(ts.slice(row, rows).to_physical(), timeframe)
        found.append(_strays(slots.filter((slots < low) | (slots >= high)), symbol))
    return pl.concat(found)


def _closed(
    ts: pl.Series, spans: pl.DataFrame, timeframe: Timeframe, markets: _Markets
) -> Iterator[pl.DataFrame]:
    """Yield the bars within the window that open and end while their market is closed."""
    for market, symbols in markets:
        if market.calendar.always_open:
            continue
        own = spans.filter(pl.col("symbol").is_in(symbols), pl.col("rows") > 0)
        for symbol, row, rows, low, high in own.select(
            "symbol", "row", "rows", "low", "high"
        ).iter_rows():
            slots = slots_of(ts.slice(row, rows).to_physical(), timeframe)
            shut = slots.filter(~market.holds(slots))
            if shut.len():
                yield _strays(shut.filter((shut >= low) & (shut < high)), symbol)


def _strays(slots: pl.Series, symbol: str) -> pl.DataFrame:
    return pl.DataFrame({"slot": slots.cast(pl.Int64)}).select(
        pl.lit(symbol).alias("symbol"), "slot"
    )


def _counted(
    spans: pl.DataFrame,
    gaps: pl.DataFrame,
    empty: pl.DataFrame,
    strays: pl.DataFrame,
    calendars: Mapping[str, Calendar],
) -> pl.DataFrame:
    length = (pl.col("end") - pl.col("start")).sum()
    counts = {
        "unexplained": (gaps, length),
        "verified_empty": (empty, length),
        "outside": (strays, pl.len().cast(pl.Int64)),
    }
    series = spans.rename({"rows": "present"})
    for name, (rows, count) in counts.items():
        if rows.is_empty():
            series = series.with_columns(pl.lit(0, dtype=pl.Int64).alias(name))
            continue
        told = rows.group_by("symbol").agg(count.alias(name))
        series = series.join(told, on="symbol", how="left", maintain_order="left")
    names = {symbol: calendar.name for symbol, calendar in calendars.items()}
    return series.with_columns(
        pl.col("unexplained", "verified_empty", "outside").fill_null(0),
        calendar=pl.col("symbol").replace_strict(names, return_dtype=pl.String),
    ).with_columns(missing=pl.col("unexplained") + pl.col("verified_empty"))


def _late(spans: pl.DataFrame, timeframe: Timeframe, window: Window) -> pl.DataFrame:
    """Return the slots after the last bar of each series that have closed."""
    if window.as_of is None:
        return pl.DataFrame(schema=GAPS)
    late = spans.select(
        "symbol",
        start=pl.coalesce(pl.col("last") + 1, pl.when(pl.col("high") > pl.col("low")).then("low")),
        end=_slot(_last_slot(window, timeframe)),
    )
    return late.filter(pl.col("end") > pl.col("start"))


def _behind(
    spans: pl.DataFrame, late: pl.DataFrame, timeframe: Timeframe, window: Window, markets: _Markets
) -> pl.Series:
    """Count the expected bars among the late ones, verified-empty ones apart."""
    wanted, _ = without_empty(_expected(late, markets), window, timeframe)
    counts = wanted.group_by("symbol").agg(behind=(pl.col("end") - pl.col("start")).sum())
    return spans.join(counts, on="symbol", how="left", maintain_order="left")["behind"].fill_null(0)
