"""Rule ``timestamp_missing``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from quant_sdk.conformance.rule import Rule
from quant_sdk.conformance.rules._shared import say

if TYPE_CHECKING:
    from quant_sdk.conformance.rule import Asked


def timestamp_missing(_: Asked) -> pl.Expr:
    """Mark the rows without a timestamp."""
    return pl.col("ts").is_null()


RULE: Final = Rule(
    id="timestamp_missing",
    kind="bars",
    severity="block",
    measures="rows whose timestamp is null",
    source="the key of the canonical schema bars",
    bad=timestamp_missing,
    reason=say("the timestamp is null"),
    nulls=("ts",),
)
