"""Coverage of series, computed from the bars: what is there, what is missing, and where.

The scan looks at steps between neighbouring bars. Only a gap of a market that closes is laid out
bar by bar, in bounded pieces, to ask the calendar which of its bars are expected.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

import polars as pl

from quant_sdk.lakehouse.calendars import Calendar, calendar_for
from quant_sdk.lakehouse.specs import UTC_MICROS
from quant_sdk.lakehouse.timeframe import Timeframe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SERIES: Final = ("symbol", "timeframe")
_PIECE: Final = 1_000_000
_MOST_RUNS: Final = 50_000


class Gap(NamedTuple):
    """A half-open ``[start, end)`` in UTC of which every bar is expected and missing.

    ``cause`` says why, where a source was asked: ``verified_empty``, ``not_listed_yet``,
    ``unknown_symbol``, ``fetch_failed``, ``no_progress``, ``quarantined``; empty where nobody has.
    """

    start: datetime
    end: datetime
    missing: int
    cause: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class SeriesCoverage:
    """What is known of one series between its first and its last bar (both inclusive).

    ``present`` counts distinct bars, ``expected`` the bars the calendar asks for, ``missing`` the
    expected ones that are absent, ``outside`` the present ones that nobody expected:
    ``expected == present - outside + missing``. ``verified_empty`` counts the missing ones of
    which a source says that there are none. Intervals before the first bar and after the last one
    count where a source was asked for them; a series of which nothing came has no first bar.
    """

    symbol: str
    timeframe: str
    calendar: str
    first: datetime | None
    last: datetime | None
    expected: int
    present: int
    missing: int
    outside: int
    gaps: tuple[Gap, ...]
    verified_empty: int = 0


def coverage(
    frame: pl.DataFrame | pl.LazyFrame, calendar_of: Callable[[str], Calendar] = calendar_for
) -> list[SeriesCoverage]:
    """Return the coverage of each series in ``frame``, sorted by symbol and timeframe.

    Args:
        frame: ``symbol``, ``timeframe`` (text) and ``ts`` (Datetime, UTC, no nulls); any row
            order, though runs of one series in time order are several times faster.
        calendar_of: gives the calendar of a symbol.

    Raises:
        InvalidInput: a timeframe or symbol in the frame is malformed.
    """
    bars = frame.lazy().select(*SERIES, pl.col("ts").dt.cast_time_unit("us")).collect()
    found = [
        _of_series(symbol, Timeframe.parse(timeframe), ts, calendar_of(symbol))
        for symbol, timeframe, ts in _series(bars)
    ]
    return sorted(found, key=lambda each: (each.symbol, each.timeframe))


def _series(bars: pl.DataFrame) -> Iterator[tuple[str, str, pl.Series]]:
    """Yield symbol, timeframe and instants (Int64 us) of each series."""
    if bars.is_empty():
        return
    starts = _boundaries(bars)
    if len(starts) > _MOST_RUNS:
        parts = bars.partition_by(SERIES, as_dict=True, include_key=False)
        runs = {names: [part["ts"]] for names, part in parts.items()}
    else:
        runs = _runs_of(bars, starts)
    for (symbol, timeframe), pieces in runs.items():
        yield str(symbol), str(timeframe), pl.concat(pieces).to_physical()


def _runs_of(bars: pl.DataFrame, starts: list[int]) -> dict[tuple[object, ...], list[pl.Series]]:
    names = bars.select(SERIES)[starts].iter_rows()
    runs: dict[tuple[object, ...], list[pl.Series]] = {}
    for start, end, name in zip(starts, [*starts[1:], bars.height], names, strict=True):
        runs.setdefault(name, []).append(bars["ts"].slice(start, end - start))
    return runs


def _boundaries(bars: pl.DataFrame) -> list[int]:
    """Return the row at which each run of one series starts."""
    changes = [pl.col(name).ne_missing(pl.col(name).shift(1)) for name in SERIES]
    rows = bars.select(pl.arg_where(pl.any_horizontal(changes))).to_series().to_list()
    return sorted({0, *rows})


def _of_series(
    symbol: str, timeframe: Timeframe, ts: pl.Series, calendar: Calendar
) -> SeriesCoverage:
    bars = _distinct(ts, timeframe)
    gaps = _gaps(bars, timeframe)
    outside = 0
    if not calendar.always_open:
        gaps = expected_only(gaps, timeframe, calendar)
        outside = bars.len() - _expected(bars, timeframe, calendar)
    missing = int((gaps["end"] - gaps["start"]).sum())
    first, last = (_instant(timeframe.floor(int(bars[at]))) for at in (0, -1))
    return SeriesCoverage(
        symbol=symbol,
        timeframe=timeframe.text,
        calendar=calendar.name,
        first=first,
        last=last,
        expected=bars.len() - outside + missing,
        present=bars.len(),
        missing=missing,
        outside=outside,
        gaps=_as_gaps(gaps, timeframe),
    )


def _distinct(ts: pl.Series, timeframe: Timeframe) -> pl.Series:
    """Return the instants (Int64 us) strictly increasing, one a bar; a stray one is floored."""
    step = timeframe.micros
    steps = ts.diff().drop_nulls()
    if step is not None and not (steps <= 0).any():
        odd = steps.filter(steps != step)
        if not (odd % step != 0).any():
            return ts
    return opens_of(slots_of(ts, timeframe).unique().sort(), timeframe)


def _gaps(bars: pl.Series, timeframe: Timeframe) -> pl.DataFrame:
    """Return the holes between neighbouring bars as slots, ``start`` and ``end`` (Int64)."""
    step = timeframe.micros
    if step is None:
        before = slots_of(bars, timeframe)
        after = before.shift(-1)
    else:
        rows = (bars.diff() > step).arg_true()
        after = slots_of(bars.gather(rows), timeframe)
        before = slots_of(bars.gather(rows - 1), timeframe)
    holes = pl.DataFrame({"start": before + 1, "end": after})
    return holes.filter(pl.col("end") > pl.col("start"))


def _expected(bars: pl.Series, timeframe: Timeframe, calendar: Calendar) -> int:
    opening = pl.col("ts").cast(UTC_MICROS)
    frame = pl.DataFrame({"ts": bars})
    return int(frame.select(calendar.expected(opening, timeframe).sum()).item())


def expected_only(gaps: pl.DataFrame, timeframe: Timeframe, calendar: Calendar) -> pl.DataFrame:
    """Cut the gaps of one series (slots: ``start``, ``end``) down to runs of expected bars."""
    runs = [_runs(piece, timeframe, calendar) for piece in _pieces(gaps)]
    if not runs:
        return gaps
    every = pl.concat(runs)
    return _joined(every)


def _pieces(gaps: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Return the gaps in batches of about a million bars, the longer ones cut."""
    starts = pl.int_ranges("start", "end", _PIECE)
    cut = gaps.with_columns(at=starts, stop="end").explode("at")
    bounded = cut.select(
        start="at", end=pl.min_horizontal(pl.col("at") + _PIECE, "stop")
    ).with_columns(batch=(pl.col("end") - pl.col("start")).cum_sum() // _PIECE)
    for batch in bounded.partition_by("batch", maintain_order=True):
        yield batch.select("start", "end")


def _runs(gaps: pl.DataFrame, timeframe: Timeframe, calendar: Calendar) -> pl.DataFrame:
    slots = gaps.select(slot=pl.int_ranges("start", "end").explode())["slot"]
    opening = pl.col("ts").cast(UTC_MICROS)
    bars = pl.DataFrame({"slot": slots, "ts": opens_of(slots, timeframe)})
    wanted = bars.filter(calendar.expected(opening, timeframe))
    return _joined(wanted.select(start="slot", end=pl.col("slot") + 1))


def _joined(runs: pl.DataFrame) -> pl.DataFrame:
    """Join neighbours that touch; present bars keep different gaps apart."""
    begins = pl.col("start").ne_missing(pl.col("end").shift(1))
    grouped = runs.group_by(begins.cum_sum().alias("run"), maintain_order=True)
    return grouped.agg(pl.col("start").first(), pl.col("end").last()).select("start", "end")


def slots_of(ts: pl.Series, timeframe: Timeframe) -> pl.Series:
    """The column's form of `Timeframe.slot_of`, Int64."""
    if timeframe.micros is not None:
        return (ts - timeframe.origin) // timeframe.micros
    when = ts.cast(UTC_MICROS)
    months = (when.dt.year().cast(pl.Int64) - 1970) * 12 + when.dt.month() - 1
    return months // timeframe.count


def opens_of(slots: pl.Series, timeframe: Timeframe) -> pl.Series:
    """The column's form of `Timeframe.open_of`, Int64 us."""
    if timeframe.micros is not None:
        return slots * timeframe.micros + timeframe.origin
    opens = [timeframe.open_of(slot) for slot in slots]
    return pl.Series(opens, dtype=pl.Int64)


def _as_gaps(gaps: pl.DataFrame, timeframe: Timeframe) -> tuple[Gap, ...]:
    starts, ends = (opens_of(gaps[name], timeframe).cast(UTC_MICROS) for name in ("start", "end"))
    counts = gaps["end"] - gaps["start"]
    return tuple(map(Gap, starts, ends, counts))


def _instant(micros: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=micros)
