"""`CheckedBars`: good bars sorted and unique, bad ones with rule and reason.

Nothing is lost: ``rows_in == bars.height + quarantined.height + identical_duplicates``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl

from quant_sdk.conformance.rules import VALUES, close_return, on_grid
from quant_sdk.conformance.rules.volume_spike import volume_spike

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from quant_sdk.conformance.divided import Divided
    from quant_sdk.conformance.rule import Asked

BAR_COLUMNS: Final = ("ts", *VALUES)
NOTED: Final = ("volume_spike", "flat_close")
"""The notes that are kept with a source."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckedBars:
    """The rows of one series, or of many of one timeframe, each accounted for.

    ``bars``: ts (Datetime us UTC), open, high, low, close, volume (Float64; volume nullable),
    strictly increasing in ts. ``quarantined``: row (UInt32, index in the source), ts, the five
    values, rule, reason (String), sorted by row. Of many series, both have ``symbol`` as their
    first column, and ``bars`` is sorted by symbol and ts. ``notes``: counts of things that are
    worth a look: `NOTED`.
    """

    bars: pl.DataFrame
    quarantined: pl.DataFrame
    identical_duplicates: int
    notes: Mapping[str, int]
    rows_in: int


def checked(rows: pl.DataFrame, divided: Divided, names: Sequence[str]) -> CheckedBars:
    """Return what was divided as frames.

    Args:
        rows: with the columns `names`; ``row`` numbers them.
        divided: the rows, divided.
        names: symbol, if there are several; row; ts and the values.
    """
    refused = rows[divided.refused["at"]].with_columns(divided.refused["rule", "reason"])
    return CheckedBars(
        bars=divided.selection.frame().select(name for name in names if name != "row"),
        quarantined=refused.select(*names, "rule", "reason").sort("row"),
        identical_duplicates=divided.twins.len(),
        notes={name: divided.marks[name].len() if name in divided.marks else 0 for name in NOTED},
        rows_in=rows.height,
    )


def look(raw: pl.DataFrame, asked: Asked) -> tuple[bool, dict[str, int]]:
    """Tell in one pass whether every row is good and in order, and count what is worth a note.

    Args:
        raw: rows of one series.
        asked: the grid and the thresholds of the built-in rules of bars.
    """
    found = raw.select(_clean(asked).alias("clean"), *_notes(asked)).row(0, named=True)
    return bool(found.pop("clean")), found


def _clean(asked: Asked) -> pl.Expr:
    ts, low, high, volume = (pl.col(name) for name in ("ts", "low", "high", "volume"))
    # NaN sorts above infinity in polars: a finite high that bounds the rest bounds them all.
    ordered = (low > 0) & (high < float("inf"))
    for name in ("open", "close"):
        ordered &= (low <= pl.col(name)) & (pl.col(name) <= high)
    return (
        (ts.null_count() == 0)
        & (ts.diff().dt.total_microseconds().min() > 0).fill_null(value=True)
        & on_grid(asked.grid).all()
        & ordered.all(ignore_nulls=False).fill_null(value=False)
        & ((volume >= 0) & (volume < float("inf"))).all()
        & ~(close_return() > asked.limit("max_return")).any()
    )


def _notes(asked: Asked) -> tuple[pl.Expr, ...]:
    close = pl.col("close")
    # A run starts where the close changes; its length is the way to the next start, or the end.
    starts = pl.arg_where(close.ne_missing(close.shift(1)) | (pl.int_range(pl.len()) == 0))
    lengths = starts.append(pl.len()).diff()
    return (
        volume_spike(asked).sum().cast(pl.Int64).alias("volume_spike"),
        (lengths >= int(asked.limit("flat_run"))).sum().cast(pl.Int64).alias("flat_close"),
    )
