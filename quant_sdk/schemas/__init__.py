"""Canonical schemas in versions: files, one client behind a protocol, and their governance.

Names resolve on first use (PEP 562), so that importing this package loads nothing heavy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quant_registry.lazy import lazily

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

__getattr__, __dir__ = lazily(
    __name__,
    {
        ".checks": ("Diagnosis",),
        ".client": ("FileSchemaRegistry", "Mode", "SchemaRegistryClient"),
        ".finding": ("Finding",),
        ".memory": ("MemorySchemaRegistry",),
        ".schema": ("CanonicalSchema", "Column", "bundle_fingerprint"),
    },
)
