"""The layouts that legacy bars come in."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from quant_registry.errors import UnknownName
from quant_sdk.sources.legacy.csv import CsvSource
from quant_sdk.sources.legacy.flat_v1 import FlatV1Source
from quant_sdk.sources.legacy.pair import PairSource

if TYPE_CHECKING:
    from collections.abc import Mapping

    from quant_sdk.sources.legacy.protocol import LegacySource

_SOURCES: Final[tuple[LegacySource, ...]] = (FlatV1Source(), PairSource(), CsvSource())

LAYOUTS: Final[Mapping[str, LegacySource]] = MappingProxyType(
    {each.layout: each for each in _SOURCES}
)
"""The layouts by the name the manifest uses: ``flat_v1``, ``pair``, ``csv``."""


class UnknownLayout(UnknownName):
    """No source reads that layout."""

    noun = "layout"
    fix = f"the layouts are {', '.join(LAYOUTS)}"


def source_for(layout: str) -> LegacySource:
    """Return the source that reads ``layout``.

    Raises:
        UnknownLayout: an `UnknownName` with the nearest layouts.
    """
    if layout not in LAYOUTS:
        raise UnknownLayout(layout, LAYOUTS)
    return LAYOUTS[layout]
