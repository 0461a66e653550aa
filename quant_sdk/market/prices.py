"""Synthetic prices: a function of seed, symbol and instant, at random access.

The log of a price is value noise in octaves: each octave has a lattice in time, a hashed value in
``[-1, 1)`` at every lattice point, and a curve between them that never turns on its way. So bars
of all lengths agree: a bar opens where the one before it closed, the range of a longer bar holds
the ranges of the shorter ones in it, and volumes add up. Prices of one symbol stay within a factor
of six of each other. Instants here are milliseconds since the epoch, UTC.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from quant_sdk.market.listing import Instrument

    Floats = NDArray[np.float64]
    Instants = NDArray[np.int64]
    Keys = NDArray[np.uint64]

OCTAVES: Final = 11
_SHORTEST: Final = 60_000
_FOURFOLD: Final = 2 * np.arange(OCTAVES, dtype=np.int64)[:, None]
"""Octave ``o`` has the period ``_SHORTEST << 2 * o``: a minute to two years."""
_WIDEST: Final = 0.42
_AMPLITUDES: Final = _WIDEST / 2.0 ** np.arange(OCTAVES - 1, -1, -1)
"""Halved where the period is a quarter, as in a random walk; their sum is below log(6) / 2."""
_FLOW_OCTAVES: Final = (0, 3, 5, 7)
_FLOW_AMPLITUDE: Final = 0.08
"""The curve's slope is at most 3 per period: four octaves of this cannot make volume negative."""
_SHIFTS: Final = np.concatenate([_FOURFOLD, _FOURFOLD[list(_FLOW_OCTAVES)]])
_PERIODS: Final = np.int64(_SHORTEST) << _SHIFTS
_EXACT: Final = 4
"""Octaves down to this part of a bar's length are followed; finer ones count with their bound."""
_CHUNK: Final = 20_000
"""Bars that are computed at once; an octave's values of each stand in memory together."""

_STEP: Final = np.uint64(0x9E3779B97F4A7C15)
_FIRST: Final = np.uint64(0xBF58476D1CE4E5B9)
_SECOND: Final = np.uint64(0x94D049BB133111EB)
_UNIT: Final = 2.0**-52


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Walk:
    """The noise of one symbol: ``keys`` (uint64, a column: price octaves, then volume ones)."""

    instrument: Instrument
    keys: Keys


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Bars:
    """Bars as columns of one length: openings (int64 ms) and float64 values, rounded to the tick.

    ``ends`` are the instants up to which each bar is known: its exclusive end, or now.
    """

    opens_at: Instants
    ends: Instants
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats


def walk_of(seed: int, instrument: Instrument) -> Walk:
    """Return the noise of one instrument under one seed."""
    digest = hashlib.blake2b(f"{seed}:{instrument.symbol}".encode(), digest_size=8).digest()
    root = np.full((len(_SHIFTS), 1), int.from_bytes(digest, "little"), dtype=np.uint64)
    numbers = np.arange(1, len(_SHIFTS) + 1, dtype=np.uint64)[:, None]
    return Walk(instrument=instrument, keys=_mixed(root + numbers * _STEP))


