"""What a promotion takes and what it answers."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from quant_sdk.schemas.promotion import WINDOW_DAYS, Window


class PromoteParams(BaseModel):
    """Parameters of a promotion."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    schema_name: str = Field(
        alias="schema", min_length=1, description="The schema: NAME, or NAME/VERSION."
    )
    version: int | None = Field(
        default=None, ge=1, description="Its version; default: the newest one."
    )
    window_days: int = Field(
        default=WINDOW_DAYS,
        ge=1,
        le=366,
        description="On how many days there must be clean checks since the last failure.",
    )
    window_checks: int | None = Field(
        default=None,
        ge=1,
        description="In the place of days: how many clean checks since the last failure.",
    )

    @property
    def window(self) -> Window:
        """How long the canary must have been clean."""
        return Window(days=self.window_days, checks=self.window_checks)


class PromoteResult(BaseModel):
    """What a promotion did; `entry` is the page that tells of it."""

    message: str
    committed: bool
    schema_id: str
    fingerprint: str
    bundle: str
    approvers: list[str]
    promoted_by: str
    promoted_at: str
    entry: str
    report: str
