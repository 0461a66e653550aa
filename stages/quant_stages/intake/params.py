"""What the intakes take."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class SeriesParams(BaseModel):
    """The series that a file of candidates names."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    candidates: str = Field(
        default="",
        description="File of candidates, seen from the workspace; default: the newest export.",
    )
    timeframes: tuple[str, ...] = Field(
        default=(), description="Only these bar lengths; default: all that the candidates name."
    )
    depth_days: int = Field(
        default=0,
        ge=0,
        le=100_000,
        description="Days back from now; 0: as the candidates say, else 365.",
    )


class IntakeParams(BaseModel):
    """How an intake goes about it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    strict: bool = Field(
        default=False, description="Fail where a series could not be fetched, instead of degrading."
    )
    workers: int = Field(default=8, ge=1, le=256, description="Requests at once.")
    batch_rows: int = Field(
        default=1_000_000, ge=1, le=10_000_000, description="Rows of one commit at most."
    )
    batch_seconds: float = Field(
        default=20.0, gt=0, le=3_600, description="A commit is made at least so often."
    )


class CandidateParams(IntakeParams, SeriesParams):
    """An intake of the series that a file of candidates names."""
