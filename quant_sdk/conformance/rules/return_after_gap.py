"""Rule ``return_after_gap``."""

from __future__ import annotations

from typing import Final

from quant_sdk.conformance.rule import Rule
from quant_sdk.conformance.rules.return_spike import MAX_RETURN
from quant_sdk.conformance.rules.return_spike import RULE as SPIKE

RULE: Final = Rule(
    id="return_after_gap",
    kind="bars",
    severity="note",
    measures="returns above `max_return` from one side of a gap to the other: the price had time "
    "to move, so the bar stays; where it blocks, the bar is refused, and all that stay up there",
    source="as return_spike; a return belongs to the time that it took",
    scope="series",
    thresholds={"max_return": MAX_RETURN},
    bad=SPIKE.bad,
    reason=SPIKE.reason,
)
