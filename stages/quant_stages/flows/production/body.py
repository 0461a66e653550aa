"""The gate: snapshot, look at its age, hand on returns and candidates; all without a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from quant_sdk.errors import Corrupted, NoData, PrerequisitesNotMet
from quant_sdk.lakehouse.lakehouse import Lakehouse
from quant_sdk.lakehouse.snapshot import (
    find_snapshot,
    scan_snapshot,
    verify_snapshot,
)
from quant_sdk.lakehouse.specs import TABLES
from quant_sdk.lakehouse.timeframe import to_micros
from quant_sdk.offline import no_network
from quant_stages.flows.production.export import Gate, export
from quant_stages.flows.production.freshness import Held, examine
from quant_stages.flows.production.subject import choose
from quant_stages.intake.purity import invented
from quant_stages.snapshots import standing_snapshot
from quant_stages.tables import parity_failed, parity_report

if TYPE_CHECKING:
    from quant_sdk import Run
    from quant_stages.flows.production.freshness import Freshness
    from quant_stages.flows.production.params import FlowProductionParams, FlowProductionResult
    from quant_stages.flows.production.subject import Subject

STEPS: Final = ("choose", "snapshot", "examine", "export")
_DAY_MICROS: Final = 86_400_000_000
_TOLD: Final = 50


def pass_gate(run: Run, params: FlowProductionParams) -> FlowProductionResult:
    """Hand on what production reads, or refuse.

    Raises:
        PrerequisitesNotMet: too many series are stale, and that is not allowed.
        NoData: no candidate has two bars that follow each other.
        Corrupted: the snapshot is damaged.
    """
    run.report(health_check="pending")
    with no_network() as guard:
        run.emit("network_guard", status="active", attempts=0)
        try:
            result = _pass(run, params)
        finally:
            run.emit(
                "network_guard",
                status="success" if not guard.attempts else "failed",
                attempts=guard.attempts,
                addresses=list(guard.addresses),
            )
    if guard.attempts:
        tried = ", ".join(guard.addresses[:5])
        result = result.warned(
            f"{guard.attempts} attempts to reach the network were refused: {tried}",
            network_attempts=guard.attempts,
        )
    run.report(phase="complete", health_check="degraded" if result.warnings else "passed")
    return result


def _pass(run: Run, params: FlowProductionParams) -> FlowProductionResult:
    with run.step("choose", phase="verification"):
        subject = choose(run.workspace, params)
        run.report(candidate_count=len(subject.symbols))
    with run.step("snapshot"):
        snapshot = _snapshot(run)
        bars = scan_snapshot(run.workspace, snapshot, "bars")
    with run.step("examine"):
        now = run.clock.now()
        held = Held.of(Lakehouse(run.workspace), bars, subject.timeframe, now)
        fresh = examine(held, subject, params, now)
        warnings = [*_judge(run, fresh, subject, params), *_made_up(bars, subject)]
    with run.step("export"):
        start, end = _window(fresh, subject, params)
        gate = Gate(
            run=run,
            subject=subject,
            calendar_of=held.calendar_of,
            snapshot=snapshot,
            fresh=fresh,
            start=start,
            end=end,
        )
        return export(gate, warnings)


def _snapshot(run: Run) -> str:
    """Return the snapshot of this state of the tables, made where none stands, and whole.

    Raises:
        ParityFailed: the state is new, and a row of it is unaccounted for.
        Corrupted: a file of it has changed.
    """
    lakehouse = Lakehouse(run.workspace)
    tables = [lakehouse.table(name) for name in TABLES]
    if find_snapshot(run.workspace, tables) is None:
        checked, path = parity_report(run)
        if not checked["ok"]:
            raise parity_failed(checked, path)
    found, _ = standing_snapshot(run, tables)
    name = str(found["id"])
    report = verify_snapshot(run.workspace, name)
    run.emit(
        "snapshot_verified",
        status="success" if report["ok"] else "failed",
        snapshot=name,
        files=report["files"],
        problems=report["problems"][:_TOLD],
    )
    if not report["ok"]:
        raise Corrupted(
            f"the snapshot {name} is damaged: {'; '.join(report['problems'][:3])}",
            fix=f"see: quant snapshot verify {name}",
        )
    return name


def _judge(run: Run, fresh: Freshness, subject: Subject, params: FlowProductionParams) -> list[str]:
    """Return what to warn of.

    Raises:
        PrerequisitesNotMet: the data is stale, and that is not allowed.
    """
    if not fresh.stale:
        return []
    told = fresh.describe(subject.timeframe)
    if fresh.share <= params.max_stale_share:
        return [told]
    if not params.allow_stale:
        raise PrerequisitesNotMet(told, fix=f"{subject.remedy}, or go on with --allow-stale")
    run.emit(
        "stale_data_used",
        durable=True,
        status="warning",
        stale=len(fresh.stale),
        series=len(fresh.ages),
        symbols=[age.symbol for age in fresh.stale[:_TOLD]],
    )
    return [f"STALE DATA IS USED: {told}"]


def _made_up(bars: pl.LazyFrame, subject: Subject) -> list[str]:
    """Return a warning where bars of the candidates come from no market at all."""
    own = bars.filter(
        pl.col("timeframe") == subject.timeframe.text, pl.col("symbol").is_in(subject.symbols)
    )
    sources = invented(own)
    return [f"THE BARS ARE INVENTED: they come from {', '.join(sources)}"] if sources else []


def _window(fresh: Freshness, subject: Subject, params: FlowProductionParams) -> tuple[int, int]:
    """Return the window that ends with the newest bar of all; stale ones end it earlier.

    Raises:
        NoData: there is no bar at all.
    """
    if fresh.newest is None:
        raise NoData(f"no candidate has bars of {subject.timeframe}", fix=subject.remedy)
    timeframe = subject.timeframe
    end = timeframe.open_of(timeframe.slot_of(to_micros(fresh.newest)) + 1)
    return end - params.lookback_days * _DAY_MICROS, end
