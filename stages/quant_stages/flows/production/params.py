"""What the production gate takes and what it answers."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from quant_sdk.errors import InvalidInput
from quant_sdk.lakehouse.timeframe import Timeframe


class FlowProductionParams(BaseModel):
    """Parameters of the production gate."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    candidates: str | None = Field(
        default=None,
        description="A candidates.json, absolute or seen from the workspace; default: the newest "
        "that a discovery exported.",
    )
    profile: str | None = Field(
        default=None,
        description="Where no file is named: the newest that was exported for this profile.",
    )
    timeframe: str | None = Field(
        default=None,
        description="Bars to take returns of; default: what most of the candidates name, of "
        "equally many the longest; 1d where none names any.",
    )
    lookback_days: int = Field(
        default=365, ge=1, le=100_000, description="Days of returns, back from the newest bar."
    )
    max_age: str | None = Field(
        default=None,
        description="How long after its newest bar has closed a series is stale where bars are "
        "missing, such as 36h; default: as soon as more than two bars of its calendar are missing.",
    )
    max_stale_share: float = Field(
        default=0.1,
        ge=0.0,
        le=1.0,
        description="The gate stays shut where more than this share of the candidates is stale.",
    )
    allow_stale: bool = Field(
        default=False, description="Go on with stale data, and warn of it loudly."
    )

    @field_validator("timeframe", "max_age")
    @classmethod
    def _is_length(cls, text: str | None) -> str | None:
        try:
            return None if text is None else Timeframe.parse(text).text
        except InvalidInput as error:
            raise ValueError(f"{error.message}; {error.fix}") from error

    @field_validator("max_age")
    @classmethod
    def _is_no_month(cls, text: str | None) -> str | None:
        if text is not None and text.endswith("M"):
            raise ValueError("months differ in length; write days, such as 30d")
        return text


class StaleSeries(BaseModel):
    """A candidate whose newest bar is too old.

    `behind` counts bars that have closed since, within the last 60 days or 200 bars.
    """

    symbol: str
    last: str | None
    behind: int


class DroppedCandidate(BaseModel):
    """A candidate that is not handed on, and why."""

    symbol: str
    reason: str


class FlowProductionResult(BaseModel):
    """What was handed on; paths are relative to the workspace, lists hold the first 50.

    Returns are those of bars that open in ``[start, end)``, UTC.
    """

    message: str
    mode: Literal["lakehouse_only"] = "lakehouse_only"
    returns_matrix: str
    candidates: str
    candidates_from: str
    snapshot: str
    timeframe: str
    start: str
    end: str
    symbols: int
    rows: int
    stale: list[StaleSeries]
    stale_count: int
    dropped: list[DroppedCandidate]
    dropped_count: int
    network_attempts: int
    warnings: list[str]

    def warned(self, *more: str, **changes: Any) -> FlowProductionResult:
        """Return a copy with `changes` and more warnings."""
        return self.model_copy(update={"warnings": [*self.warnings, *more], **changes})
