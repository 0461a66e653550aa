"""Which bars of a window are there, and which are missing: all series of one timeframe at once.

Bars are counted in slots, their numbers on the grid. A market that never closes needs arithmetic
only; of one that closes, the calendar is asked, series by series.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl

from quant_sdk.lakehouse.coverage import expected_only, slots_of
from quant_sdk.seamless.intervals import difference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from quant_sdk.conformance.steps import Steps
    from quant_sdk.conformance.work import Window
    from quant_sdk.lakehouse.calendars import Calendar
    from quant_sdk.lakehouse.timeframe import Timeframe

GAPS: Final = {"symbol": pl.String, "start": pl.Int64, "end": pl.Int64}
"""Runs of slots ``[start, end)``."""

_UTC: Final = pl.Datetime("us", "UTC")


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
    """

    series: pl.DataFrame
    gaps: pl.DataFrame
    empty: pl.DataFrame
    strays: pl.DataFrame


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
    holes = pl.concat([_inner(ts, steps, timeframe), *_edges(spans)])
    holes = _clipped(holes, spans)
    calendars = {symbol: calendar_of(symbol) for symbol in spans["symbol"]}
    gaps = _expected(holes, timeframe, calendars)
    strays = pl.concat([_beyond(ts, spans, timeframe), *_closed(ts, spans, timeframe, calendars)])
    gaps, empty = _verified(gaps, window, timeframe)
    return Completeness(
        series=_counted(spans, gaps, empty, strays, calendars).with_columns(
            behind=_behind(spans, timeframe, window, calendars)
        ),
        gaps=gaps,
        empty=empty,
        strays=strays,
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


def _expected(
    holes: pl.DataFrame, timeframe: Timeframe, calendars: Mapping[str, Calendar]
) -> pl.DataFrame:
    """Cut the holes of markets that close down to the bars that their calendar expects."""
    closing = [name for name, calendar in calendars.items() if not calendar.always_open]
    if not closing or holes.is_empty():
        return holes
    parts = [holes.filter(~pl.col("symbol").is_in(closing))]
    for symbol in closing:
        own = holes.filter(pl.col("symbol") == symbol).select("start", "end")
        wanted = expected_only(own, timeframe, calendars[symbol])
        parts.append(wanted.select(pl.lit(symbol).alias("symbol"), "start", "end"))
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
    ts: pl.Series, spans: pl.DataFrame, timeframe: Timeframe, calendars: Mapping[str, Calendar]
) -> list[pl.DataFrame]:
    """Return the bars within the window that open and end while their market is closed."""
    found = []
    for symbol, row, rows, low, high in spans.select(
        "symbol", "row", "rows", "low", "high"
    ).iter_rows():
        if calendars[symbol].always_open or not rows:
            continue
        own = ts.slice(row, rows)
        open_ = calendars[symbol].expected(pl.col("ts"), timeframe)
        shut = own.filter(~pl.DataFrame({"ts": own}).select(open_).to_series())
        slots = slots_of(shut.to_physical(), timeframe)
        found.append(_strays(slots.filter((slots >= low) & (slots < high)), symbol))
    return found


def _strays(slots: pl.Series, symbol: str) -> pl.DataFrame:
    return pl.DataFrame({"slot": slots.cast(pl.Int64)}).select(
        pl.lit(symbol).alias("symbol"), "slot"
    )


def _verified(
    gaps: pl.DataFrame, window: Window, timeframe: Timeframe
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Part gaps into those that nobody explained, and the verified-empty ones."""
    told = _told(window, timeframe)
    none = pl.DataFrame(schema=GAPS)
    if told.is_empty() or gaps.is_empty():
        return gaps, none
    touched = gaps["symbol"].is_in(told["symbol"].unique().implode())
    rest, empty = [gaps.filter(~touched)], [none]
    for names, own in gaps.filter(touched).group_by("symbol", maintain_order=True):
        spans = list(own["start", "end"].iter_rows())
        cut = sorted(told.filter(symbol=names[0])["start", "end"].iter_rows())
        left = list(difference(spans, cut))
        rest.append(_gaps(str(names[0]), left))
        empty.append(_gaps(str(names[0]), list(difference(spans, left))))
    return pl.concat(rest).sort("symbol", "start"), pl.concat(empty).sort("symbol", "start")


def _told(window: Window, timeframe: Timeframe) -> pl.DataFrame:
    """Return the slots that open in a verified-empty interval."""
    known = window.verified_empty
    if known is None:
        return pl.DataFrame(schema=GAPS)
    own = known.filter(pl.col("timeframe") == timeframe.text)
    starts, ends = (own[name].cast(_UTC).to_physical() for name in ("start", "end"))
    return pl.DataFrame(
        {
            "symbol": own["symbol"].cast(pl.String),
            "start": slots_of(starts - 1, timeframe) + 1,
            "end": slots_of(ends - 1, timeframe) + 1,
        }
    ).filter(pl.col("end") > pl.col("start"))


def _gaps(symbol: str, spans: list[tuple[int, int]]) -> pl.DataFrame:
    return pl.DataFrame([(symbol, *span) for span in spans], schema=GAPS, orient="row")


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


def _behind(
    spans: pl.DataFrame,
    timeframe: Timeframe,
    window: Window,
    calendars: Mapping[str, Calendar],
) -> pl.Series:
    """Count the expected bars after the last one that have closed, verified-empty ones apart."""
    if window.as_of is None:
        return pl.repeat(0, spans.height, eager=True, dtype=pl.Int64)
    late = spans.select(
        "symbol",
        start=pl.coalesce(pl.col("last") + 1, pl.when(pl.col("high") > pl.col("low")).then("low")),
        end=_slot(_last_slot(window, timeframe)),
    )
    late = _expected(late.filter(pl.col("end") > pl.col("start")), timeframe, calendars)
    late, _ = _verified(late, window, timeframe)
    counts = late.group_by("symbol").agg(behind=(pl.col("end") - pl.col("start")).sum())
    return spans.join(counts, on="symbol", how="left", maintain_order="left")["behind"].fill_null(0)
