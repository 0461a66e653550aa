"""Rule ``stale_series``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from quant_sdk.conformance.rule import Rule

if TYPE_CHECKING:
    from quant_sdk.conformance.report import SeriesRollup
    from quant_sdk.conformance.rule import Asked


def stale_series(series: SeriesRollup, asked: Asked) -> int:
    """Count the bars by which a series is behind ``as_of``."""
    most = asked.thresholds["max_bars_behind"]
    return series.behind if most is None or series.behind > most else 0


RULE: Final = Rule(
    id="stale_series",
    kind="bars",
    severity="note",
    measures="expected bars that have closed by `as_of` and come after the last one; a warning for "
    "series that are further behind than `max_bars_behind`, once that is given",
    source="Wang and Strong (1996), Beyond accuracy: timeliness",
    scope="rollup",
    thresholds={"max_bars_behind": None},
    counts=stale_series,
    graver="max_bars_behind",
)
