"""Check the raw bars of one series: good ones sorted and unique, bad ones with rule and reason.

Nothing is lost: ``rows_in == bars.height + quarantined.height + identical_duplicates``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl

from quant_sdk.conformance.rule import Asked, marks, said
from quant_sdk.conformance.rules import (
    FLAT_RUN,
    MAX_RETURN,
    RULES,
    SPIKE_SIGMAS,
    VALUES,
    Rule,
    close_return,
    on_grid,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from quant_sdk.lakehouse.timeframe import Timeframe

BAR_COLUMNS: Final = ("ts", *VALUES)


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckedBars:
    """The rows of one series, each accounted for.

    ``bars``: ts (Datetime us UTC), open, high, low, close, volume (Float64; volume nullable),
    strictly increasing in ts. ``quarantined``: row (UInt32, index in the source), ts, the five
    values, rule, reason (String), sorted by row. ``notes``: counts by name, of things worth a look
    that are never quarantined: ``volume_spike`` (bars whose volume is more than ten standard
    deviations above the mean) and ``flat_close`` (runs of ten equal closes or more).
    """

    bars: pl.DataFrame
    quarantined: pl.DataFrame
    identical_duplicates: int
    notes: Mapping[str, int]
    rows_in: int


def check_bars(raw: pl.DataFrame, timeframe: Timeframe) -> CheckedBars:
    """Divide the rows of one series into good bars, quarantined rows and identical duplicates.

    Args:
        raw: row (UInt32), ts (Datetime us UTC, nullable), open, high, low, close, volume
            (Float64, nullable), in any order.
        timeframe: gives the grid that timestamps must lie on.
    """
    clean, notes = look(raw, timeframe)
    if clean:
        bars, bad, duplicates = raw.select(BAR_COLUMNS), _quarantined(raw.clear(), ()), 0
    else:
        bars, bad, duplicates = _divide(raw, timeframe)
        notes = bars.select(_notes()).row(0, named=True)
    return CheckedBars(
        bars=bars,
        quarantined=bad,
        identical_duplicates=duplicates,
        notes=notes,
        rows_in=raw.height,
    )


def look(raw: pl.DataFrame, timeframe: Timeframe) -> tuple[bool, dict[str, int]]:
    """Tell in one pass whether every row is good and in order, and count what is worth a note.

    The thresholds are those of the preset ``strict-blocking``.
    """
    found = raw.select(_clean(timeframe).alias("clean"), *_notes()).row(0, named=True)
    return bool(found.pop("clean")), found


def _clean(timeframe: Timeframe) -> pl.Expr:
    ts, low, high, volume = (pl.col(name) for name in ("ts", "low", "high", "volume"))
    # NaN sorts above infinity in polars: a finite high that bounds the rest bounds them all.
    ordered = (low > 0) & (high < float("inf"))
    for name in ("open", "close"):
        ordered &= (low <= pl.col(name)) & (pl.col(name) <= high)
    return (
        (ts.null_count() == 0)
        & (ts.diff().dt.total_microseconds().min() > 0).fill_null(value=True)
        & on_grid(timeframe).all()
        & ordered.all(ignore_nulls=False).fill_null(value=False)
        & ((volume >= 0) & (volume < float("inf"))).all()
        & ~(close_return() > MAX_RETURN).any()
    )


def _notes() -> tuple[pl.Expr, ...]:
    volume, close = pl.col("volume"), pl.col("close")
    spikes = volume > volume.mean() + SPIKE_SIGMAS * volume.std()
    # A run starts where the close changes; its length is the way to the next start, or the end.
    starts = pl.arg_where(close.ne_missing(close.shift(1)) | (pl.int_range(pl.len()) == 0))
    lengths = starts.append(pl.len()).diff()
    return (
        spikes.sum().cast(pl.Int64).alias("volume_spike"),
        (lengths >= FLAT_RUN).sum().cast(pl.Int64).alias("flat_close"),
    )


def _divide(raw: pl.DataFrame, timeframe: Timeframe) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    good, twins, bad = raw, 0, []
    asked = Asked(timeframe=timeframe, thresholds={"max_return": MAX_RETURN})
    for rule in RULES:
        prepared = good if rule.prepare is None else rule.prepare(good)
        twins += good.height - prepared.height
        good, failed = _apply(rule, prepared, asked)
        bad.append(failed)
    return good.select(BAR_COLUMNS), _quarantined(raw, bad), twins


def _apply(
    rule: Rule, rows: pl.DataFrame, asked: Asked
) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    """Return the rows that pass, and those that fail with rule and reason."""
    bad = rows.select(bad=marks(rule, asked)).to_series()
    if not bad.any():
        return rows, None
    # A reason may name the row before: it is kept until the reason is written.
    concerned = bad | bad.shift(-1, fill_value=False)
    # polars 2.1 panics in format on a frame of several chunks.
    told = (
        rows.filter(concerned)
        .rechunk()
        .with_columns(rule=pl.lit(rule.id), reason=said(rule, asked))
    )
    return rows.filter(~bad), told.filter(bad.filter(concerned))


def _quarantined(raw: pl.DataFrame, parts: Iterable[pl.DataFrame | None]) -> pl.DataFrame:
    columns = ("row", *BAR_COLUMNS, "rule", "reason")
    none = raw.select(columns[:-2]).clear()
    none = none.with_columns(pl.lit(None, dtype=pl.String).alias(name) for name in columns[-2:])
    found = [part.select(columns) for part in parts if part is not None]
    return pl.concat([none, *found]).sort("row")
