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
    from datetime import datetime

    from quant_sdk.conformance.bars import CheckedBars
    from quant_sdk.lakehouse.table import Table

    Admit = Callable[[pl.DataFrame, Timeframe], CheckedBars]

JUMP: Final = "return_spike"
"""The rule by which a seam is judged."""

_BARS: Final = 10
_DAYS: Final = timedelta(days=10)
_ROW: Final = (*KEY, *VALUES)


def without_jumps(
    overlap: Overlap, frame: pl.DataFrame, standing: pl.DataFrame, bars: Table, admit: Admit
) -> Overlap:
    """Refuse new bars that no usual return leads to or away from, at a seam.

    Where a standing bar is too far above the new one before it, the new one goes.

    Args:
        overlap: a batch, its rows each in one place.
        frame: the batch, with the columns of `bars`.
        standing: the bars of its series that stand between its first time and its last.
        bars: the table.
        admit: checks rows of one timeframe by the rules.
    """
    rows = _in_order(overlap, standing)
    around = _around(bars, frame, rows)
    strips = _strips(_sorted(rows, around) if around.height else rows)
    jumps = list(_jumps(strips, admit)) if strips.height else []
    if not jumps:
        return overlap
    lost = overlap.appended.join(pl.concat(jumps), on=KEY, how="inner", maintain_order="left")
    return replace(
        overlap,
        appended=overlap.appended.join(lost, on=KEY, how="anti", maintain_order="left"),
        conflicting=pl.concat([overlap.conflicting, lost], how="diagonal"),
    )


def _in_order(overlap: Overlap, standing: pl.DataFrame) -> pl.DataFrame:
    """Return what will stand: ``came`` with which source, null for others; ``new`` if added."""
    came = pl.concat(
        getattr(overlap, name).select(*_ROW, came="source", new=pl.lit(name == "appended"))
        for name in ("appended", "corrected", "unchanged", "identical")
    )
    return _sorted(came, standing.join(came, on=KEY, how="anti"))


def _sorted(rows: pl.DataFrame, standing: pl.DataFrame) -> pl.DataFrame:
    stands = standing.select(*_ROW, came=pl.lit(None, dtype=pl.String), new=pl.lit(value=False))
    return pl.concat([rows, stands]).sort("timeframe", "symbol", "ts")


def _is_same_series(by: int) -> pl.Expr:
    """Mark the rows whose neighbour, `by` rows before, is of the same series."""
    alike = (pl.col(name) == pl.col(name).shift(by) for name in ("timeframe", "symbol"))
    return pl.all_horizontal(*alike).fill_null(value=False)


def _around(bars: Table, frame: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the bars just before and after a batch, of series with a new bar at that end."""
    new = rows.with_columns(
        first=pl.col("new") & ~_is_same_series(1), last=pl.col("new") & ~_is_same_series(-1)
    )
    found = [bars.spec.empty]
    if bars.exists():
        for (text,), part in frame.group_by("timeframe"):
            ends = new.filter(pl.col("timeframe") == text)
            first, last = part.select(first=pl.col("ts").min(), last=pl.col("ts").max()).row(0)
            found += _beside(bars, Timeframe.parse(str(text)), first, last, ends)
    return pl.concat(found)


def _beside(
    bars: Table, step: Timeframe, first: datetime, last: datetime, ends: pl.DataFrame
) -> Iterator[pl.DataFrame]:
    """Yield the bars before `first` and after `last`: ten bars or ten days far."""
    slots = (step.slot_of(to_micros(first)) - _BARS, step.slot_of(to_micros(last)) + _BARS)
    begin = min(first - _DAYS, from_micros(step.open_of(slots[0])))
    end = max(last + _DAYS, from_micros(step.open_of(slots[1])))
    opens = pl.col("ts")
    sides = {
        "first": ((begin, first), opens.is_between(begin, first, closed="left")),
        "last": ((last, end), opens.is_between(last, end, closed="right")),
    }
    for side, (reach, there) in sides.items():
        names = ends.filter(side)["symbol"].unique()
        if names.len():
            # The bucket is a folder: without it every file's footer would be read.
            buckets = pl.col("bucket").is_in({bucket_at(at, step) for at in reach})
            own = (pl.col("timeframe") == step.text) & pl.col("symbol").is_in(names.implode())
            yield _chosen(bars, own & buckets & there)


def _chosen(bars: Table, where: pl.Expr) -> pl.DataFrame:
    return bars.read(lambda rows: rows.filter(where).collect())


def _strips(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows on both sides of each seam."""
    # Rows that came together were checked together.
    together = (pl.col("came") == pl.col("came").shift()).fill_null(value=False)
    new = pl.col("new") | pl.col("new").shift(fill_value=False)
    seam = _is_same_series(1) & new & ~together
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
