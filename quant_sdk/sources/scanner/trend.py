"""``trend``: a wish in three words, turned into filters.

- ``timeframe``: bar length of rating and ADX, ``1d`` by default; it becomes the column's suffix
- ``direction``: ``long`` (default) or ``short``, which side of the bounds
- ``min_rating``: 0.1 by default; ``Recommend.All`` >= it, for ``short`` <= -it
- ``adx_min``: none by default; ``ADX`` >= it
- ``momentum``: columns and bounds, ``{Perf.1M: 0}``; above the bound, for ``short`` below it

The rating runs from -1 (strong sell) to 1 (strong buy); above 0.1 it is called a buy.

The longer spelling is read too: ``recommendation: {enabled, min}`` (its bound is signed),
``adx: {enabled, min}``, ``momentum: {enabled, horizons: {Perf.1M: 0}}``, and ``daily``,
``weekly``, ``monthly`` as timeframes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from quant_sdk.sources.scanner.fields import Fields, is_number
from quant_sdk.sources.scanner.filters import Filter
from quant_sdk.sources.scanner.timeframes import SUFFIXES

if TYPE_CHECKING:
    from quant_sdk.sources.scanner.documents import Finding

RATING: Final = "Recommend.All"
LEAST_RATING: Final = 0.1
_WORDS: Final = {"daily": "1d", "weekly": "1w", "monthly": "1M"}
_KEYS: Final = (
    "timeframe",
    "direction",
    "min_rating",
    "adx_min",
    "momentum",
    "recommendation",
    "adx",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Trend:
    """A trend that is looked for.

    Attributes:
        timeframe: bar length of rating and ADX.
        direction: ``long`` or ``short``.
        filters: what the venue is asked for.
    """

    timeframe: str
    direction: str
    filters: tuple[Filter, ...]


def at_timeframe(column: str, timeframe: str) -> str:
    """Return the scanner's name of a technical column at a timeframe: ``RSI|60``."""
    return f"{column}{SUFFIXES[timeframe]}"


def parse_trend(fields: Fields) -> tuple[Trend | None, list[Finding]]:
    """Return the trend of a scanner file, and findings about its keys.

    Raises:
        InvalidInput: a value is not possible.
    """
    keys = fields.mapping("trend")
    if keys is None:
        return None, []
    inner = fields.inner(keys, "trend")
    timeframe = inner.text("timeframe") or "1d"
    timeframe = _WORDS.get(timeframe.lower(), timeframe)
    if timeframe not in SUFFIXES:
        raise inner.wrong("timeframe", timeframe, f"use one of {', '.join(SUFFIXES)}")
    direction = inner.one_of("direction", ("long", "short"), "long")
    long = direction == "long"
    filters = (
        *_rating(inner, timeframe, long=long),
        *_strength(inner, timeframe),
        *_momentum(inner, long=long),
    )
    found = Trend(timeframe=timeframe, direction=direction, filters=filters)
    return found, inner.unknown(_KEYS)


def _rating(fields: Fields, timeframe: str, *, long: bool) -> list[Filter]:
    inner = fields.inner(fields.mapping("recommendation") or {}, "recommendation")
    if not inner.flag("enabled", default=True):
        return []
    bound = inner.number("min")
    if bound is None:
        strength = fields.number("min_rating")
        strength = LEAST_RATING if strength is None else strength
        bound = strength if long else -strength
    operation = "egreater" if long else "eless"
    return [Filter(left=at_timeframe(RATING, timeframe), operation=operation, right=bound)]


def _strength(fields: Fields, timeframe: str) -> list[Filter]:
    inner = fields.inner(fields.mapping("adx") or {}, "adx")
    if not inner.flag("enabled", default=True):
        return []
    bound = fields.number("adx_min")
    bound = inner.number("min") if bound is None else bound
    if bound is None:
        return []
    return [Filter(left=at_timeframe("ADX", timeframe), operation="egreater", right=bound)]


def _momentum(fields: Fields, *, long: bool) -> list[Filter]:
    inner = fields.inner(fields.mapping("momentum") or {}, "momentum")
    if not inner.flag("enabled", default=True):
        return []
    horizons = inner.mapping("horizons")
    if horizons is None:
        horizons = {key: value for key, value in inner.keys.items() if key != "enabled"}
    for column, bound in horizons.items():
        if not is_number(bound):
            raise inner.wrong(column, bound, "write a number")
    operation = "greater" if long else "less"
    return [
        Filter(left=column, operation=operation, right=bound) for column, bound in horizons.items()
    ]
