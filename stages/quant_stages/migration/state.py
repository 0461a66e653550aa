"""What one step of a migration hands to the next."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from quant_sdk.errors import QuantError
    from quant_sdk.lakehouse.ledger import Entry
    from quant_sdk.sources.legacy.protocol import SourceFile
    from quant_stages.manifest.profiles import ProfileAudit
    from quant_stages.migration.params import MigrationParams, MigrationResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A source, or a place that should have named some, which could not be read."""

    source: str
    symbol: str | None
    error: QuantError

    def to_dict(self) -> dict[str, Any]:
        """Return the form of reports and events."""
        return {"source": self.source, "symbol": self.symbol, "error": self.error.to_dict()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovered:
    """The sources of a manifest, in order of precedence, and what is no source.

    Attributes:
        files: one a series and file; a file named twice stands once.
        failures: entries that name nothing, and data files that no layout can name.
        ignored: other files beside them.
    """

    files: tuple[SourceFile, ...] = ()
    failures: tuple[Failure, ...] = ()
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """The state of a migration between two steps; each step returns a changed copy.

    Attributes:
        failures: sources that brought nothing.
        superseded: sources of which bars of an earlier declaration stand.
    """

    params: MigrationParams
    manifest_path: Path
    profiles: tuple[ProfileAudit, ...] = ()
    discovered: Discovered = field(default_factory=Discovered)
    entries: tuple[Entry, ...] = ()
    unchanged: int = 0
    failures: tuple[Failure, ...] = ()
    superseded: tuple[Failure, ...] = ()
    bytes_read: int = 0
    content_hash: str = ""
    reports: dict[str, str] = field(default_factory=dict)
    result: MigrationResult | None = None
