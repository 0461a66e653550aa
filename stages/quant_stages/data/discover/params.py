"""What discovery takes and what it answers."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class DiscoverParams(BaseModel):
    """Parameters of a discovery."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    manifest: str = Field(
        default="data/manifest.json",
        description="The manifest, absolute or seen from the workspace.",
    )
    profiles: tuple[str, ...] = Field(
        default=(), description="Only these profiles; default: the manifest's default_profile."
    )
    strategies: tuple[str, ...] = Field(
        default=(), description="Only these strategies of the profiles; default: all."
    )
    strict: bool = Field(
        default=False, description="Fail where a scanner failed, instead of degrading."
    )


class FailedScanner(BaseModel):
    """A scanner that could not be read, or was not answered."""

    scanner: str
    code: str
    message: str
    fix: str


class DiscoverResult(BaseModel):
    """What a discovery found; `candidates` is a path in the workspace, None where none was."""

    message: str
    candidates: str
    count: int
    source: str
    scanners: int
    requests: int
    degraded: bool
    failures: list[FailedScanner]
    warnings: list[str]
