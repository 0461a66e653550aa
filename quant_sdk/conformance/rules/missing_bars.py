"""Rule ``missing_bars``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from quant_sdk.conformance.rule import Rule

if TYPE_CHECKING:
    from quant_sdk.conformance.report import SeriesRollup
    from quant_sdk.conformance.rule import Asked


def missing_bars(series: SeriesRollup, asked: Asked) -> int:
    """Count the expected bars of a series that are not there, less the verified-empty ones."""
    lost = series.missing - series.verified_empty
    share = asked.thresholds["max_missing_share"]
    return lost if share is None or lost > share * series.expected else 0


RULE: Final = Rule(
    id="missing_bars",
    kind="bars",
    severity="note",
    measures="expected bars that are not there, less the verified-empty ones; a warning for series "
    "that miss a larger share than `max_missing_share`, once that is given",
    source="Wang and Strong (1996), Beyond accuracy: completeness",
    scope="rollup",
    thresholds={"max_missing_share": None},
    counts=missing_bars,
    graver="max_missing_share",
)
