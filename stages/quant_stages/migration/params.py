"""What the migration takes and what it answers."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class MigrationParams(BaseModel):
    """Parameters of a migration; CLI options, JSON Schema and agents' tools come from here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    manifest: str = Field(
        default="data/manifest.json",
        description="The manifest, absolute or seen from the workspace.",
    )
    profiles: tuple[str, ...] = Field(
        default=(), description="Only these profiles; default: all that name legacy sources."
    )
    strict: bool = Field(
        default=False, description="Fail where a source could not be read, instead of degrading."
    )
    batch_symbols: int = Field(
        default=50, ge=1, le=1000, description="How many series one commit holds at most."
    )
    workers: int = Field(
        default=0, ge=0, le=256, description="Threads that read sources; 0: the machine's cores."
    )


class SourceCounts(BaseModel):
    """What became of the source files."""

    total: int
    ingested: int
    unchanged: int
    failed: int


class RowCounts(BaseModel):
    """What became of the rows read in this run; all but `read` add up to it."""

    read: int
    bars: int
    corrected: int
    unchanged: int
    identical_duplicates: int
    quarantined: int


class FailedSource(BaseModel):
    """A source, or an entry that names none, which needs attention."""

    source: str
    code: str
    message: str
    fix: str


class MigrationResult(BaseModel):
    """What a migration did; paths are relative to the workspace, `failures` are the first 50."""

    message: str
    committed: bool
    health_check: Literal["passed", "degraded"]
    candidates: int
    sources: SourceCounts
    rows: RowCounts
    bytes_read: int
    table_versions: dict[str, int]
    content_hash: str
    snapshot: str
    failures: list[FailedSource]
    reports: dict[str, str]
