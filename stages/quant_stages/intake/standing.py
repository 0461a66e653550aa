"""What series hold once an intake has ended."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import polars as pl

from quant_sdk.lakehouse.lakehouse import Lakehouse
from quant_sdk.lakehouse.timeframe import Timeframe, to_micros
from quant_sdk.seamless import expected_spans, standings

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from quant_sdk import Workspace
    from quant_sdk.seamless import Wanted

Series = tuple[str, str]


def bare(
    workspace: Workspace, wanted: Sequence[Wanted], came: Collection[Series], now: datetime
) -> list[Series]:
    """Return the series that hold no bar at all, though their calendars expect some.

    Args:
        workspace: whose.
        wanted: the series, and the windows in which bars are expected.
        came: series of which rows came just now; they are not looked at.
        now: only bars closed by then are expected.
    """
    asked = [item for item in wanted if (item.symbol, item.timeframe) not in came]
    if not asked:
        return []
    lakehouse = Lakehouse(workspace)
    of_asked = (
        pl.col("timeframe").is_in({item.timeframe for item in asked}),
        pl.col("symbol").is_in({item.symbol for item in asked}),
    )
    found = lakehouse.table("bars").read(
        lambda bars: bars.filter(*of_asked).select("symbol", "timeframe").unique().collect()
    )
    held, calendar_of = set(found.iter_rows()), lakehouse.calendars()
    missing = []
    for item in asked:
        step = Timeframe.parse(item.timeframe)
        end = min(item.end, step.floor(to_micros(now)))
        if (item.symbol, item.timeframe) not in held and expected_spans(
            item.start, end, step, calendar_of(item.symbol)
        ):
            missing.append((item.symbol, item.timeframe))
    return missing


def lacking(workspace: Workspace, wanted: Sequence[Wanted], now: datetime) -> str:
    """Return why there was nothing to ask for: all is held, or sources have said what is not."""
    if not wanted:
        return "nothing to do: no series is wanted that a source gives"
    lakehouse = Lakehouse(workspace)
    found = standings(lakehouse, wanted, lakehouse.calendars(), now)
    missing = sum((Counter(item.missing) for item in found), Counter[str]())
    whole = sum(not item.gaps for item in found)
    if not missing:
        return f"nothing to do: {whole} series hold what is wanted"
    causes = ", ".join(f"{count} {cause}" for cause, count in sorted(missing.items()))
    return (
        f"nothing to do: {whole} of {len(found)} series hold what is wanted; the others lack "
        f"{missing.total()} bars that are not to be asked for now ({causes})"
    )
