"""Seams: places where new bars come to stand beside bars that they did not come with.

A source is checked by itself before it is published; whether its bars go on from those of another
source, or from those that stand, shows only here.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import polars as pl

from quant_sdk.lakehouse.buckets import bucket_at
from quant_sdk.lakehouse.overlap import KEY, VALUES, Overlap
from quant_sdk.lakehouse.timeframe import Timeframe, from_micros, to_micros

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from quant_sdk.conformance.bars import CheckedBars

    Admit = Callable[[pl.DataFrame, Timeframe], CheckedBars]

JUMP: Final = "return_spike"
"""The rule by which a seam is judged."""

_BARS: Final = 10
_DAYS: Final = timedelta(days=10)
_ROW: Final = (*KEY, *VALUES)


def beside(bars: pl.LazyFrame, frame: pl.DataFrame) -> pl.DataFrame:
    """Return the standing bars just before and after those of `frame`: ten bars or ten days far.

    Args:
        bars: the table.
        frame: rows with the columns of `bars`.
    """
    return pl.concat(
        _beside(bars, part) for part in frame.partition_by("timeframe", maintain_order=True)
    )


def _beside(bars: pl.LazyFrame, part: pl.DataFrame) -> pl.DataFrame:
    step = Timeframe.parse(part["timeframe"][0])
    low, high = to_micros(part["ts"].min()), to_micros(part["ts"].max())  # type: ignore[arg-type]
    first, last = from_micros(low), from_micros(high)
    begin = min(first - _DAYS, from_micros(step.open_of(step.slot_of(low) - _BARS)))
    end = max(last + _DAYS, from_micros(step.open_of(step.slot_of(high) + _BARS)))
    ts, names = pl.col("ts"), part["symbol"].unique()
    return bars.filter(
        pl.col("timeframe") == step.text,
        # The bucket is a folder: without it every file's footer would be read.
        pl.col("bucket").is_in({bucket_at(at, step) for at in (begin, first, last, end)}),
        pl.col("symbol").is_in(names.implode()),
        ts.is_between(begin, end) & ~ts.is_between(first, last),
    ).collect()


def without_jumps(overlap: Overlap, standing: pl.DataFrame, admit: Admit) -> Overlap:
    """Refuse new bars that no usual return leads to or away from, at a seam.

    Where a standing bar is too far above the new one before it, the new one goes.

    Args:
        overlap: a batch, its rows each in one place.
        standing: the bars that stand where the batch has rows, between them and beside them.
        admit: checks rows of one timeframe by the rules.
    """
    strips = _strips(overlap, standing)
    jumps = list(_jumps(strips, admit)) if strips.height else []
    if not jumps:
        return overlap
    lost = overlap.appended.join(pl.concat(jumps), on=KEY, how="inner", maintain_order="left")
    return replace(
        overlap,
        appended=overlap.appended.join(lost, on=KEY, how="anti", maintain_order="left"),
        conflicting=pl.concat([overlap.conflicting, lost], how="diagonal"),
    )


def _strips(overlap: Overlap, standing: pl.DataFrame) -> pl.DataFrame:
    """Return the rows on both sides of each seam, sorted; ``new`` tells which would be added."""
    came = pl.concat(
        getattr(overlap, name).select(*_ROW, came="source", new=pl.lit(name == "appended"))
        for name in ("appended", "corrected", "unchanged", "identical")
    )
    stands = standing.join(came, on=KEY, how="anti").select(
        *_ROW, came=pl.lit(None, dtype=pl.String), new=pl.lit(value=False)
    )
    rows: pl.DataFrame = pl.concat([came, stands]).sort("timeframe", "symbol", "ts")
    alike = [pl.col(name) == pl.col(name).shift() for name in ("timeframe", "symbol")]
    # Rows that came together were checked together.
    together = (pl.col("came") == pl.col("came").shift()).fill_null(value=False)
    new = pl.col("new") | pl.col("new").shift(fill_value=False)
    seam = pl.all_horizontal(*alike, new, ~together).fill_null(value=False)
    return rows.filter(seam | seam.shift(-1, fill_value=False))


def _jumps(strips: pl.DataFrame, admit: Admit) -> Iterator[pl.DataFrame]:
    """Yield the keys of the new bars to refuse, with rule and reason."""
    for part in strips.partition_by("timeframe", maintain_order=True):
        rows = part.with_row_index("row")
        step = Timeframe.parse(part["timeframe"][0])
        checked = admit(rows.drop("timeframe", "came", "new"), step)
        bad = checked.quarantined.filter(pl.col("rule") == JUMP).select("row", "rule", "reason")
        new = rows["new"].gather(bad["row"])
        at = pl.when(new).then(pl.col("row")).otherwise(pl.col("row").cast(pl.Int64) - 1)
        placed = bad.with_columns(row=at.cast(pl.UInt32))
        yield rows.filter("new").join(placed, on="row").select(*KEY, "rule", "reason")
