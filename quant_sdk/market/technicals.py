"""Columns of the scanner, computed from the synthetic prices.

Rough forms of the usual formulas on the closes of the last bars, the unclosed one included: right
in kind and range, good for demo and tests, not for comparing with any vendor's figures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from quant_sdk.lakehouse.timeframe import Timeframe
from quant_sdk.market.prices import closes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from quant_sdk.market.listing import Instrument
    from quant_sdk.market.market import Market
    from quant_sdk.market.prices import Floats

SUFFIXES: Final = {
    "1": "1m", "5": "5m", "15": "15m", "30": "30m", "60": "1h", "120": "2h", "240": "4h",
    "1D": "1d", "1W": "1w", "1M": "1M",
}  # fmt: skip
"""What stands behind ``|`` in a column's name, and the bar length it means."""
HISTORY: Final = 260
_DAY: Final = 86_400_000
_MONTH: Final = 31 * _DAY * 1000
"""A day is in milliseconds, a month in microseconds."""


class Columns:
    """Values of the columns for some instruments at one instant; each is computed when asked.

    Args:
        market: whose prices.
        instruments: the rows, in order.
        at: microseconds since the epoch.
    """

    def __init__(self, market: Market, instruments: Sequence[Instrument], at: int) -> None:
        self._instruments = instruments
        self._walks = [market.walk(each) for each in instruments]
        self._at = at
        self._history: dict[str, Floats] = {}
        self._found: dict[str, list[object]] = {}

    def __contains__(self, name: object) -> bool:
        """Tell whether a column of that name exists."""
        base, _, suffix = str(name).partition("|")
        if not suffix:
            return base in FACTS or base in _DAILY or base in TECHNICALS
        return base in TECHNICALS and suffix in SUFFIXES

    def __getitem__(self, name: str) -> list[object]:
        """Return a column, a value for each row: text, number or None."""
        if name not in self._found:
            self._found[name] = self._computed(name)
        return self._found[name]

    def _computed(self, name: str) -> list[object]:
        base, _, suffix = name.partition("|")
        if base in FACTS:
            return [FACTS[base](each) for each in self._instruments]
        if not self._instruments:
            return []
        values = _DAILY[base](self) if base in _DAILY else TECHNICALS[base](self, suffix or "1D")
        return [_rounded(value) for value in np.asarray(values, dtype=np.float64).tolist()]

    def history(self, suffix: str) -> Floats:
        """Return closes (rows by instrument, `HISTORY` columns, the last one now)."""
        if suffix not in self._history:
            self._history[suffix] = closes(self._walks, self._grid(suffix))
        return self._history[suffix]

    def price(self, days: float) -> Floats:
        """Return the price so many days ago."""
        at = np.array([self._at // 1000 - round(days * _DAY)], dtype=np.int64)
        return closes(self._walks, at)[:, 0]

    def opened(self, suffix: str) -> Floats:
        """Return the price at which the present bar opened."""
        return self.history(suffix)[:, -2]

    def volume(self, suffix: str) -> Floats:
        """Return what is traded in a bar's time, up to now, in units of the base."""
        length = (Timeframe.parse(SUFFIXES[suffix]).micros or _MONTH) / 1000
        daily = _numbers(each.turnover / each.price or None for each in self._instruments)
        return daily * (length / _DAY)

    def supply(self) -> Floats:
        """Return the units in existence."""
        return _numbers(each.supply for each in self._instruments)

    def _grid(self, suffix: str) -> NDArray[np.int64]:
        """Return when the last bars ended, the present one now."""
        timeframe = Timeframe.parse(SUFFIXES[suffix])
        slot = timeframe.slot_of(self._at - 1)
        ends = [timeframe.open_of(each) for each in range(slot - HISTORY + 2, slot + 1)]
        return np.array([*ends, self._at], dtype=np.int64) // 1000


def _numbers(values: Iterable[float | None]) -> Floats:
    return np.array([np.nan if each is None else each for each in values], dtype=np.float64)


def _rounded(value: float) -> float | None:
    return float(f"{value:.8g}") if np.isfinite(value) else None


def _sma(paths: Floats, length: int) -> Floats:
    return _mean(paths[:, -length:])


def _mean(values: Floats) -> Floats:
    means: Floats = values.mean(axis=1)
    return means


def _ema(paths: Floats, length: int) -> Floats:
    """Return exponential means at every bar, begun with the first price."""
    weight = 2.0 / (length + 1)
    found = np.empty_like(paths)
    found[:, 0] = paths[:, 0]
    for bar in range(1, paths.shape[1]):
        found[:, bar] = found[:, bar - 1] + weight * (paths[:, bar] - found[:, bar - 1])
    return found


def _rsi(paths: Floats) -> Floats:
    moves = np.diff(paths, axis=1)
    gains = _ema(np.maximum(moves, 0.0), 27)[:, -1]
    losses = _ema(np.maximum(-moves, 0.0), 27)[:, -1]
    return 100.0 * gains / np.maximum(gains + losses, 1e-300)


def _atr(paths: Floats) -> Floats:
    return 1.6 * _mean(np.abs(np.diff(paths, axis=1))[:, -14:])


def _adx(paths: Floats) -> Floats:
    moves = np.diff(paths, axis=1)
    up, down = _ema(np.maximum(moves, 0.0), 14), _ema(np.maximum(-moves, 0.0), 14)
    trend = np.abs(up - down) / np.maximum(up + down, 1e-300)
    return 100.0 * _ema(trend, 14)[:, -1]


def _macd(paths: Floats) -> Floats:
    return _ema(paths, 12) - _ema(paths, 26)


def _averages(paths: Floats) -> Floats:
    """Return the mean vote of the averages, from -1 (sell) to 1 (buy)."""
    last = paths[:, -1]
    means = [_sma(paths, length) for length in (10, 20, 30, 50, 100, 200)]
    return _mean(np.stack([np.sign(last - mean) for mean in means], axis=1))


def _oscillators(paths: Floats) -> Floats:
    """Return the mean vote of the oscillators, from -1 (sell) to 1 (buy)."""
    rsi, macd = _rsi(paths), _macd(paths)
    votes = [
        np.where(rsi < 30.0, 1.0, np.where(rsi > 70.0, -1.0, 0.0)),  # noqa: PLR2004  RSI's levels
        np.sign(macd[:, -1] - _ema(macd, 9)[:, -1]),
        np.sign(paths[:, -1] - paths[:, -11]),
    ]
    return _mean(np.stack(votes, axis=1))


FACTS: Final[Mapping[str, Callable[[Instrument], object]]] = {
    "name": lambda each: each.id,
    "description": lambda each: each.description,
    "exchange": lambda each: each.exchange,
    "type": lambda each: "spot" if each.kind == "crypto" else each.kind,
    "subtype": lambda each: each.kind if each.kind == "crypto" else "",
    "currency": lambda each: each.quote,
    "base_currency": lambda each: each.base,
    "minmov": lambda _: 1,
    "pricescale": lambda each: 10**each.price_digits,
}
"""Columns that do not change with the price."""

_DAILY: Final[Mapping[str, Callable[[Columns], Floats]]] = {
    "Value.Traded": lambda all_: all_.volume("1D") * all_.price(0),
    "market_cap_calc": lambda all_: all_.supply() * all_.price(0),
    "Volatility.D": lambda all_: _range_of(all_, 1),
    "Volatility.W": lambda all_: _range_of(all_, 5),
    "Volatility.M": lambda all_: _range_of(all_, 21),
    "Perf.W": lambda all_: _performance(all_, 7),
    "Perf.1M": lambda all_: _performance(all_, 30),
    "Perf.3M": lambda all_: _performance(all_, 91),
    "Perf.6M": lambda all_: _performance(all_, 182),
    "Perf.Y": lambda all_: _performance(all_, 365),
}


def _range_of(columns: Columns, days: int) -> Floats:
    """Return the mean daily range of some days, in percent of the price."""
    paths = columns.history("1D")[:, -days - 1 :]
    return 160.0 * _mean(np.abs(np.diff(paths, axis=1)) / paths[:, 1:])


def _performance(columns: Columns, days: int) -> Floats:
    return 100.0 * (columns.price(0) / columns.price(days) - 1.0)


def _of_history(formula: Callable[[Floats], Floats]) -> Callable[[Columns, str], Floats]:
    return lambda columns, suffix: formula(columns.history(suffix))


TECHNICALS: Final[Mapping[str, Callable[[Columns, str], Floats]]] = {
    "close": lambda columns, _: columns.price(0),
    "open": lambda columns, suffix: columns.opened(suffix),
    "high": lambda columns, suffix: columns.history(suffix)[:, -2:].max(axis=1),
    "low": lambda columns, suffix: columns.history(suffix)[:, -2:].min(axis=1),
    "volume": lambda columns, suffix: columns.volume(suffix),
    "change": lambda columns, suffix: 100.0 * (columns.price(0) / columns.opened(suffix) - 1.0),
    "Recommend.All": _of_history(lambda paths: (_averages(paths) + _oscillators(paths)) / 2.0),
    "Recommend.MA": _of_history(_averages),
    "Recommend.Other": _of_history(_oscillators),
    "RSI": _of_history(_rsi),
    "ADX": _of_history(_adx),
    "ATR": _of_history(_atr),
    "SMA50": _of_history(lambda paths: _sma(paths, 50)),
    "SMA200": _of_history(lambda paths: _sma(paths, 200)),
    "EMA50": _of_history(lambda paths: _ema(paths, 50)[:, -1]),
    "MACD.macd": _of_history(lambda paths: _macd(paths)[:, -1]),
    "MACD.signal": _of_history(lambda paths: _ema(_macd(paths), 9)[:, -1]),
    "Mom": _of_history(lambda paths: paths[:, -1] - paths[:, -11]),
}
"""Columns that exist for other bar lengths too, as in ``RSI|240``; without a suffix, days."""
