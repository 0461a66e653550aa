"""What the stages of upkeep take and what they answer."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class OptimizeParams(BaseModel):
    """Parameters of a compaction."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tables: tuple[str, ...] = Field(default=(), description="Only these tables; default: all.")
    small_files: int = Field(
        default=8,
        ge=1,
        le=10_000,
        description="How many small files a partition may keep before it is rewritten.",
    )
    vacuum: bool = Field(
        default=True, description="Remove the files that no version within the retention names."
    )
    retention_hours: int = Field(
        default=30 * 24,
        ge=7 * 24,
        description="How long replaced files stay, for readers, undo and restore: a week at least.",
    )


class Compaction(BaseModel):
    """A partition of a table that was rewritten."""

    table: str
    partition: str
    files: int
    files_after: int
    rows: int
    version: int


class OptimizeResult(BaseModel):
    """What a compaction did; `partitions` are the first 50, `busy` were written to meanwhile."""

    message: str
    committed: bool
    partitions: list[Compaction]
    count: int
    files_before: int
    files_after: int
    rows: int
    busy: list[str]
    files_removed: int
    bytes_removed: int


class RestoreParams(BaseModel):
    """Parameters of a restore."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = Field(ge=0, description="The version to go back to: quant lakehouse history.")
    table: str = Field(default="bars", description="The table.")


class ChangedSeries(BaseModel):
    """How many bars of a series went to quarantine, changed and came."""

    symbol: str
    timeframe: str
    withdrawn: int
    corrected: int
    brought: int


class RestoreResult(BaseModel):
    """What a restore did; `series` are the first 50, `made` is the new version, -1 for none."""

    message: str
    committed: bool
    table: str
    version: int
    made: int
    rows: int
    withdrawn: int
    corrected: int
    brought: int
    series: list[ChangedSeries]


class UndoParams(BaseModel):
    """Parameters of an undo; one of the two is given."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run_id: str | None = Field(
        default=None, description="The run to take back, and its child runs with it."
    )
    source: str | None = Field(
        default=None,
        description="The source of which to take back what its earlier declarations gave.",
    )

    @model_validator(mode="after")
    def _one_of_the_two(self) -> Self:
        if (self.run_id is None) == (self.source is None):
            raise ValueError("give either run_id or source")
        return self


class KeptSeries(BaseModel):
    """How many bars of a series stay, since others have changed them since."""

    symbol: str
    timeframe: str
    rows: int


class UndoResult(BaseModel):
    """What an undo did; `series` and `kept_series` are the first 50, `made` is the new version."""

    message: str
    committed: bool
    of: str
    made: int
    withdrawn: int
    corrected: int
    brought: int
    kept: int
    series: list[ChangedSeries]
    kept_series: list[KeptSeries]


class ReplayParams(BaseModel):
    """Parameters of a replay."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    symbol: str | None = Field(default=None, description="Only rows of this symbol.")
    rule: str | None = Field(
        default=None,
        description="Only rows that this rule refused; rows that were taken back come only where "
        "their rule is named: withdrawn.",
    )
    source: str | None = Field(default=None, description="Only rows that this source brought.")


class ReplayResult(BaseModel):
    """What a replay did; `series` are the first 50, `made` is the new version, -1 for none."""

    message: str
    committed: bool
    rows: int
    published: int
    marked: int
    made: int
    series: list[ChangedSeries]


class SnapshotResult(BaseModel):
    """The snapshot of this state; `reused` where it stood already."""

    message: str
    snapshot: str
    reused: bool
    files: int
    bytes: int
    table_versions: dict[str, int]
