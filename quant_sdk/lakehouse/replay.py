"""Putting quarantined rows through today's checks again, among the bars that stand now.

A row that passes becomes a bar of its own source, where none stands. It is marked in the
quarantine, not removed; a row that fails stays as it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl

from quant_sdk.conformance.bars import BAR_COLUMNS
from quant_sdk.conformance.pipeline import ConformancePipeline
from quant_sdk.lakehouse.amend import WITHDRAWN, Amended, Amender, Amendment
from quant_sdk.lakehouse.buckets import bucket_of
from quant_sdk.lakehouse.overlap import KEY
from quant_sdk.lakehouse.rewrite import VALUES, difference, mark_replayed
from quant_sdk.lakehouse.specs import BARS, QUARANTINE
from quant_sdk.lakehouse.symbols import check_symbol
from quant_sdk.lakehouse.table import Table
from quant_sdk.lakehouse.timeframe import Timeframe

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from quant_registry.run import Commit

_ROW: Final = pl.UInt32
_SPIKE: Final = "return_spike"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What a replay would do.

    Attributes:
        rows: how many quarantined rows were asked about.
        bars: those that pass, with the columns of `bars`.
        standing: rows of which the same bar stands already, with the columns of `bars`.
    """

    rows: int
    bars: pl.DataFrame
    standing: pl.DataFrame

    def counts(self) -> list[tuple[str, str, int]]:
        """Return symbol, timeframe and how many rows of that series pass."""
        return self.bars.group_by("symbol", "timeframe").len().sort("symbol", "timeframe").rows()


def replaying(
    lakehouse: Path,
    *,
    symbol: str | None = None,
    rule: str | None = None,
    source: str | None = None,
) -> Replay:
    """Look at what a replay would do; changes nothing.

    Args:
        lakehouse: the folder of the tables.
        symbol: only its rows.
        rule: only rows that it refused. Rows that were withdrawn, by an undo or a restore, come
            back only where their rule is named: ``withdrawn``.
        source: only the rows that it brought.
    """
    rows = _refused(lakehouse, symbol, rule, source)
    pipeline = ConformancePipeline.partial_ok(True)
    parts = [
        _of_timeframe(lakehouse, str(timeframe), piece, pipeline)
        for (timeframe,), piece in rows.group_by("timeframe", maintain_order=True)
    ]
    none = BARS.empty
    return Replay(
        rows=rows.height,
        bars=pl.concat([none, *(bars for bars, _ in parts)]),
        standing=pl.concat([none, *(standing for _, standing in parts)]),
    )


def replay(lakehouse: Path, replay: Replay, commit: Commit, now: datetime) -> Amended:
    """Publish what passes and mark it; the caller holds the lock of `bars` since `replaying`."""
    amendment = Amendment(
        kind="replay", of=commit.run_id, reason="", change=difference(BARS.empty, replay.bars)
    )
    # What a run that was cut off has published, it could not mark.
    mark_replayed(Table(lakehouse, QUARANTINE), replay.standing, commit)
    return Amender(lakehouse).amend_bars(amendment, commit, now)


def _refused(
    lakehouse: Path, symbol: str | None, rule: str | None, source: str | None
) -> pl.DataFrame:
    rows = Table(lakehouse, QUARANTINE).scan().filter(pl.col("replayed_by").is_null())
    if symbol is not None:
        rows = rows.filter(pl.col("symbol") == check_symbol(symbol))
    if source is not None:
        rows = rows.filter(pl.col("source") == pl.lit(source))
    wanted = pl.col("rule") != WITHDRAWN if rule is None else pl.col("rule") == pl.lit(rule)
    # The first that came is the one to be taken, where several say the same.
    return rows.filter(wanted).collect().sort("quarantined_at", "row", maintain_order=True)


