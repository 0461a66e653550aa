"""What a check takes and what it answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from quant_sdk.errors import InvalidInput
from quant_sdk.lakehouse.instants import instant
from quant_sdk.lakehouse.timeframe import Timeframe
from quant_sdk.observability.uri import check_node

if TYPE_CHECKING:
    from collections.abc import Callable


class ConformanceParams(BaseModel):
    """What is checked, against what, and where the report is kept."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    table: str | None = Field(
        default=None, description="A table of the lakehouse; default: bars, unless path is given."
    )
    snapshot: str | None = Field(
        default=None, description="Check the table as this snapshot keeps it."
    )
    path: str | None = Field(
        default=None,
        description="A file or folder instead: Parquet, Feather or CSV with the schema's columns; "
        "absolute, or seen from the workspace.",
    )
    data_schema: str | None = Field(
        default=None,
        description="The canonical schema, such as ticks/1; default: the table's, and bars for "
        "files.",
    )
    symbols: tuple[str, ...] = Field(
        default=(), description="Only these; a single one names files that have no such column."
    )
    timeframes: tuple[str, ...] = Field(
        default=(), description="Only these; a single one names files that have no such column."
    )
    since: str | None = Field(
        default=None, description="First instant, inclusive: 2024-01-31 or 2024-01-31T10:00:00Z."
    )
    until: str | None = Field(default=None, description="Exclusive: [since, until).")
    as_of: str | None = Field(
        default=None,
        description="Count the closed bars that each series is behind this instant, or: now.",
    )
    preset: str | None = Field(
        default=None, description="Severities and thresholds; default: the workspace's settings."
    )
    mode: Literal["blocking", "partial_ok", "shadow"] | None = Field(
        default=None,
        description="blocking: fail on a verdict of block; partial_ok: only where a rule crashed; "
        "shadow: never. Default: the workspace's settings.",
    )
    node: str | None = Field(
        default=None,
        description="The name that the reports are kept and compared by; default: from what is "
        "checked. Name it where the window moves.",
    )
    world: str = Field(default="", description="The world whose data it is, for the report.")
    gate_worse: bool = Field(
        default=False,
        description="Fail where it is worse than in the node's last report that was not refused.",
    )
    piece_rows: int = Field(
        default=2_000_000, ge=1, description="Rows in memory a thread; a series is never cut."
    )
    workers: int = Field(default=0, ge=0, le=256, description="Threads; 0: the machine's cores.")

    @field_validator("since", "until", "as_of")
    @classmethod
    def _is_instant(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and (info.field_name, value) != ("as_of", "now"):
            _accept(instant, value, str(info.field_name))
        return value

    @field_validator("timeframes")
    @classmethod
    def _are_timeframes(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            _accept(Timeframe.parse, value)
        return values

    @field_validator("node")
    @classmethod
    def _is_node(cls, value: str | None) -> str | None:
        if value is not None:
            _accept(check_node, value)
        return value

    @field_validator("preset")
    @classmethod
    def _is_preset(cls, value: str | None) -> str | None:
        from quant_sdk.conformance.presets import preset_named

        if value is not None:
            _accept(preset_named, value)
        return value

    @model_validator(mode="after")
    def _one_subject(self) -> Self:
        if self.path is not None and (self.table is not None or self.snapshot is not None):
            raise ValueError("give either path, or table and snapshot")
        return self


def _accept(check: Callable[..., object], *given: str) -> None:
    """Refuse a value as pydantic expects it where `check` does."""
    try:
        check(*given)
    except InvalidInput as error:
        raise ValueError(f"{error.message}; {error.fix}") from error


class Compared(BaseModel):
    """How the report compares with the node's report before; `counts` by trend."""

    outcome: Literal["first", "same", "better", "worse", "mixed"]
    before: str | None
    counts: dict[str, int]
    caveats: list[str]


class CheckResult(BaseModel):
    """What was found: `uri` names exactly this report, `latest` the node's last one.

    `flagged` counts by rule what warns or blocks; `kept` is False where the node's last report says
    the same and stands for this one.
    """

    message: str
    verdict: Literal["pass", "warn", "block"]
    mode: Literal["blocking", "partial_ok", "shadow"]
    node: str
    uri: str
    latest: str
    report: str
    kept: bool
    rows_in: int
    rows_out: int
    quarantined: int
    identical_duplicates: int
    flags: int
    flagged: dict[str, int]
    series: int
    expected: int
    missing: int
    verified_empty: int
    regression: Compared
