"""Each kind of flaw that rows can have: what it does to a frame, and what a check must count then.

A flaw is named by the rule that finds it. Rows are named by their place in the clean frame, held
in the column ``_at`` (Float64), so that rows can be put between others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

import polars as pl

from quant_sdk.conformance.rules import FLAT_RUN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Plant = Callable[[pl.DataFrame, pl.Series], pl.DataFrame]

AT: Final = "_at"
BLOCK: Final = 32
"""Flaws stand at least so many rows apart, and so far from the ends of a series."""

_ROWS_OF_A_SPIKE: Final = 150
_JUMP: Final = 10.0
_SPIKE: Final = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """One kind of flaw.

    Attributes:
        name: the id of the rule that finds it.
        kind: of frames that can have it: ``bars``, ``ticks``, ``quotes``.
        plant: puts it at places (Float64) of a frame that is sorted by them.
        counts: by how much one of it raises the counts of rules.
        quarantined: how many rows a check refuses for one of it.
        identical_duplicates: how many rows a check drops for one of it.
        rows_each: how many rows of its series one of it needs; None: a series can have one only.
        place: within a series, or its last row.
    """

    name: str
    kind: Literal["bars", "ticks", "quotes"]
    plant: Plant
    counts: Mapping[str, int] = field(default_factory=dict)
    quarantined: int = 0
    identical_duplicates: int = 0
    rows_each: int | None = BLOCK
    place: Literal["within", "last"] = "within"


def _here(places: pl.Series, offset: int = 0) -> pl.Expr:
    return pl.col(AT).is_in((places + offset).implode())


def _changed(**values: pl.Expr) -> Plant:
    """Return a plant that gives columns other values."""

    def plant(frame: pl.DataFrame, places: pl.Series) -> pl.DataFrame:
        here = _here(places)
        return frame.with_columns(
            pl.when(here).then(value).otherwise(name).cast(frame.schema[name]).alias(name)
            for name, value in values.items()
        )

    return plant


def _doubled(**values: pl.Expr) -> Plant:
    """Return a plant that puts a copy, with other values, behind the row."""

    def plant(frame: pl.DataFrame, places: pl.Series) -> pl.DataFrame:
        copies = frame.filter(_here(places)).with_columns(pl.col(AT) + 0.5, **values)
        return pl.concat([frame, copies.select(frame.columns)]).sort(AT)

    return plant


def _dropped(frame: pl.DataFrame, places: pl.Series) -> pl.DataFrame:
    return frame.filter(~_here(places))


def _swapped(frame: pl.DataFrame, places: pl.Series) -> pl.DataFrame:
    """Let the row come after the one that follows it."""
    at = pl.col(AT)
    moved = pl.when(_here(places)).then(at + 1).when(_here(places, 1)).then(at - 1).otherwise(at)
    return frame.with_columns(moved.alias(AT)).sort(AT)


def _flat(frame: pl.DataFrame, places: pl.Series) -> pl.DataFrame:
    """Let this row and those after it close alike, `FLAT_RUN` in all."""
    first = frame.filter(_here(places)).select(AT, pl.col("close").alias("_level"))
    runs = [first.with_columns(pl.col(AT) + offset) for offset in range(FLAT_RUN)]
    # A null level, as everywhere else, changes neither of the three.
    return (
        frame.join(pl.concat(runs), on=AT, how="left", maintain_order="left")
        .with_columns(
            close=pl.coalesce("_level", "close"),
            high=pl.max_horizontal("high", "_level"),
            low=pl.min_horizontal("low", "_level"),
        )
        .drop("_level")
    )


def _jumped(frame: pl.DataFrame, places: pl.Series) -> pl.DataFrame:
    """Drop the row, and let all prices of its series after it be ten times as high."""
    jumps = _here(places).cast(pl.Int64).cum_sum().over("symbol", "timeframe")
    prices = pl.col("open", "high", "low", "close") * pl.lit(_JUMP).pow(jumps)
    return _dropped(frame.with_columns(prices), places)


_LOST: Final = {"missing_bars": 1}
_CLOSE, _HIGH = pl.col("close"), pl.col("high")
_NEXT: Final = {"close": _CLOSE * 1.001, "high": _HIGH * 1.001}

BARS: Final = (
    Flaw(
        name="return_after_gap",
        kind="bars",
        plant=_jumped,
        counts={"return_after_gap": 1, **_LOST},
        rows_each=None,
    ),
    Flaw(name="missing_bars", kind="bars", plant=_dropped, counts=_LOST),
    Flaw(
        name="stale_series",
        kind="bars",
        plant=_dropped,
        counts={"stale_series": 1},
        rows_each=None,
        place="last",
    ),
    Flaw(
        name="timestamp_missing",
        kind="bars",
        plant=_changed(ts=pl.lit(None)),
        counts={"timestamp_missing": 1, **_LOST},
        quarantined=1,
    ),
    Flaw(
        name="off_grid",
        kind="bars",
        plant=_changed(ts=pl.col("ts") + pl.duration(microseconds=1)),
        counts={"off_grid": 1, **_LOST},
        quarantined=1,
    ),
    Flaw(
        name="non_finite",
        kind="bars",
        plant=_changed(close=pl.lit(float("nan"))),
        counts={"non_finite": 1, **_LOST},
        quarantined=1,
    ),
    Flaw(
        name="non_positive_price",
        kind="bars",
        plant=_changed(low=pl.lit(0.0)),
        counts={"non_positive_price": 1, **_LOST},
        quarantined=1,
    ),
    Flaw(
        name="negative_volume",
        kind="bars",
        plant=_changed(volume=pl.lit(-1.0)),
        counts={"negative_volume": 1, **_LOST},
        quarantined=1,
    ),
    Flaw(
        name="ohlc_order",
        kind="bars",
        plant=_changed(high=pl.min_horizontal("open", "close") * 0.5),
        counts={"ohlc_order": 1, **_LOST},
        quarantined=1,
    ),
    Flaw(
        name="duplicate_conflict",
        kind="bars",
        plant=_doubled(**_NEXT),
        counts={"duplicate_conflict": 2, **_LOST},
        quarantined=2,
    ),
    Flaw(
        name="return_spike",
        kind="bars",
        plant=_changed(close=_CLOSE * _SPIKE, high=_HIGH * _SPIKE),
        counts={"return_spike": 1, **_LOST},
        quarantined=1,
    ),
    Flaw(
        name="identical_duplicate",
        kind="bars",
        plant=_doubled(),
        counts={"identical_duplicate": 1},
        identical_duplicates=1,
    ),
    Flaw(name="out_of_order", kind="bars", plant=_swapped, counts={"out_of_order": 1}),
    Flaw(
        name="volume_spike",
        kind="bars",
        plant=_changed(volume=pl.lit(1e9)),
        counts={"volume_spike": 1},
        rows_each=_ROWS_OF_A_SPIKE,
    ),
    Flaw(name="flat_close", kind="bars", plant=_flat, counts={"flat_close": 1}),
)
"""In the order in which they are planted: prices that are scaled first."""

TICKS: Final = (
    Flaw(
        name="trade_non_positive",
        kind="ticks",
        plant=_changed(price=pl.lit(0.0)),
        counts={"trade_non_positive": 1},
        quarantined=1,
    ),
    Flaw(
        name="trade_id_repeated",
        kind="ticks",
        plant=_doubled(price=pl.col("price") * 1.001),
        counts={"trade_id_repeated": 2},
        quarantined=2,
    ),
)

_MIDDLE: Final = (pl.col("bid") + pl.col("ask")) / 2

QUOTES: Final = (
    Flaw(
        name="quote_non_positive_price",
        kind="quotes",
        plant=_changed(bid=pl.lit(0.0)),
        counts={"quote_non_positive_price": 1},
        quarantined=1,
    ),
    Flaw(
        name="quote_non_positive_size",
        kind="quotes",
        plant=_changed(ask_size=pl.lit(-1.0)),
        counts={"quote_non_positive_size": 1},
        quarantined=1,
    ),
    Flaw(
        name="quote_crossed",
        kind="quotes",
        plant=_changed(bid=pl.col("ask") * 1.01),
        counts={"quote_crossed": 1},
        quarantined=1,
    ),
    Flaw(
        name="quote_wide_spread",
        kind="quotes",
        plant=_changed(bid=_MIDDLE * 0.5, ask=_MIDDLE * 1.5),
        counts={"quote_wide_spread": 1},
        quarantined=1,
    ),
)

ALL: Final = (*BARS, *TICKS, *QUOTES)


def flaws_of(kind: str) -> Sequence[Flaw]:
    """Return the flaws that frames of a kind can have."""
    return tuple(flaw for flaw in ALL if flaw.kind == kind)
