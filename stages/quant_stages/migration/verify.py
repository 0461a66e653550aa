"""Step 4: prove that every row of every source is accounted for in the lakehouse."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from quant_sdk.errors import Conflict, SourceUnreadable
from quant_stages.migration.state import Failure
from quant_stages.tables import parity_failed, parity_report

if TYPE_CHECKING:
    from quant_sdk import Run
    from quant_stages.migration.state import Migration

NAME = "verify"
PHASE = "verification"


def apply(run: Run, state: Migration) -> Migration:
    """Compare sources and tables; set the health check.

    Raises:
        ParityFailed: a row is unaccounted for; health is ``failed``.
        SourceUnreadable: a source could not be read, and the run is strict.
    """
    report, path = parity_report(run)
    state = replace(state, superseded=tuple(_superseded(report)))
    health = _health(report, state)
    run.report(health_check=health)
    run.emit(
        "parity_checked",
        status="success" if report["ok"] else "failed",
        health_check=health,
        series=len(report["series"]),
        content_hash=report["content_hash"],
    )
    if health == "failed":
        raise parity_failed(report, path)
    if health == "degraded" and state.params.strict:
        failures = (*state.failures, *state.superseded)
        names = ", ".join(failure.source for failure in failures[:5])
        raise SourceUnreadable(
            f"{len(failures)} sources failed: {names}",
            fix="mend them, or run without --strict",
        )
    return replace(
        state,
        content_hash=report["content_hash"],
        reports=state.reports | {"parity": path},
    )


def _superseded(report: dict[str, Any]) -> list[Failure]:
    """Return a failure for each source whose earlier declaration left bars that stand yet."""
    return [
        Failure(
            source=item["source"],
            symbol=item["symbol"],
            error=Conflict(
                f"{item['source']} was declared otherwise before: {item['bars']} bars of that "
                f"reading stand in {item['symbol']} {item['timeframe']}",
                fix=f"withdraw them: quant lakehouse undo --source {item['source']}",
            ),
        )
        for item in report["superseded"]
    ]


def _health(report: dict[str, Any], state: Migration) -> str:
    if not report["ok"]:
        return "failed"
    return "degraded" if state.failures or state.superseded else "passed"
