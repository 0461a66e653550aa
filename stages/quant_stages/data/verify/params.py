"""What verification takes and what it answers."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from quant_stages.intake.params import SeriesParams


class VerifyParams(SeriesParams):
    """Which series are looked at, and how far behind they may be."""

    max_behind: int = Field(
        default=1, ge=0, description="Closed bars that a series may lack at its end and be fresh."
    )
    strict: bool = Field(default=False, description="Fail where the health is degraded.")


class VerifyResult(BaseModel):
    """How the lakehouse stands; `missing` counts bars by cause, `stale` are the first 50."""

    message: str
    health_check: Literal["passed", "degraded"]
    series: int
    fresh: int
    missing: dict[str, int]
    stale: list[str]
    content_hash: str
    reports: dict[str, str]
