"""Rule ``flat_close``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from quant_sdk.conformance.rule import Rule
from quant_sdk.conformance.rules._shared import shown

if TYPE_CHECKING:
    from quant_sdk.conformance.rule import Asked

FLAT_RUN: Final = 10
"""A run of at least this many equal closes is noted as flat."""


def flat_close(asked: Asked) -> pl.Expr:
    """Mark the first bar of each run of equal closes that is long enough."""
    close = pl.col("close")
    begins = close.ne_missing(close.shift(1)) | (pl.int_range(pl.len()) == 0)
    length = pl.len().over(begins.cum_sum())
    return begins & (length >= asked.limit("flat_run"))


def _reason(asked: Asked) -> pl.Expr:
    run = f"{asked.limit('flat_run'):g}"
    return pl.format(f"{run} bars or more in a row close at {{}}", shown("close"))


RULE: Final = Rule(
    id="flat_close",
    kind="bars",
    severity="note",
    measures="stalls: runs of `flat_run` equal closes or more; the first bar is noted, and all of "
    "them are refused where it blocks",
    source="Falkenberry (2002), High frequency data filtering: stale prices",
    scope="series",
    thresholds={"flat_run": FLAT_RUN},
    bad=flat_close,
    reason=_reason,
)
