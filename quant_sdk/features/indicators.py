"""Indicators of one run of bars, by TA-Lib; a value at t uses bars up to and including t.

The definitions are TA-Lib's (https://ta-lib.org/functions): Wilder's RSI, ADX and ATR (J. W.
Wilder, New Concepts in Technical Trading Systems, 1978), EMA seeded with the simple mean, MACD
(12, 26, 9), Bollinger bands (20, two population deviations). Recursive ones start with the run.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from quant_registry.errors import MissingExtra

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

WINDOW: Final = 20
"""Returns in the window of the volatility."""

_RETURNS: Final = {"return_1": 1, "return_5": 5, "return_20": 20}


def require_talib() -> Any:
    """Return the module ``talib``.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import talib
    except ImportError as error:
        raise MissingExtra(
            "features of history need TA-Lib, which is not installed",
            fix="install it: pip install 'quant-stage-sdk[features]'",
            extra="features",
        ) from error
    return talib


def talib_version() -> str:
    """Return the version of TA-Lib's C library, without its build date.

    Raises:
        MissingExtra: it is not installed.
    """
    version: bytes = require_talib().__ta_version__
    return version.decode().split()[0]


def indicators(high: Floats, low: Floats, close: Floats) -> dict[str, Floats]:
    """Return the indicators of one run, by column of `features`; NaN where there is none yet.

    Args:
        high: of consecutive bars; finite and above zero, shape (n,).
        low: the same.
        close: the same.

    Returns:
        Arrays of shape (n,): those in price units are in those of `close`; ``rsi_14``, ``adx_14``
        and ``natr_14`` are 0 to 100; returns are simple, as fractions; ``volatility_20`` is a
        standard deviation of log returns, one bar long.

    Raises:
        MissingExtra: TA-Lib is not installed.
    """
    talib = require_talib()
    # Old versions take what is below 1e-14 for zero. A power of two changes the exponent alone.
    scale = math.ldexp(1.0, -math.frexp(float(close[0]))[1])
    high, low, close = high * scale, low * scale, close * scale
    macd, signal, _ = talib.MACD(close, 12, 26, 9)
    upper, _, lower = talib.BBANDS(close, 20, 2.0, 2.0, 0)
    prices = {
        "atr_14": talib.ATR(high, low, close, 14),
        "ema_20": talib.EMA(close, 20),
        "ema_50": talib.EMA(close, 50),
        "sma_50": talib.SMA(close, 50),
        "sma_200": talib.SMA(close, 200),
        "macd": macd,
        "macd_signal": signal,
        "bb_upper": upper,
        "bb_lower": lower,
    }
    return {
        "rsi_14": _rsi(talib, close),
        "adx_14": talib.ADX(high, low, close, 14),
        "natr_14": talib.NATR(high, low, close, 14),
        **{name: values / scale for name, values in prices.items()},
        **{name: _returns(close, bars) for name, bars in _RETURNS.items()},
        "volatility_20": _volatility(close),
    }


def _rsi(talib: Any, close: Floats) -> Floats:
    """Return the RSI; NaN, not TA-Lib's 0, where the price never moved.

    There the momentum oscillator (CMO) of the same smoothing is 0; where it only fell, -100.
    """
    import numpy as np

    rsi: Floats = talib.RSI(close, 14)
    if (rsi == 0.0).any():
        rsi[(rsi == 0.0) & (talib.CMO(close, 14) == 0.0)] = np.nan
    return rsi


def _returns(close: Floats, bars: int) -> Floats:
    import numpy as np

    values = np.full(len(close), np.nan)
    values[bars:] = close[bars:] / close[:-bars] - 1.0
    return values


def _volatility(close: Floats) -> Floats:
    """Return the sample standard deviation of the last `WINDOW` log returns.

    The sums go over the window's places, one addition each for all rows: a value rests on its own
    window alone, bit for bit, however long the run is.
    """
    import numpy as np

    values = np.full(len(close), np.nan)
    count = len(close) - WINDOW
    if count <= 0:
        return values
    # One logarithm at a time; numpy's may take another way at the end of an array.
    logs = pl.Series(close).log().to_numpy()
    steps = logs[1:] - logs[:-1]
    windows = [steps[place : place + count] for place in range(WINDOW)]
    mean = sum(windows, np.zeros(count)) / WINDOW
    squares = sum(((window - mean) ** 2 for window in windows), np.zeros(count))
    values[WINDOW:] = np.sqrt(squares / (WINDOW - 1))
    return values
