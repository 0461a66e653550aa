"""Canonical schemas in versions: files, one client behind a protocol, and their governance.

Names resolve on first use (PEP 562), so that importing this package loads nothing heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quant_sdk.schemas.checks import Diagnosis
    from quant_sdk.schemas.client import FileSchemaRegistry, Mode, SchemaRegistryClient
    from quant_sdk.schemas.finding import Finding
    from quant_sdk.schemas.memory import MemorySchemaRegistry
    from quant_sdk.schemas.schema import CanonicalSchema, Column, bundle_fingerprint

__all__ = [
    "CanonicalSchema",
    "Column",
    "Diagnosis",
    "FileSchemaRegistry",
    "Finding",
    "MemorySchemaRegistry",
    "Mode",
    "SchemaRegistryClient",
    "bundle_fingerprint",
]

_HOMES = {
    "checks": ("Diagnosis",),
    "client": ("FileSchemaRegistry", "Mode", "SchemaRegistryClient"),
    "finding": ("Finding",),
    "memory": ("MemorySchemaRegistry",),
    "schema": ("CanonicalSchema", "Column", "bundle_fingerprint"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
