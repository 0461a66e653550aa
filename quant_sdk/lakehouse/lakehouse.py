"""`Lakehouse`: what is in the tables of a workspace, and the clean slate."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from quant_registry.errors import NoData, UnknownName
from quant_sdk.lakehouse.buckets import bucket_at
from quant_sdk.lakehouse.calendars import Calendar, calendar_name, named_calendar
from quant_sdk.lakehouse.causes import NOTED, explained, known_causes
from quant_sdk.lakehouse.clean_slate import wipe
from quant_sdk.lakehouse.coverage import SeriesCoverage, coverage
from quant_sdk.lakehouse.fingerprint import combine, fingerprint
from quant_sdk.lakehouse.instants import instant, optional_instant
from quant_sdk.lakehouse.ledger import Ledger
from quant_sdk.lakehouse.specs import TABLES, UTC_MICROS
from quant_sdk.lakehouse.symbols import check_symbol, split_symbol
from quant_sdk.lakehouse.table import Table
from quant_sdk.lakehouse.timeframe import Timeframe

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from quant_registry.workspace import Workspace

_REFUSED: Final = pl.col("replayed_by").is_null()
_COLUMNS: Final = ("ts", "open", "high", "low", "close", "volume", "source")


class Lakehouse:
    """The tables of one workspace; reading never writes."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._tables: dict[str, Table] = {}

    def table(self, name: str) -> Table:
        """Return a table by name.

        Raises:
            UnknownName: there is no such table.
        """
        if name not in TABLES:
            raise UnknownName(name, TABLES, fix=f"the tables are {', '.join(TABLES)}")
        if name not in self._tables:
            self._tables[name] = Table(self._workspace.lakehouse, TABLES[name])
        return self._tables[name]

    def tables(self) -> list[dict[str, Any]]:
        """Return ``{name, version, rows, files, bytes}`` of every table that has been written."""
        facts = (self.table(name).facts() for name in TABLES)
        return [item for item in facts if item["version"] >= 0]

    def bars(
        self,
        symbol: str,
        timeframe: str,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
    ) -> pl.DataFrame:
        """Return the bars of one series in ``[start, end)``, sorted by time.

        Args:
            symbol: ``EXCHANGE:BASEQUOTE``.
            timeframe: such as ``5m``.
            start: aware datetime, or ISO text; a text without offset is read as UTC.
            end: the same, exclusive.

        Returns:
            ``ts`` (Datetime us UTC, opening), ``open``, ``high``, ``low``, ``close``, ``volume``
            (Float64), ``source`` (String).

        Raises:
            InvalidInput: a malformed symbol, timeframe or time.
            NoData: the lakehouse holds no bar of that series at all.
            Corrupted: a file of the table cannot be read.
        """
        check_symbol(symbol)
        step = Timeframe.parse(timeframe)
        first, last = optional_instant(start, "start"), optional_instant(end, "end")
        filters = [pl.col("symbol") == symbol, pl.col("timeframe") == timeframe]
        series = tuple(filters)
        if first is not None:
            # The bucket is a folder: without it every file's footer would be read.
            filters += [pl.col("bucket") >= bucket_at(first, step)]
            filters += [pl.col("ts") >= pl.lit(first, dtype=UTC_MICROS)]
        if last is not None:
            filters += [pl.col("bucket") <= bucket_at(last, step)]
            filters += [pl.col("ts") < pl.lit(last, dtype=UTC_MICROS)]

        def ask(bars: pl.LazyFrame) -> pl.DataFrame:
            frame = bars.filter(*filters).select(_COLUMNS).sort("ts").collect()
            if not frame.height and not bars.filter(*series).head(1).collect().height:
                raise self._unknown_series(symbol, timeframe)
            return frame

        return self.table("bars").read(ask)

    def cross_section(self, timeframe: str, at: datetime | str) -> pl.DataFrame:
        """Return the bars of all series that open at one instant, sorted by symbol.

        Args:
            timeframe: such as ``1d``.
            at: aware datetime, or ISO text; a text without offset is read as UTC.

        Returns:
            ``symbol`` (String), then the columns of `bars`.

        Raises:
            InvalidInput: a malformed timeframe or time.
            Corrupted: a file of the table cannot be read.
        """
        step, moment = Timeframe.parse(timeframe), instant(at, "at")
        filters = (
            pl.col("timeframe") == step.text,
            pl.col("bucket") == bucket_at(moment, step),
            pl.col("ts") == pl.lit(moment, dtype=UTC_MICROS),
        )
        columns = ("symbol", *_COLUMNS)
        return self.table("bars").read(
            lambda bars: bars.filter(*filters).select(columns).collect().sort("symbol")
        )

    def features(  # noqa: PLR0913 - each narrows what is read
        self,
        symbol: str,
        timeframe: str,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        *,
        source: str | None = None,
        known_by: datetime | str | None = None,
    ) -> pl.DataFrame:
        """Return the features of a series whose bars open in ``[start, end)``.

        Args:
            symbol: ``EXCHANGE:BASEQUOTE``.
            timeframe: such as ``1h``.
            start: aware datetime, or ISO text; a text without offset is read as UTC.
            end: the same, exclusive.
            source: only this one: ``talib`` for history, a scanner's id for technicals.
            known_by: only what could be known then.

        Returns:
            The columns of the table ``features``, sorted by ts and source.

        Raises:
            InvalidInput: a malformed symbol, timeframe or time.
        """
        from quant_sdk.features import read

        return read(
            self._workspace.lakehouse,
            timeframe=timeframe,
            symbol=symbol,
            source=source,
            start=optional_instant(start, "start"),
            end=optional_instant(end, "end"),
            known_by=optional_instant(known_by, "known_by"),
        )

    def snapshot(self, snapshot_id: str, table: str = "bars") -> pl.LazyFrame:
        """Return a table as a snapshot holds it, whatever became of the lakehouse since.

        Raises:
            NoData: there is no such snapshot.
            UnknownName: there is no such table.
        """
        from quant_sdk.lakehouse.snapshot import scan_snapshot

        return scan_snapshot(self._workspace, snapshot_id, table)

    def coverage(
        self,
        symbol: str | None = None,
        timeframe: str | None = None,
        *,
        calendar_of: Callable[[str], Calendar] | None = None,
    ) -> list[SeriesCoverage]:
        """Return what is present and missing, and why, per series, on its calendar's grid.

        Args:
            symbol: only this one.
            timeframe: only this one.
            calendar_of: the calendar of a symbol; default: the one its source was declared with,
                else its venue's.

        Raises:
            Corrupted: a file of the table cannot be read.
        """
        wanted = [pl.lit(value=True)]
        if symbol is not None:
            wanted.append(pl.col("symbol") == check_symbol(symbol))
        if timeframe is not None:
            wanted.append(pl.col("timeframe") == Timeframe.parse(timeframe).text)
        named = calendar_of or self.calendars()
        order = ("timeframe", "symbol", "ts")
        found = self.table("bars").read(
            lambda bars: coverage(bars.filter(*wanted).select(order).sort(order), named)
        )
        notes = known_causes([self.table(name) for name in NOTED], symbol, timeframe)
        return explained(found, notes, named)

    def calendars(self) -> Callable[[str], Calendar]:
        """Return what gives a symbol's calendar: as its source declared it, else its venue's."""
        last = {entry.source: entry for entry in Ledger(self._workspace.lakehouse).entries()}
        declared = {
            entry.symbol: entry.calendar for entry in last.values() if entry.calendar is not None
        }

        named = cache(named_calendar)  # one for all symbols of an exchange
        return lambda symbol: named(declared.get(symbol) or calendar_name(split_symbol(symbol)[0]))

    def content_hash(self) -> str:
        """Return the SHA-256 over all series' fingerprints; it ignores files and their order."""
        return combine(self.table("bars").read(fingerprint))

    def quarantine_summary(self) -> list[dict[str, Any]]:
        """Return ``{symbol, timeframe, rule, rows}`` of what is in quarantine."""
        keys = ["symbol", "timeframe", "rule"]
        counts = self.table("quarantine").read(
            lambda rows: rows.filter(_REFUSED).group_by(keys).agg(pl.len().alias("rows")).collect()
        )
        return counts.sort(keys).to_dicts()

    def quarantine(
        self, symbol: str | None = None, rule: str | None = None, limit: int = 50
    ) -> pl.DataFrame:
        """Return the first `limit` quarantined rows of a symbol and a rule."""
        wanted = [_REFUSED]
        if symbol is not None:
            wanted.append(pl.col("symbol") == check_symbol(symbol))
        if rule is not None:
            wanted.append(pl.col("rule") == rule)
        order = ("symbol", "timeframe", "source", "row")
        return self.table("quarantine").read(
            lambda rows: rows.filter(*wanted).sort(order).head(limit).collect()
        )

    def wipe(self) -> dict[str, Any]:
        """Remove ``data/lakehouse``; locks, epochs, audit, runs and snapshots stay.

        Raises:
            LiveRun: a run is live; nothing was removed.
            PrerequisitesNotMet: the folder cannot be removed.
        """
        return wipe(self._workspace)

    def _unknown_series(self, symbol: str, timeframe: str) -> NoData:
        known = (
            self.table("bars")
            .scan()
            .select(pl.format("{} {}", "symbol", "timeframe").alias("series"))
            .unique()
            .collect()["series"]
            .to_list()
        )
        near = UnknownName(f"{symbol} {timeframe}", sorted(known)).near
        hint = f"did you mean {', '.join(near)}?" if near else "see: quant lakehouse coverage"
        return NoData(f"the lakehouse has no bars of {symbol} {timeframe}", fix=hint, near=near)
