"""Notes about good bars, found in one pass each: volumes far above the mean, closes that stall.

They say what the rules ``volume_spike`` and ``flat_close`` say of each series by itself.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import polars as pl

from quant_sdk.conformance.rules.volume_spike import ROUNDING
from quant_sdk.conformance.selection import PLACE, each_pair, none, places

if TYPE_CHECKING:
    from quant_sdk.conformance.selection import Neighbours


def volume_spikes(volume: pl.Series, starts: pl.Series, sigmas: float) -> pl.Series:
    """Return the positions of volumes above the mean of their series by more than `sigmas`.

    Args:
        volume: Float64, nullable, finite.
        starts: where each series begins.
        sigmas: in standard deviations of the series.
    """
    found = []
    for start, end in itertools.pairwise([*starts, volume.len()]):
        rows = end - start
        # No value of n lies further than this from their mean (Samuelson 1968, How deviant can
        # you be?): most of many short series need not be looked at.
        if rows - 1 <= sigmas * rows**0.5:
            continue
        own = volume.slice(start, rows).rechunk()  # a sum depends on the chunks
        mean, deviation, most = own.mean(), own.std(), own.max()
        if mean is None or deviation is None:
            continue
        limit = mean + max(sigmas * deviation, ROUNDING * abs(mean))  # type: ignore[operator, arg-type]
        if most > limit:  # type: ignore[operator]
            found.append(((own > limit).arg_true() + start).cast(PLACE))
    return places(*found)


def whole_runs(close: pl.Series, starts: pl.Series, begins: pl.Series) -> pl.Series:
    """Return the positions of all bars of the runs of equal closes that begin at `begins`."""
    changes = close.ne_missing(close.shift(1)).scatter(starts, values=True)
    run = changes.cum_sum()
    return run.is_in(run.gather(begins).implode()).arg_true().cast(PLACE)


def flat_runs(close: pl.Series, starts: pl.Series, length: int) -> pl.Series:
    """Return the positions at which runs of at least `length` equal closes begin.

    Args:
        close: finite.
        starts: where each series begins.
        length: 2 or more.
    """

    def of_block(first: int, columns: Neighbours) -> pl.Series:
        ((before, after),) = columns
        return ((after == before).arg_true() + first).cast(PLACE)

    at = places(*each_pair(of_block, close))
    at = at.filter(~at.is_in(starts.implode())).cast(pl.Int64)
    if at.len() < length - 1:
        return none()
    begins = (at.diff() != 1).fill_null(value=True)
    reaches = (at.shift(2 - length) - at == length - 2).fill_null(value=False)
    return (at.filter(begins & reaches) - 1).cast(PLACE)
