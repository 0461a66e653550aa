"""Where incoming bars meet standing ones: new, the same, a correction, or another source's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl

from quant_sdk.lakehouse.specs import BARS

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY: Final = ("symbol", "timeframe", "ts")
VALUES: Final = ("open", "high", "low", "close", "volume")
RULE: Final = "overlap_conflict"


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """The rows of a batch, each in one place.

    Attributes:
        appended: no bar stood there; the columns of `bars`.
        corrected: they replace a bar; the columns of `bars` and ``old_*``, ``old_source``.
        unchanged: their source brought the same bar before.
        identical: another source brought the same bar.
        conflicting: another source's bar stands and wins, or stands beside it at a distance that
            no usual return goes; with ``rule``, ``reason``.
    """

    appended: pl.DataFrame
    corrected: pl.DataFrame
    unchanged: pl.DataFrame
    identical: pl.DataFrame
    conflicting: pl.DataFrame

    def counts(self) -> dict[tuple[str, str], dict[str, int]]:
        """Return per source and timeframe how many of its rows are in each place."""
        found: dict[tuple[str, str], dict[str, int]] = {}
        for name in ("appended", "corrected", "unchanged", "identical", "conflicting"):
            frame: pl.DataFrame = getattr(self, name)
            if frame.height:
                counted = frame.group_by("source", "timeframe").len()
                for source, timeframe, count in counted.iter_rows():
                    found.setdefault((source, timeframe), {})[name] = count
        return found

    def old_values(self) -> pl.DataFrame:
        """Return the bars that the corrections replace, under the source that corrects them."""
        return self.corrected.select(
            *KEY, "source", *(pl.col(f"old_{name}").alias(name) for name in VALUES)
        )


def resolve(frame: pl.DataFrame, standing: pl.DataFrame, rank: Mapping[str, int]) -> Overlap:
    """Weigh incoming bars against the standing ones.

    Args:
        frame: incoming bars with the columns of `bars`; keys are unique.
        standing: the bars of the table where `frame` may have some.
        rank: precedence of sources, lower first; one without a rank is never overruled.
    """
    old = standing.select(
        *KEY,
        *(pl.col(name).alias(f"old_{name}") for name in VALUES),
        pl.col("source").alias("old_source"),
    )
    if not old.height:
        nothing = frame.clear().join(old, on=KEY, how="left")
        return Overlap(
            appended=frame,
            corrected=nothing,
            unchanged=nothing,
            identical=nothing,
            conflicting=_conflicts(nothing),
        )
    met = frame.join(old, on=KEY, how="left", maintain_order="left")
    same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"old_{name}")) for name in VALUES)
    own = pl.col("source") == pl.col("old_source")
    place = (
        pl.when(pl.col("old_source").is_null())
        .then(pl.lit("appended"))
        .when(same)
        .then(pl.when(own).then(pl.lit("unchanged")).otherwise(pl.lit("identical")))
        .when(own | (_rank("source", rank) < _rank("old_source", rank)))
        .then(pl.lit("corrected"))
        .otherwise(pl.lit("conflicting"))
    )
    placed = met.with_columns(place=place)
    parts = {
        name: placed.filter(pl.col("place") == name).drop("place")
        for name in ("appended", "corrected", "unchanged", "identical", "conflicting")
    }
    return Overlap(
        appended=parts["appended"].select(list(BARS.columns)),
        corrected=parts["corrected"],
        unchanged=parts["unchanged"],
        identical=parts["identical"],
        conflicting=_conflicts(parts["conflicting"]),
    )


def _rank(column: str, rank: Mapping[str, int]) -> pl.Expr:
    return pl.col(column).replace_strict(rank, default=-1, return_dtype=pl.Int64)


def _conflicts(rows: pl.DataFrame) -> pl.DataFrame:
    """Name for each losing row the bar that stands; such a row is known by its opening time."""
    # polars 2.1 panics in format on a frame of several chunks.
    return rows.rechunk().with_columns(
        rule=pl.lit(RULE),
        reason=pl.format(
            "{} holds close {} there and wins over {}", "old_source", "old_close", "close"
        ),
    )
