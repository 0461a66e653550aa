"""What comes out of the stages: the good rows, the refused ones, the error that stops both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from quant_registry.errors import ConformanceError
from quant_sdk.lakehouse.timeframe import from_micros

if TYPE_CHECKING:
    from quant_sdk.conformance.report import ConformanceReport
    from quant_sdk.conformance.work import Work

_SHOWN: Final = 3
_REFUSED: Final = {"row": pl.UInt32, "rule": pl.String, "reason": pl.String}


def good_rows(work: Work) -> pl.DataFrame:
    """Return the good rows of all parts."""
    parts = [part.divided.selection.frame() for part in work.parts if part.divided is not None]
    if len(parts) == 1:
        return parts[0]
    return pl.concat([work.frame.head(0), *parts])


def refused_rows(work: Work) -> pl.DataFrame:
    """Return the refused rows, each once, under what refused it first."""
    found = [pl.DataFrame(schema=_REFUSED), *(_placed(each) for each in work.refused)]
    for part in work.parts:
        if part.divided is not None:
            own = part.divided.refused
            found.append(_placed(own.with_columns(part.rows.origin(own["at"]).alias("at"))))
    every = pl.concat(found).unique("row", keep="first", maintain_order=True).sort("row")
    # A table may have columns of these names itself, as the quarantine has.
    rows = work.frame[every["row"]].drop(list(_REFUSED), strict=False)
    return pl.concat([every.select("row"), rows, every.select("rule", "reason")], how="horizontal")


def _placed(refused: pl.DataFrame) -> pl.DataFrame:
    return refused.select(pl.col("at").alias("row"), "rule", "reason")


def time_text(at: int | None) -> str | None:
    """Return microseconds since the epoch as ISO 8601."""
    return None if at is None else from_micros(at).isoformat().replace("+00:00", "Z")


def blocked(report: ConformanceReport) -> ConformanceError:
    """Return what says that data was stopped: what is wrong with it, and the report."""
    blocking = {each.rule: each.count for each in report.rules if each.severity == "block"}
    told = [f"{count} x {rule}" for rule, count in blocking.items() if count]
    findings = [each for each in report.schema_findings if each.severity == "block"]
    told += [f"{each.column}: {each.told}" for each in findings]
    more = "" if len(told) <= _SHOWN else f", and {len(told) - _SHOWN} more"
    return ConformanceError(
        f"{report.node} does not conform to {report.schema_id}: {', '.join(told[:_SHOWN])}{more}",
        fix="look at the report; ConformancePipeline.partial_ok(True) gives the good rows",
        report=report,
    )
