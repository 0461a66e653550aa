"""The check: look at every piece, keep the report, and only then judge."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from quant_sdk.errors import ConformanceError
from quant_sdk.observability.regression import MEASURES
from quant_sdk.observability.store import ReportStore
from quant_sdk.observability.uri import ReportUri
from quant_sdk.schemas.client import FileSchemaRegistry
from quant_stages.conformance.looking import looker, pipeline_for, whole
from quant_stages.conformance.params import CheckResult, Compared
from quant_stages.conformance.subject import subject_of

if TYPE_CHECKING:
    from quant_sdk import Run
    from quant_sdk.conformance.pipeline import ConformancePipeline
    from quant_sdk.conformance.report import ConformanceReport
    from quant_sdk.observability.saved import SavedReport
    from quant_stages.conformance.looking import Examination, Looked
    from quant_stages.conformance.params import ConformanceParams
    from quant_stages.conformance.subject import Subject

_HEALTH = {"pass": "passed", "warn": "degraded", "block": "failed"}


def check(run: Run, params: ConformanceParams) -> CheckResult:
    """Check the subject, keep the report, and fail where the mode or the gate says so.

    Raises:
        ConformanceError: the verdict is ``block`` and the mode blocking; a rule crashed and the
            mode is not shadow; the schema is strict and the data deviates; or it is worse than
            before, and that was to be a reason. The report is kept first.
        NoData, InvalidInput, UnknownName, SourceUnreadable: there is nothing to check.
    """
    subject = subject_of(run.workspace, params)
    pipeline = pipeline_for(run.workspace, params, subject.kind)
    with run.step("check", phase="verification"):
        run.report(health_check="pending")
        found = _examined(run, params, subject, pipeline)
    with run.step("report", phase="verification"):
        saved = _keep(run, params, found.report)
        run.report(health_check=_HEALTH[found.report.verdict])
        _judge(run, subject, found, saved, pipeline)
    return result_of(saved)


def _examined(
    run: Run, params: ConformanceParams, subject: Subject, pipeline: ConformancePipeline
) -> Examination:
    look = looker(pipeline, subject, params, run.clock.now())
    pieces = subject.pieces(params)
    run.expect(sum(len(piece.series) for piece in pieces))
    done: list[Looked] = []
    for looked in run.map(look, pieces, workers=params.workers or None):
        run.advance(len(looked.piece.series))
        _tell(run, looked)
        done.append(looked)
    return whole(done)


def _tell(run: Run, looked: Looked) -> None:
    for each in looked.series:
        told = {name: value for name, value in asdict(each).items() if value is not None}
        status = "flagged" if each.flags else "success"
        run.emit("conformance_progress", status=status, **told)


def _keep(run: Run, params: ConformanceParams, report: ConformanceReport) -> SavedReport:
    return run.commit(
        lambda _: ReportStore(run.workspace).save(
            report, now=run.clock.now(), run_id=run.run_id, gate_worse=params.gate_worse
        ),
        batch_id=f"conformance-{report.digest[:16]}",
        event="conformance_reported",
        describe=_described,
    )


def _described(saved: SavedReport) -> dict[str, Any]:
    report = saved.report
    return {
        "status": "success",
        "node": report.node,
        "uri": saved.uri,
        "verdict": report.verdict,
        "rows": report.rows_in,
        "quarantined": report.quarantined,
        "flags": report.flags,
        "regression": saved.regression.outcome,
        "refused": saved.refused,
    }


def _judge(
    run: Run,
    subject: Subject,
    found: Examination,
    saved: SavedReport,
    pipeline: ConformancePipeline,
) -> None:
    """Raise what stops the data."""
    fix = f"see it: quant conformance report {saved.uri}"
    if not subject.files:
        _govern(run, saved, pipeline, fix)
    if found.stopped:
        said = pipeline.error(saved.report).message
        raise ConformanceError(said, fix=fix, uri=saved.uri)
    if saved.refused:
        raise ConformanceError(worse(saved), fix=fix, uri=saved.uri)


def _govern(run: Run, saved: SavedReport, pipeline: ConformancePipeline, fix: str) -> None:
    """Record the check with the schema's governance; what files of others hold is no evidence."""
    schemas, report = FileSchemaRegistry(run.workspace, clock=run.clock), saved.report
    try:
        schemas.check(
            pipeline.setting.schema, report.deviations, node=report.node, rows=report.rows_in
        )
    except ConformanceError as error:
        if report.mode != "shadow":
            raise ConformanceError(error.message, fix=fix, uri=saved.uri) from error
    finally:
        schemas.flush()


def worse(saved: SavedReport) -> str:
    """Return in a sentence what is worse than before."""
    bad = [change for change in saved.regression.changes if change.effect == "worse"]
    told = [
        f"{MEASURES[change.measure]} {change.name}: {change.before or 0} to {change.after or 0}"
        for change in bad[:3]
    ]
    more = f", and {len(bad) - len(told)} more" if len(bad) > len(told) else ""
    return f"{saved.report.node} is worse than before: {', '.join(told)}{more}"


def result_of(saved: SavedReport) -> CheckResult:
    """Return the answer of a check that was not stopped."""
    report, found = saved.report, saved.regression
    missing = sum(each.missing for each in report.series)
    empty = sum(each.verified_empty for each in report.series)
    return CheckResult(
        message=_message(saved, missing - empty),
        verdict=report.verdict,
        mode=report.mode,
        node=report.node,
        uri=saved.uri,
        latest=str(ReportUri(node=report.node)),
        report=saved.path,
        kept=saved.is_new,
        rows_in=report.rows_in,
        rows_out=report.rows_out,
        quarantined=report.quarantined,
        identical_duplicates=report.identical_duplicates,
        flags=report.flags,
        flagged=report.flagged,
        series=len(report.series),
        expected=sum(each.expected for each in report.series),
        missing=missing,
        verified_empty=empty,
        regression=Compared(
            outcome=found.outcome,
            before=found.before,
            counts=dict(found.counts),
            caveats=list(found.caveats),
        ),
    )


def _message(saved: SavedReport, lacking: int) -> str:
    report = saved.report
    flagged = ", ".join(f"{count} x {name}" for name, count in report.flagged.items())
    told = f"{report.verdict}: {report.rows_in} rows of {len(report.series)} series"
    against = "the first report" if saved.regression.before is None else saved.regression.outcome
    return f"{told}, {flagged or 'no flags'}, {lacking} bars missing; {against}"