def _of_timeframe(
    lakehouse: Path, timeframe: str, rows: pl.DataFrame, pipeline: ConformancePipeline
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows that pass, and the bars that stand already as rows say."""
    symbols = rows["symbol"].unique().to_list()
    series = (pl.col("timeframe") == timeframe) & pl.col("symbol").is_in(symbols)
    bars = Table(lakehouse, BARS).scan().filter(series).collect()
    standing = bars.join(rows, on=[*KEY, *VALUES], how="semi", nulls_equal=True)
    candidates = rows.join(bars, on=KEY, how="anti").unique(
        [*KEY, *VALUES], keep="first", maintain_order=True
    )
    step = Timeframe.parse(timeframe)
    come = BARS.empty
    # A bar that comes may be what another one waited for.
    while candidates.height:
        stand = pl.concat([bars, come])
        passed = _passing(stand, candidates, lambda rows: _failing(rows, step, pipeline))
        if not passed.height:
            break
        come = pl.concat([come, passed.with_columns(bucket=bucket_of(step)).select(come.columns)])
        candidates = candidates.join(come, on=KEY, how="anti", maintain_order="left")
    return come, standing


def _passing(
    bars: pl.DataFrame,
    candidates: pl.DataFrame,
    failing_of: Callable[[pl.DataFrame], pl.DataFrame],
) -> pl.DataFrame:
    """Return the candidates that pass the checks, and because of which no standing bar fails."""
    stand = bars.select("symbol", *BAR_COLUMNS)
    before = failing_of(stand)
    while candidates.height:
        both = pl.concat([stand, candidates.select("symbol", *BAR_COLUMNS)])
        failing = failing_of(both)
        harmed = failing.filter(pl.col("row") < stand.height).join(before, on="row", how="anti")
        if not harmed.height:
            refused = failing.select(place=pl.col("row") - stand.height)
            places = pl.int_range(pl.len(), dtype=pl.Int64).alias("place")
            passed = candidates.with_columns(places).join(refused, on="place", how="anti")
            return _judged(stand, passed)
        candidates = _without_cause(stand, candidates, harmed)
    return candidates


def _judged(stand: pl.DataFrame, passed: pl.DataFrame) -> pl.DataFrame:
    """Leave out what was refused for its return, and has no standing bar before it now.

    The first bar of a series has no return: nothing would speak against it.
    """
    first = stand.group_by("symbol").agg(first=pl.col("ts").min())
    known = passed.join(first, on="symbol", how="left", maintain_order="left")
    judged = (pl.col("first") < pl.col("ts")).fill_null(value=False)
    return known.filter((pl.col("rule") != _SPIKE) | judged)


def _failing(
    bars: pl.DataFrame, timeframe: Timeframe, pipeline: ConformancePipeline
) -> pl.DataFrame:
    """Return row (place in `bars`), symbol and ts of the rows that fail."""
    numbered = bars.with_row_index("row").with_columns(pl.col("row").cast(_ROW))
    # In order of series and time, the many that are good are told apart in one pass.
    ordered = numbered.sort("symbol", "ts", "row")
    refused = pipeline.admit(ordered, timeframe, across_gaps=True).quarantined
    return refused.select(pl.col("row").cast(pl.Int64), "symbol", "ts")


def _without_cause(
    stand: pl.DataFrame, candidates: pl.DataFrame, harmed: pl.DataFrame
) -> pl.DataFrame:
    """Leave out the candidates between a standing bar that fails and the one before it."""
    ends = harmed.select("symbol", end="ts").sort("end")
    before = stand.select("symbol", begin="ts").sort("begin")
    spans = ends.join_asof(
        before,
        left_on="end",
        right_on="begin",
        by="symbol",
        strategy="backward",
        allow_exact_matches=False,
        check_sortedness=False,
    )
    after = pl.col("begin").is_null() | (pl.col("ts") > pl.col("begin"))
    culprits = (
        candidates.with_row_index("_row")
        .join(spans, on="symbol")
        .filter(after & (pl.col("ts") < pl.col("end")))
    )
    left = candidates.with_row_index("_row").join(culprits, on="_row", how="anti").drop("_row")
    return left if culprits.height else candidates.join(harmed, on="symbol", how="anti")
