"""Verified-empty intervals, taken out of the gaps: there a source says that there is nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from quant_sdk.lakehouse.coverage import slots_of
from quant_sdk.lakehouse.specs import UTC_MICROS
from quant_sdk.seamless.intervals import difference

if TYPE_CHECKING:
    from quant_sdk.conformance.work import Window
    from quant_sdk.lakehouse.timeframe import Timeframe

GAPS: Final = {"symbol": pl.String, "start": pl.Int64, "end": pl.Int64}
"""Runs of slots ``[start, end)``."""


def without_empty(
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
    starts, ends = (own[name].cast(UTC_MICROS).to_physical() for name in ("start", "end"))
    return pl.DataFrame(
        {
            "symbol": own["symbol"].cast(pl.String),
            "start": slots_of(starts - 1, timeframe) + 1,
            "end": slots_of(ends - 1, timeframe) + 1,
        }
    ).filter(pl.col("end") > pl.col("start"))


def _gaps(symbol: str, spans: list[tuple[int, int]]) -> pl.DataFrame:
    return pl.DataFrame([(symbol, *span) for span in spans], schema=GAPS, orient="row")
