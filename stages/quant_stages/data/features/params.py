"""What the taking in of features takes and what it answers."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class FeaturesParams(BaseModel):
    """Parameters of a taking in of features."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    candidates: str = Field(
        default="",
        description="File of candidates, seen from the workspace; default: the newest export.",
    )
    every_series: bool = Field(
        default=False,
        description="Compute the history of every series in `bars`, not only of the candidates.",
    )
    timeframes: tuple[str, ...] = Field(
        default=(),
        description="Only these bar lengths; default: those of the candidates and 1d for "
        "technicals, all that `bars` has for history.",
    )
    technicals: bool = Field(default=True, description="Ask the scanner for today's technicals.")
    history: bool = Field(default=True, description="Compute history by TA-Lib (extra `features`).")
    strict: bool = Field(
        default=False, description="Fail where the scanner failed, instead of degrading."
    )
    workers: int = Field(
        default=2, ge=1, le=256, description="Threads that compute; each holds some series."
    )
    batch_rows: int = Field(
        default=500_000, ge=1, le=10_000_000, description="Rows of one commit, about."
    )


class RowCounts(BaseModel):
    """What became of rows."""

    added: int = 0
    replaced: int = 0
    removed: int = 0
    unchanged: int = 0


class FailedPart(BaseModel):
    """A part of the technicals that did not come."""

    part: str
    code: str
    message: str
    fix: str


class FeaturesResult(BaseModel):
    """What a taking in of features did.

    `technicals.unchanged` counts rows, `history.unchanged` bars whose row stands. `refused` are the
    first 50 symbols that the table `symbols` does not hold.
    """

    message: str
    committed: bool
    health_check: Literal["passed", "degraded"]
    source: str
    symbols: int
    without_technicals: int
    technicals: RowCounts
    series: int
    bars: int
    history: RowCounts
    refused_symbols: int
    refused: list[str]
    failed: int
    failures: list[FailedPart]