def bars(walk: Walk, edges: Instants, length: int) -> Bars:
    """Return the bars between neighbouring edges (int64 ms, n + 1 of them, increasing).

    ``length`` is that of a whole bar, in ms: the last edge may be now, within a bar.
    """
    begins = range(0, len(edges) - 1, _CHUNK)
    if len(begins) == 1:
        return _bars(walk, edges, length)
    parts = [_bars(walk, edges[at : at + _CHUNK + 1], length) for at in begins]
    names = [each.name for each in fields(Bars)]
    return Bars(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def closes(walks: Sequence[Walk], instants: Instants) -> Floats:
    """Return the prices of many symbols (rows) at many instants (int64 ms, columns)."""
    total = np.zeros((len(walks), len(instants)))
    keys = np.stack([walk.keys[:, 0] for walk in walks])
    for octave, amplitude in enumerate(_AMPLITUDES):
        _, _, values = _curves(keys[:, octave, None], instants, octave)
        total += amplitude * values
    scales = np.array([walk.instrument.volatility for walk in walks])[:, None]
    starts = np.array([walk.instrument.price for walk in walks])[:, None]
    prices = starts * np.exp(scales * total)
    for row, walk in zip(prices, walks, strict=True):
        row[:] = np.round(row, walk.instrument.price_digits)
    return prices


def _bars(walk: Walk, edges: Instants, length: int) -> Bars:
    instrument = walk.instrument
    cells, left, values = _curves(walk.keys, edges)
    path = _summed(values)
    highest, lowest = _envelope(walk.keys, cells, left, values, length)
    prices = _price(instrument, path)
    opened, closed = prices[:-1], prices[1:]
    high = np.maximum(_price(instrument, highest), np.maximum(opened, closed))
    low = np.minimum(_price(instrument, lowest), np.minimum(opened, closed))
    return Bars(
        opens_at=edges[:-1],
        ends=edges[1:],
        open=opened,
        high=high,
        low=low,
        close=closed,
        volume=_volume(instrument, edges, values[OCTAVES:]),
    )


def _mixed(numbers: Keys) -> Keys:
    """Scatter 64-bit numbers (the finalizer of splitmix64), in place."""
    numbers ^= numbers >> np.uint64(30)
    numbers *= _FIRST
    numbers ^= numbers >> np.uint64(27)
    numbers *= _SECOND
    numbers ^= numbers >> np.uint64(31)
    return numbers


def _lattice(keys: Keys, cells: Instants) -> Floats:
    """Return the hashed values, in ``[-1, 1)``, at lattice points."""
    scattered = _mixed(keys + cells.view(np.uint64) * _STEP)
    return (scattered >> np.uint64(11)).astype(np.float64) * _UNIT - 1.0


def _curves(
    keys: Keys, instants: Instants, octave: int | None = None
) -> tuple[Instants, Floats, Floats]:
    """Return each octave's cell at the instants, its value where the cell begins, and there."""
    shifts = _SHIFTS if octave is None else _SHIFTS[octave]
    periods = _PERIODS if octave is None else _PERIODS[octave]
    cells = (instants // _SHORTEST) >> shifts
    part = (instants - cells * periods) / periods
    part *= part * (3.0 - 2.0 * part)
    left = _lattice(keys, cells)
    return cells, left, left + (_lattice(keys, cells + 1) - left) * part


def _summed(values: Floats) -> Floats:
    # In a fixed order: numpy's own sums depend on the shape, and so would the last digit.
    total = np.zeros(values.shape[1])
    for octave, amplitude in enumerate(_AMPLITUDES):
        total += amplitude * values[octave]
    return total


def _envelope(
    keys: Keys, cells: Instants, left: Floats, values: Floats, length: int
) -> tuple[Floats, Floats]:
    """Return bounds of the path in each bar, which hold for every shorter bar in it too."""
    fine = int(np.count_nonzero(_PERIODS[:OCTAVES] * _EXACT < length))
    begun, ended = cells[fine:OCTAVES, :-1], cells[fine:OCTAVES, 1:]
    first, last = values[fine:OCTAVES, :-1], values[fine:OCTAVES, 1:]
    top, bottom = np.maximum(first, last), np.minimum(first, last)
    for back in range(_EXACT + 1):
        inside = ended - back > begun
        rows = slice(0, None if back == 0 else 1)
        if not inside[rows].any():
            break
        points = (
            left[fine:OCTAVES, 1:]
            if back == 0
            else _lattice(keys[fine : fine + 1], ended[:1] - back)
        )
        np.maximum(top[rows], points, out=top[rows], where=inside[rows])
        np.minimum(bottom[rows], points, out=bottom[rows], where=inside[rows])
    highest, lowest = np.zeros(ended.shape[1]), np.zeros(ended.shape[1])
    for octave, amplitude in enumerate(_AMPLITUDES):
        highest += amplitude * (1.0 if octave < fine else top[octave - fine])
        lowest += amplitude * (-1.0 if octave < fine else bottom[octave - fine])
    return highest, lowest


def _price(instrument: Instrument, path: Floats) -> Floats:
    exact = instrument.price * np.exp(instrument.volatility * path)
    return np.round(exact, instrument.price_digits)


def _volume(instrument: Instrument, edges: Instants, values: Floats) -> Floats:
    """Return what was traded between the edges: the differences of a curve that only rises."""
    flow = edges.astype(np.float64)
    for row, octave in enumerate(_FLOW_OCTAVES):
        flow += _FLOW_AMPLITUDE * float(_PERIODS[octave, 0]) * values[row]
    traded = np.diff(flow) * (instrument.turnover / instrument.price / 86_400_000)
    return np.maximum(np.round(traded, instrument.lot_digits), instrument.lot)
