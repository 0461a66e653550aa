"""Sources of bars: the legacy layouts behind one protocol. Names resolve on first use (PEP 562)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quant_registry.lazy import lazily

if TYPE_CHECKING:
    from quant_sdk.sources.legacy.layouts import LAYOUTS, source_for
    from quant_sdk.sources.legacy.protocol import (
        LegacyEntry,
        LegacySource,
        Probe,
        SourceFile,
        Unrecognised,
    )

__all__ = [
    "LAYOUTS",
    "LegacyEntry",
    "LegacySource",
    "Probe",
    "SourceFile",
    "Unrecognised",
    "source_for",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        ".layouts": ("LAYOUTS", "source_for"),
        ".protocol": ("LegacyEntry", "LegacySource", "Probe", "SourceFile", "Unrecognised"),
    },
)
