"""Checking a subject piece by piece, and what is told of each series on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from quant_sdk.conformance.merging import merge
from quant_sdk.conformance.pipeline import ConformancePipeline
from quant_sdk.errors import NoData
from quant_sdk.lakehouse.lakehouse import Lakehouse
from quant_sdk.schemas.client import FileSchemaRegistry
from quant_stages.conformance.subject import window_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from quant_sdk import Workspace
    from quant_sdk.conformance.folder import Piece
    from quant_sdk.conformance.pipeline import ConformanceResult
    from quant_sdk.conformance.report import ConformanceReport
    from quant_stages.conformance.params import ConformanceParams
    from quant_stages.conformance.subject import Subject

_SERIES = ("symbol", "timeframe")


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesProgress:
    """One series that has been checked: its rows, those refused, and what warns or blocks."""

    symbol: str | None
    timeframe: str | None
    rows: int
    quarantined: int
    flags: int
    missing: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What came of one piece; its rows are let go."""

    piece: Piece
    report: ConformanceReport
    stopped: bool
    series: tuple[SeriesProgress, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What was found of the whole, and whether the mode lets it pass."""

    report: ConformanceReport
    stopped: bool


def pipeline_for(workspace: Workspace, params: ConformanceParams, kind: str) -> ConformancePipeline:
    """Return the pipeline that the parameters and the workspace's settings ask for.

    Raises:
        UnknownName: there is no such preset or schema.
        InvalidInput: the settings are not possible.
    """
    given = {"preset": params.preset, "mode": params.mode}
    return ConformancePipeline.of(
        workspace,
        kind=kind,
        schema=FileSchemaRegistry(workspace).find(params.data_schema or kind),
        calendar_of=Lakehouse(workspace).calendars(),
        symbol=_only(params.symbols),
        timeframe=_only(params.timeframes),
        **{name: value for name, value in given.items() if value is not None},
    )


def _only(names: tuple[str, ...]) -> str | None:
    return names[0] if len(names) == 1 else None


def looker(
    pipeline: ConformancePipeline, subject: Subject, params: ConformanceParams, now: datetime
) -> Callable[[Piece], Looked]:
    """Return what checks one piece; it may be called from several threads at once."""
    window = {**window_of(params, now), "verified_empty": subject.empty(now)}
    asked = frozenset(rule.id for rule in pipeline.setting.rules)

    def look(piece: Piece) -> Looked:
        result = pipeline.look(piece.scan, node=subject.node, world=params.world, **window)
        return Looked(
            piece=piece,
            report=result.report,
            stopped=result.stopped,
            series=tuple(_by_series(result, asked)),
        )

    return look


def whole(looked: Iterable[Looked]) -> Examination:
    """Return one examination of all pieces.

    Raises:
        NoData: they have no row: a check of nothing would prove nothing.
    """
    every = list(looked)
    if not sum(each.report.rows_in for each in every):
        raise NoData("there is no row to check", fix="name what is there, or widen the window")
    return Examination(
        report=merge(*(each.report for each in every)),
        stopped=any(each.stopped for each in every),
    )


def _by_series(result: ConformanceResult, asked: frozenset[str]) -> Iterator[SeriesProgress]:
    refused, unplaced = _refused(result.quarantined, asked)
    flags: dict[tuple[Any, ...], int] = dict(unplaced)
    for entry in result.report.daily:
        key = (entry["symbol"], entry["timeframe"])
        flags[key] = flags.get(key, 0) + entry["flags"]
    for each in result.report.series:
        key = (each.symbol, each.timeframe)
        lost = refused.pop(key, 0)
        yield SeriesProgress(
            symbol=each.symbol,
            timeframe=each.timeframe,
            rows=each.present + each.identical_duplicates + lost,
            quarantined=lost,
            flags=flags.get(key, 0),
            missing=each.missing - each.verified_empty,
        )
    for (symbol, timeframe), lost in sorted(refused.items(), key=str):
        yield SeriesProgress(
            symbol=symbol, timeframe=timeframe, rows=lost, quarantined=lost, flags=lost, missing=0
        )


def _refused(
    rows: pl.DataFrame, asked: frozenset[str]
) -> tuple[dict[tuple[Any, ...], int], dict[tuple[Any, ...], int]]:
    """Count refused rows by series: all of them, and those that no day of the report counts."""
    if rows.is_empty():
        return {}, {}
    named = rows.with_columns(
        pl.lit(None, dtype=pl.String).alias(name) for name in _SERIES if name not in rows.columns
    )
    timeless = pl.col("ts").is_null() if "ts" in rows.columns else pl.lit(value=True)
    unplaced = named.filter(timeless | ~pl.col("rule").is_in(list(asked)))
    return _counted(named), _counted(unplaced)


def _counted(rows: pl.DataFrame) -> dict[tuple[Any, ...], int]:
    counted = rows.group_by(_SERIES).len()
    return {(symbol, timeframe): count for symbol, timeframe, count in counted.iter_rows()}
