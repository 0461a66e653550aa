"""Verification: ledger against tables, and each series against what is wanted of it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from quant_sdk.errors import NoData
from quant_sdk.lakehouse.lakehouse import Lakehouse
from quant_sdk.seamless import standings
from quant_sdk.seamless.holes import FAILING
from quant_stages.data.verify.params import VerifyResult
from quant_stages.intake.wanted import parted, wanted
from quant_stages.tables import parity_failed, parity_report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quant_sdk import Run
    from quant_sdk.seamless import Standing
    from quant_stages.data.verify.params import VerifyParams

MOST_STALE = 50
# Holes that a repair would try to fill.
_OPEN = FAILING | {"unasked"}


def verify(run: Run, params: VerifyParams) -> VerifyResult:
    """Compare ledger and tables, then say of every series what it lacks and why.

    Raises:
        ParityFailed: a row is unaccounted for; health is ``failed``.
        NoData: there are no candidates; or the health is degraded, and the run is strict.
    """
    run.report(phase="verification", health_check="pending")
    with run.step("parity", phase="verification"):
        checked, parity_report = _parity(run)
    with run.step("coverage", phase="verification"):
        found = _standings(run, params)
        stale = [item for item in found if item.behind > params.max_behind]
        missing: Counter[str] = Counter()
        for item in found:
            missing.update(item.missing)
        report = _report(run, found, missing)
    health = "degraded" if stale or _OPEN & missing.keys() else "passed"
    run.report(health_check=health)
    run.emit(
        "coverage_checked",
        status="success",
        health_check=health,
        series=len(found),
        stale=len(stale),
        missing=dict(missing),
    )
    if health == "degraded" and params.strict:
        raise NoData(
            _message(found, stale, missing), fix="quant stage run data.repair", report=report
        )
    return VerifyResult(
        message=_message(found, stale, missing),
        health_check="degraded" if health == "degraded" else "passed",
        series=len(found),
        fresh=len(found) - len(stale),
        missing=dict(missing),
        stale=[f"{item.symbol} {item.timeframe}: {item.behind} behind" for item in stale][
            :MOST_STALE
        ],
        content_hash=checked["content_hash"],
        reports={"parity": parity_report, "coverage": report},
    )


def _parity(run: Run) -> tuple[dict[str, Any], str]:
    report, path = parity_report(run)
    run.emit(
        "parity_checked",
        status="success" if report["ok"] else "failed",
        series=len(report["series"]),
        content_hash=report["content_hash"],
    )
    if not report["ok"]:
        run.report(health_check="failed")
        raise parity_failed(report, path)
    return report, path


def _standings(run: Run, params: VerifyParams) -> list[Standing]:
    now = run.clock.now()
    named = wanted(run.workspace, params, now)
    series, _ = parted(run.workspace, named)
    run.report(candidate_count=len({item.symbol for item in named}))
    lakehouse = Lakehouse(run.workspace)
    return standings(lakehouse, series, lakehouse.calendars(), now)


def _report(run: Run, found: Sequence[Standing], missing: Counter[str]) -> str:
    return run.write_report(
        "coverage",
        {"missing": dict(missing), "series": [item.to_dict() for item in found]},
    )


def _message(found: Sequence[Standing], stale: Sequence[Standing], missing: Counter[str]) -> str:
    fresh = f"{len(found) - len(stale)} of {len(found)} series are fresh"
    if not missing:
        return f"{fresh}, none has a hole in what is wanted"
    causes = ", ".join(f"{count} {cause}" for cause, count in sorted(missing.items()))
    return f"{fresh}; {missing.total()} bars are missing ({causes})"
