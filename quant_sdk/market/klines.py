"""Bars as an exchange like Binance writes them: klines, numbers as texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from quant_sdk.market.prices import Bars, Floats

_ROW: Final = b'[%d,"%b",%d,"%b",%d,"%b","0"],'
_AVERAGE_TRADE: Final = 400.0
_TAKEN: Final = 0.5


def render(bars: Bars, closes_at: NDArray[np.int64]) -> bytes:
    """Return the JSON of the bars; a row is twelve values.

    They are open time (ms), open, high, low, close, volume, close time (the last ms of the bar,
    `closes_at` less one), quote volume, trades, and the takers' base and quote volume, and "0".
    """
    if not len(bars.opens_at):
        return b"[]"
    worth = np.round(bars.volume * (bars.high + bars.low) / 2, 4)
    values = np.stack([bars.open, bars.high, bars.low, bars.close, bars.volume], axis=1)
    trades = (worth / _AVERAGE_TRADE).astype(np.int64) + 1
    taken = np.stack([bars.volume, worth], axis=1) * _TAKEN
    columns = (
        bars.opens_at.tolist(),
        _quoted(values),
        (closes_at - 1).tolist(),
        _quoted(worth[:, None]),
        trades.tolist(),
        _quoted(taken),
    )
    fields: list[Any] = [None] * (len(columns) * len(trades))
    for number, column in enumerate(columns):
        fields[number :: len(columns)] = column
    return b"[" + (_ROW * len(trades) % tuple(fields))[:-1] + b"]"


def _quoted(values: Floats) -> list[bytes]:
    """Return the rows of a matrix as texts, parted by ``","``, in the shortest decimal form."""
    if not values.all() or values.min() < 1e-4 or values.max() >= 1e15:  # noqa: PLR2004
        return list(_fixed(values))
    text = orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY)
    return text[2:-2].replace(b",", b'","').split(b']","[')


def _fixed(values: Floats) -> Iterator[bytes]:
    """Write numbers so small that the shortest form has an exponent."""
    for row in values.tolist():
        yield b'","'.join(b"%.8f" % value for value in row)
