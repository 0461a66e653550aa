"""Rule ``volume_spike``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from quant_sdk.conformance.rule import Rule
from quant_sdk.conformance.rules._shared import shown

if TYPE_CHECKING:
    from quant_sdk.conformance.rule import Asked

VOLUME_SIGMAS: Final = 10.0
ROUNDING: Final = 1e-9
"""What is nearer to the mean than this share of it may differ by the rounding of the sum alone."""


def volume_spike(asked: Asked) -> pl.Expr:
    """Mark the bars whose volume is far above the mean of their series."""
    volume = pl.col("volume")
    mean, spread = volume.mean(), asked.limit("volume_sigmas") * volume.std()
    return volume > mean + pl.max_horizontal(spread, ROUNDING * mean.abs())


def _reason(asked: Asked) -> pl.Expr:
    sigmas = asked.limit("volume_sigmas")
    return pl.format(f"volume {{}} is more than {sigmas:g} sigmas above the mean", shown("volume"))


RULE: Final = Rule(
    id="volume_spike",
    kind="bars",
    severity="note",
    measures="bars whose volume is more than `volume_sigmas` standard deviations above the mean",
    source="Grubbs (1969), Procedures for detecting outlying observations in samples",
    scope="series",
    thresholds={"volume_sigmas": VOLUME_SIGMAS},
    bad=volume_spike,
    reason=_reason,
)
