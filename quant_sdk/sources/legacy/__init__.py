"""Sources of bars: the legacy layouts behind one protocol. Names resolve on first use (PEP 562)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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

_HOME_OF = dict.fromkeys(__all__, "protocol") | {"LAYOUTS": "layouts", "source_for": "layouts"}


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
