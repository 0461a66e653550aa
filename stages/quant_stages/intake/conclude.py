"""The end of an intake: its report, its result, and when it is a failure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quant_sdk.errors import SourceError
from quant_stages.intake.counts import MOST_FAILURES, IntakeResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quant_sdk import Run
    from quant_sdk.seamless import Shard
    from quant_stages.intake.counts import Counts


def conclude(
    run: Run, counts: Counts, shards: Sequence[Shard], *, series: int, strict: bool
) -> IntakeResult:
    """Write the report ``intake`` and return the result.

    Args:
        run: the run.
        counts: what the intake came to.
        shards: what was planned.
        series: how many series were wanted.
        strict: a series of which some bars failed fails the run.

    Raises:
        SourceError: nothing came of anything that was asked for; or a series failed, and the run
            is strict.
    """
    failures = list(counts.failures.values())
    report = run.write_report(
        "intake",
        {
            "shards": len(shards),
            "requests": counts.requests,
            "rows": counts.rows.model_dump(),
            "holes": dict(counts.holes),
            "notes": dict(counts.notes),
            "failures": [failure.model_dump() for failure in failures],
            "skipped_venues": counts.skipped,
        },
    )
    health = "degraded" if failures else "passed"
    run.report(health_check=health)
    if failures and (strict or counts.failed_shards == counts.shards):
        first = failures[0]
        raise SourceError(
            f"{len(failures)} of {series} series failed, the first of them "
            f"{first.symbol} {first.timeframe}: {first.message}",
            fix=first.fix,
            report=report,
        )
    return IntakeResult(
        message=_message(counts, series),
        committed=counts.committed,
        health_check="degraded" if failures else "passed",
        series=series,
        shards=len(shards),
        requests=counts.requests,
        rows=counts.rows,
        holes=dict(counts.holes),
        notes={name: count for name, count in counts.notes.items() if count},
        failed=len(failures),
        failures=failures[:MOST_FAILURES],
        skipped_venues=counts.skipped,
        reports={"intake": report},
    )


def _message(counts: Counts, series: int) -> str:
    skipped = f"; no source gives bars of {', '.join(counts.skipped)}" if counts.skipped else ""
    if not counts.shards:
        return f"nothing to do: {series} series hold what is wanted{skipped}"
    parts = [f"{counts.rows.bars} bars of {series} series are new"]
    if counts.rows.corrected:
        parts.append(f"{counts.rows.corrected} are corrected")
    if counts.rows.quarantined:
        parts.append(f"{counts.rows.quarantined} rows were refused")
    if missing := sum(counts.holes.values()):
        causes = ", ".join(f"{count} {cause}" for cause, count in sorted(counts.holes.items()))
        parts.append(f"{missing} bars did not come ({causes})")
    return "; ".join(parts) + skipped
