"""What the recording of metadata takes and what it answers."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class MetadataParams(BaseModel):
    """Parameters of a recording of metadata."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    candidates: str = Field(
        default="",
        description="File of candidates, seen from the workspace; default: the newest export.",
    )
    venues: tuple[str, ...] = Field(
        default=(), description="Only these venues; default: those of the candidates."
    )
    strict: bool = Field(
        default=False, description="Fail where a venue failed, instead of degrading."
    )


class FailedVenue(BaseModel):
    """A venue that was not asked, or did not answer."""

    venue: str
    code: str
    message: str
    fix: str


class VersionCounts(BaseModel):
    """What became of one table: versions opened and closed, and the table's version.

    `version` is -1 where nothing had to be written.
    """

    opened: int = 0
    closed: int = 0
    version: int = -1


class MetadataResult(BaseModel):
    """What a recording of metadata did; `failures` are the first 50."""

    message: str
    committed: bool
    health_check: Literal["passed", "degraded"]
    candidates: int
    venues: int
    listed: int
    vanished: int
    symbols: VersionCounts
    execution: VersionCounts
    exchanges: VersionCounts
    refused: list[str]
    failed: int
    failures: list[FailedVenue]
