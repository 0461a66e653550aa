"""What the gate hands on: the matrix of returns and the candidates that it holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from quant_sdk.errors import NoData
from quant_sdk.lakehouse.buckets import bucket_at
from quant_sdk.lakehouse.snapshot import scan_snapshot
from quant_sdk.lakehouse.specs import UTC_MICROS
from quant_sdk.lakehouse.timeframe import from_micros, to_micros
from quant_stages.flows.production.matrix import first_needed, returns_matrix
from quant_stages.flows.production.params import (
    DroppedCandidate,
    FlowProductionResult,
    StaleSeries,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from quant_sdk import Run
    from quant_sdk.lakehouse.calendars import Calendar
    from quant_sdk.sources.candidates import Candidate
    from quant_stages.flows.production.freshness import Freshness
    from quant_stages.flows.production.subject import Subject

_TOLD: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What one step hands to the next; returns are of bars that open in ``[start, end)``.

    `start` and `end` are in microseconds since the epoch.
    """

    run: Run
    subject: Subject
    calendar_of: Callable[[str], Calendar]
    snapshot: str
    fresh: Freshness
    start: int
    end: int


def _matrix(gate: Gate) -> pl.DataFrame:
    """Read the bars of the window from the snapshot; return their returns."""
    bars = scan_snapshot(gate.run.workspace, gate.snapshot, "bars")
    timeframe = gate.subject.timeframe
    first = first_needed(timeframe, gate.start)
    opens = pl.lit(from_micros(first), dtype=UTC_MICROS)
    found = (
        bars.filter(
            pl.col("timeframe") == timeframe.text,
            pl.col("bucket") >= bucket_at(from_micros(max(first, 0)), timeframe),
            pl.col("symbol").is_in(gate.subject.symbols),
            pl.col("ts") >= opens,
            pl.col("ts") < pl.lit(from_micros(gate.end), dtype=UTC_MICROS),
        )
        .select("symbol", "ts", "close")
        .collect()
    )
    return returns_matrix(
        found,
        gate.subject.symbols,
        timeframe,
        gate.calendar_of,
        start=gate.start,
        end=gate.end,
    )


def export(gate: Gate, warnings: list[str]) -> FlowProductionResult:
    """Write ``returns_matrix.parquet`` and ``candidates.json``.

    Raises:
        NoData: there is no return to write.
    """
    run, subject = gate.run, gate.subject
    matrix = _matrix(gate)
    kept = set(matrix.columns) - {"ts"}
    if not kept:
        raise NoData(
            f"no candidate has two neighbouring bars of {subject.timeframe}", fix=subject.remedy
        )
    last = {age.symbol: age.last for age in gate.fresh.ages}
    dropped = [
        DroppedCandidate(symbol=name, reason=_why_dropped(gate, last[name]))
        for name in subject.symbols
        if name not in kept
    ]
    table = run.export_file("returns_matrix.parquet", matrix.write_parquet)
    handed_on = [item for item in subject.candidates if item.symbol in kept]
    exported = run.export("candidates", _document(gate, handed_on, dropped))
    run.emit(
        "production_exported",
        durable=True,
        status="success",
        rows=matrix.height,
        symbols=len(kept),
        dropped=len(dropped),
        snapshot=gate.snapshot,
        files=[table, exported],
    )
    told = [f"{len(dropped)} candidates have no returns and were dropped"] if dropped else []
    return FlowProductionResult(
        message=f"{_returns(matrix)} returns of {len(kept)} symbols, from {gate.snapshot}",
        returns_matrix=table,
        candidates=exported,
        candidates_from=run.workspace.display(subject.path),
        snapshot=gate.snapshot,
        timeframe=subject.timeframe.text,
        start=_iso(from_micros(gate.start)),
        end=_iso(from_micros(gate.end)),
        symbols=len(kept),
        rows=matrix.height,
        stale=[
            StaleSeries(
                symbol=age.symbol, last=_iso(age.last) if age.last else None, behind=age.behind
            )
            for age in gate.fresh.stale[:_TOLD]
        ],
        stale_count=len(gate.fresh.stale),
        dropped=dropped[:_TOLD],
        dropped_count=len(dropped),
        network_attempts=0,
        warnings=[*warnings, *told],
    )


def _returns(matrix: pl.DataFrame) -> int:
    """Count the returns that are there: a null is none."""
    return sum(matrix.drop("ts").count().row(0))


def _document(gate: Gate, kept: list[Candidate], dropped: list[DroppedCandidate]) -> dict[str, Any]:
    stale = {age.symbol for age in gate.fresh.stale}
    return {
        "schema": "candidates/1",
        "meta": {
            "run_id": gate.run.run_id,
            "candidates_from": gate.run.workspace.display(gate.subject.path),
            "snapshot": gate.snapshot,
            "timeframe": gate.subject.timeframe.text,
            "start": _iso(from_micros(gate.start)),
            "end": _iso(from_micros(gate.end)),
            "count": len(kept),
            "stale": [item.symbol for item in kept if item.symbol in stale],
            "dropped": [item.model_dump() for item in dropped],
        },
        "data": [_entry(item) for item in kept],
    }


def _entry(candidate: Candidate) -> dict[str, Any]:
    wanted = [{"timeframe": text, "depth_days": days} for text, days in candidate.ingest]
    return {
        "symbol": candidate.symbol,
        "exchange": candidate.exchange,
        "asset_type": candidate.asset_type,
        "base": candidate.base,
        "quote": candidate.quote,
        "ingest": wanted,
    }


def _why_dropped(gate: Gate, last: datetime | None) -> str:
    timeframe = gate.subject.timeframe
    if last is None:
        return f"no bars of {timeframe}"
    if to_micros(last) < gate.start:
        return f"no bars of {timeframe} since {_iso(last)}"
    return f"no two neighbouring bars of {timeframe} in the window"


def _iso(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
