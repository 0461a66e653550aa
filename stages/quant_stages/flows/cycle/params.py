"""What the cycle takes and what it answers."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class CycleParams(BaseModel):
    """Parameters of the daily cycle."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    manifest: str = Field(
        default="data/manifest.json",
        description="The manifest, absolute or seen from the workspace.",
    )
    profiles: tuple[str, ...] = Field(
        default=(), description="Only these profiles; default: the manifest's default_profile."
    )
    candidates: str = Field(
        default="", description="Work on this file of candidates instead of discovering."
    )
    skip: tuple[str, ...] = Field(
        default=(), description="Stages to leave out, such as data.features."
    )
    strict: bool = Field(
        default=False, description="Fail where a step failed or degraded, instead of going on."
    )


class StepResult(BaseModel):
    """One step of the cycle: a child run."""

    stage_id: str
    run_id: str
    state: str
    message: str


class CycleResult(BaseModel):
    """What the cycle did; `snapshot` names the state that it left."""

    message: str
    health_check: Literal["passed", "degraded"]
    candidates: str
    snapshot: str
    steps: list[StepResult]
