"""What sources said of missing bars: intervals that are empty, or could not be filled, and why."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from quant_sdk.lakehouse.causes import EMPTY
from quant_sdk.lakehouse.locks import writing
from quant_sdk.lakehouse.specs import UNFILLED, UTC_MICROS, VERIFIED_EMPTY
from quant_sdk.lakehouse.table import Table
from quant_sdk.seamless.intervals import difference

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime
    from pathlib import Path

    from quant_registry.run import Commit

FAILING: Final = frozenset({"fetch_failed", "no_progress"})
"""Causes that may pass: the next run asks again."""

ASKED: Final = {"symbol": pl.String, "timeframe": pl.String, "start": pl.Int64, "end": pl.Int64}
FOUND: Final = {**ASKED, "cause": pl.String, "detail": pl.String, "source": pl.String}

_SHORTEST: Final = timedelta(hours=1)
_LONGEST: Final = timedelta(days=30)
_Row = dict[str, Any]


class Holes:
    """Keeps the tables ``verified_empty`` and ``unfilled``."""

    def __init__(self, lakehouse: Path, locks: Path) -> None:
        self._tables = (Table(lakehouse, VERIFIED_EMPTY), Table(lakehouse, UNFILLED))
        self._locks = locks

    def believed(self, timeframe: str, now: datetime) -> pl.DataFrame:
        """Return the intervals that need not be asked for at `now`, as `WINDOWS`."""
        standing = pl.col("expires_at") > pl.lit(now)
        return pl.concat([self._windows(table, timeframe, standing) for table in self._tables])

    def failed(self, timeframe: str) -> pl.DataFrame:
        """Return the intervals that failed for a passing reason, as `WINDOWS`."""
        failed = pl.col("cause").is_in(FAILING)
        return self._windows(self._tables[1], timeframe, failed)

    def record(
        self, asked: pl.DataFrame, found: pl.DataFrame, commit: Commit, now: datetime
    ) -> int:
        """Put what a visit found in the place of what was known of the intervals it asked for.

        Args:
            asked: of the schema `ASKED`: the intervals the source was asked for.
            found: of the schema `FOUND`: those within them that stay empty.
            commit: what the tables' commits carry.
            now: when it was found.

        Returns:
            How many intervals are noted.
        """
        with writing(self._locks, UNFILLED.name):
            for table in self._tables:
                verified = table.spec is VERIFIED_EMPTY
                own = found.filter(pl.col("cause").is_in(EMPTY) == verified)
                self._rewrite(table, asked, _noted(own, commit.run_id, now), commit)
        return found.height

    def _windows(self, table: Table, timeframe: str, which: pl.Expr) -> pl.DataFrame:
        ends = [pl.col(name).dt.timestamp("us") for name in ("start", "end")]
        rows = table.scan().filter(pl.col("timeframe") == timeframe, which)
        return rows.select("symbol", *ends).collect()

    def _rewrite(
        self, table: Table, asked: pl.DataFrame, noted: pl.DataFrame, commit: Commit
    ) -> None:
        if not noted.height and not table.exists():
            return
        standing = table.scan().collect()
        touched = _touched(standing, asked)
        if not noted.height and not touched.any():
            return
        kept = pl.DataFrame(list(_outside(standing.filter(touched), asked)), schema=noted.schema)
        rows = pl.concat([standing.filter(~touched), kept, noted])
        table.overwrite(rows.sort("symbol", "timeframe", "start"), commit, {})


def expiry(end: datetime, now: datetime, cause: str) -> datetime:
    """Return until when an empty interval is believed.

    The older it is, the longer: a venue may still bring a bar of the last hour, hardly one of last
    year. A symbol may be listed any day, with all its history. What failed for a passing reason is
    not believed at all.
    """
    if cause in FAILING:
        return now
    if cause == "unknown_symbol":
        return now + _SHORTEST
    return now + min(_LONGEST, max(_SHORTEST, now - end))


def _noted(found: pl.DataFrame, run_id: str, now: datetime) -> pl.DataFrame:
    frame = found.with_columns(
        pl.col("start", "end").cast(UTC_MICROS),
        noted_at=pl.lit(now, dtype=UTC_MICROS),
        run_id=pl.lit(run_id),
    )
    until = [expiry(end, now, cause) for end, cause in frame.select("end", "cause").iter_rows()]
    return frame.with_columns(expires_at=pl.Series(until, dtype=UTC_MICROS)).select(
        list(VERIFIED_EMPTY.columns)
    )


def _touched(standing: pl.DataFrame, asked: pl.DataFrame) -> pl.Series:
    """Mark the standing intervals that overlap one that was asked for."""
    since, until = (pl.col(name).cast(UTC_MICROS) for name in ("start", "end"))
    spans = asked.select("symbol", "timeframe", since=since, until=until)
    hit = (
        standing.with_row_index("at")
        .join(spans, on=["symbol", "timeframe"])
        .filter(pl.col("start") < pl.col("until"), pl.col("since") < pl.col("end"))["at"]
    )
    return pl.int_range(standing.height, eager=True).is_in(hit.unique().cast(pl.Int64).implode())


def _outside(rows: pl.DataFrame, asked: pl.DataFrame) -> Iterator[_Row]:
    """Yield the parts of `rows` that nobody asked for."""
    cuts: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for symbol, timeframe, start, end in asked.select(list(ASKED)).iter_rows():
        cuts.setdefault((symbol, timeframe), []).append((start, end))
    ends = rows.select(pl.col("start", "end").dt.timestamp("us"))
    for row, span in zip(rows.iter_rows(named=True), ends.iter_rows(), strict=True):
        cut = sorted(cuts.get((row["symbol"], row["timeframe"]), ()))
        for start, end in difference([span], cut):
            yield {**row, "start": start, "end": end}


def intervals_of(rows: Iterable[_Row]) -> pl.DataFrame:
    """Return dictionaries with the keys of `FOUND` as a frame of that schema."""
    return pl.DataFrame(list(rows), schema=FOUND)
