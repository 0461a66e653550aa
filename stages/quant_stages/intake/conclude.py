"""The end of an intake: its report, its result, and when it is a failure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from quant_sdk.errors import NoData, QuantError, SourceError, error_of
from quant_stages.intake.counts import MOST_FAILURES, IntakeResult
from quant_stages.intake.standing import bare, lacking

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from quant_sdk import Run
    from quant_sdk.seamless import Shard, Wanted
    from quant_stages.intake.counts import Counts, FailedSeries

_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What an intake was asked for.

    Attributes:
        series: those that some source gives.
        shards: what was planned of them.
        now: bars that close later were not wanted.
        strict: a series of which some bars failed fails the run.
        skipped: venues of which no source gives bars.
        unsourced: series of such venues that are amiss where they hold nothing.
        amiss: what makes the health degraded whatever comes.
        odd: what is to be looked at, and no more.
    """

    series: Sequence[Wanted]
    shards: Sequence[Shard]
    now: datetime
    strict: bool
    skipped: Sequence[str] = ()
    unsourced: Sequence[Wanted] = ()
    amiss: Sequence[str] = ()
    odd: Sequence[str] = ()


def conclude(run: Run, counts: Counts, asked: Asked) -> IntakeResult:
    """Write the report ``intake`` and return the result.

    Raises:
        QuantError: nothing came of anything that is wanted, and none of it was there: SourceError
            where another run may do better, else an error of the first failure's kind.
        NoData: a series holds nothing, and the run is strict.
    """
    failures = list(counts.failures.values())
    empty = bare(run.workspace, [*asked.series, *asked.unsourced], counts.came, asked.now)
    amiss = [*asked.amiss, *_told(empty)]
    report = run.write_report(
        "intake",
        {
            "shards": len(asked.shards),
            "requests": counts.requests,
            "rows": counts.rows.model_dump(),
            "holes": dict(counts.holes),
            "notes": dict(counts.notes),
            "failures": [failure.model_dump() for failure in failures],
            "skipped_venues": list(asked.skipped),
            "without_bars": [" ".join(series) for series in empty],
        },
    )
    run.report(health_check="degraded" if failures or amiss else "passed")
    served = {(item.symbol, item.timeframe) for item in asked.series} - set(empty)
    lost = counts.failures.keys() - counts.answered
    if failures and (asked.strict or not served - lost):
        raise _error(failures, len(asked.series), report)
    if amiss and asked.strict:
        raise NoData("; ".join(amiss), fix="mend the candidates, or run without --strict")
    return IntakeResult(
        message=_message(run, counts, asked),
        committed=counts.committed,
        health_check="degraded" if failures or amiss else "passed",
        series=len(asked.series),
        shards=len(asked.shards),
        requests=counts.requests,
        rows=counts.rows,
        holes=dict(counts.holes),
        notes={name: count for name, count in counts.notes.items() if count},
        failed=len(failures),
        failures=failures[:MOST_FAILURES],
        skipped_venues=list(asked.skipped),
        warnings=[*amiss, *asked.odd][:MOST_FAILURES],
        reports={"intake": report},
    )


def named(items: Sequence[str]) -> str:
    """Return the first of some names, and a sign that there are more."""
    return ", ".join(items[:_SHOWN]) + (", …" if len(items) > _SHOWN else "")


def _told(empty: Sequence[tuple[str, str]]) -> list[str]:
    if not empty:
        return []
    names = named([" ".join(series) for series in empty])
    return [f"{len(empty)} series hold no bar, and none came: {names}"]


def _error(failures: Sequence[FailedSeries], series: int, report: str) -> QuantError:
    """Return one error for all failures, retryable where one of them is."""
    first = next((item for item in failures if item.retryable), failures[0])
    code = SourceError.code if first.retryable else first.code
    message = (
        f"{len(failures)} of {series} series failed, among them "
        f"{first.symbol} {first.timeframe}: {first.message}"
    )
    return error_of(code, message, fix=first.fix, report=report)


def _message(run: Run, counts: Counts, asked: Asked) -> str:
    venues = named(asked.skipped)
    skipped = f"; no source gives bars of {venues}" if asked.skipped else ""
    if not counts.shards:
        return lacking(run.workspace, asked.series, asked.now) + skipped
    parts = [f"{counts.rows.bars} bars of {len(asked.series)} series are new"]
    if counts.rows.corrected:
        parts.append(f"{counts.rows.corrected} are corrected")
    if counts.rows.quarantined:
        parts.append(f"{counts.rows.quarantined} rows were refused")
    if missing := sum(counts.holes.values()):
        causes = ", ".join(f"{count} {cause}" for cause, count in sorted(counts.holes.items()))
        parts.append(f"{missing} bars did not come ({causes})")
    return "; ".join(parts) + skipped
