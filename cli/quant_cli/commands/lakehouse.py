"""``quant lakehouse``: what is in the tables, their upkeep, and the clean slate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from quant_cli import documents
from quant_cli.commands.stage import StageLeaf, carry_out
from quant_cli.output import cell, facts, listing, table
from quant_cli.session import Leaf, Session, pass_session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quant_sdk.lakehouse.coverage import SeriesCoverage

SERIES = 500
GAPS = 20
VERSIONS = 50


@click.group()
def lakehouse() -> None:
    """Read the tables, keep them in shape, go back, or wipe them."""


@lakehouse.command("tables", cls=Leaf)
@pass_session
def list_tables(session: Session) -> None:
    """List the tables with their versions and sizes."""
    session.output.emit(listing("tables", session.sdk.lakehouse.tables()), _tables_text)


def _tables_text(document: dict[str, Any]) -> Iterator[str]:
    columns = ("name", "version", "rows", "files", "bytes")
    return table(document["tables"], columns, empty="the lakehouse is empty")


@lakehouse.command("bars", cls=Leaf)
@click.argument("symbol")
@click.argument("timeframe")
@click.option("--start", metavar="TIME", help="First opening time, inclusive, UTC.")
@click.option("--end", metavar="TIME", help="Exclusive: [start, end).")
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=documents.BARS,
    show_default=True,
    help="Bars at most.",
)
@pass_session
def show_bars(  # noqa: PLR0913 - an option each
    session: Session,
    *,
    symbol: str,
    timeframe: str,
    start: str | None,
    end: str | None,
    limit: int,
) -> None:
    """Show the bars of a series in time order; next_cursor is the --start of the next page."""
    document = documents.bars(session.sdk, symbol, timeframe, start, end, limit)
    session.output.emit(document, _bars_text)


def _bars_text(document: dict[str, Any]) -> Iterator[str]:
    columns = ("ts", "open", "high", "low", "close", "volume", "source")
    yield from table(document["bars"], columns, empty="no bars in this interval")
    if document["truncated"]:
        shown = len(document["bars"])
        yield f"{shown} of {document['rows']}; more: --start {cell(document['next_cursor'])}"


@lakehouse.command("coverage", cls=Leaf)
@click.option("--symbol", metavar="SYMBOL", help="Only this symbol.")
@click.option("--timeframe", metavar="TIMEFRAME", help="Only this bar length.")
@click.option(
    "--gaps", type=click.IntRange(0), default=GAPS, show_default=True, help="Gaps a series."
)
@click.option(
    "--limit", type=click.IntRange(1), default=SERIES, show_default=True, help="Series at most."
)
@pass_session
def show_coverage(
    session: Session, *, symbol: str | None, timeframe: str | None, gaps: int, limit: int
) -> None:
    """Show what is present and what is missing, per series, on its calendar."""
    found = session.sdk.lakehouse.coverage(symbol, timeframe)
    document = listing("series", found, limit)
    document["series"] = [_series(item, gaps) for item in document["series"]]
    session.output.emit(document, _coverage_text)


def _series(item: SeriesCoverage, gaps: int) -> dict[str, Any]:
    names = ("symbol", "timeframe", "calendar", "first", "last", "expected", "present", "missing")
    return {
        **{name: getattr(item, name) for name in names},
        "verified_empty": item.verified_empty,
        "outside": item.outside,
        "gap_count": len(item.gaps),
        "gaps": [gap._asdict() for gap in item.gaps[:gaps]],
    }


def _coverage_text(document: dict[str, Any]) -> Iterator[str]:
    columns = ("symbol", "timeframe", "first", "last", "expected", "present", "missing")
    shown = (*columns, "verified_empty", "gap_count")
    yield from table(document["series"], shown, empty="no bars")
    for series in document["series"]:
        for gap in series["gaps"]:
            cause = f" ({gap['cause']})" if gap["cause"] else ""
            yield (
                f"{series['symbol']} {series['timeframe']}: {gap['missing']} missing "
                f"in [{cell(gap['start'])}, {cell(gap['end'])}){cause}"
            )
        if series["gap_count"] > len(series["gaps"]):
            more = series["gap_count"] - len(series["gaps"])
            yield f"{series['symbol']} {series['timeframe']}: {more} more gaps: raise --gaps"
    if document["truncated"]:
        yield "more: raise --limit, or name a --symbol"


@lakehouse.command("history", cls=Leaf)
@click.option("--table", "name", default="bars", show_default=True, help="The table.")
@click.option(
    "--limit", type=click.IntRange(1), default=VERSIONS, show_default=True, help="At most."
)
@pass_session
def show_history(session: Session, *, name: str, limit: int) -> None:
    """List a table's versions, newest first: who made each, and whether it can be restored."""
    from quant_sdk.lakehouse.versions import versions

    found = [item.to_dict() for item in versions(session.sdk.lakehouse.table(name))]
    session.output.emit(listing("versions", found[::-1], limit), _history_text)


def _history_text(document: dict[str, Any]) -> Iterator[str]:
    columns = ("version", "at", "operation", "rows", "change", "files", "restorable", "run_id")
    yield from table(document["versions"], columns, empty="no versions")
    if document["truncated"]:
        yield "more: raise --limit"


@lakehouse.command("optimize", cls=StageLeaf)
@click.option(
    "--table", "tables", metavar="TABLE", multiple=True, help="Only this table; may be repeated."
)
@click.option("--small-files", type=int, help="Small files that a partition may keep; default: 8.")
@click.option("--vacuum/--no-vacuum", default=None, help="Remove old files too; default: yes.")
@click.option("--retention-hours", type=int, help="How long old files stay; default: 30 days.")
@pass_session
def optimize(  # noqa: PLR0913 - an option each
    session: Session,
    *,
    tables: tuple[str, ...],
    small_files: int | None,
    vacuum: bool | None,
    retention_hours: int | None,
    dry_run: bool,
) -> int:
    """Turn many small files into few sorted ones; runs lakehouse.optimize."""
    params = {
        "tables": list(tables),
        "small_files": small_files,
        "vacuum": vacuum,
        "retention_hours": retention_hours,
    }
    return carry_out(session, "lakehouse.optimize", params, dry_run=dry_run)


@lakehouse.command("restore", cls=StageLeaf)
@click.option("--version", type=int, required=True, help="The version: quant lakehouse history.")
@click.option("--table", "name", default="bars", show_default=True, help="The table.")
@pass_session
def restore(session: Session, *, version: int, name: str, dry_run: bool) -> int:
    """Go back to an earlier version of a table; runs lakehouse.restore."""
    params = {"version": version, "table": name}
    return carry_out(session, "lakehouse.restore", params, dry_run=dry_run)


@lakehouse.command("undo", cls=StageLeaf)
@click.argument("run_id", metavar="[RUN]", required=False)
@click.option("--source", metavar="SOURCE", help="What earlier declarations of a source gave.")
@pass_session
def undo(session: Session, *, run_id: str | None, source: str | None, dry_run: bool) -> int:
    """Take back what a run published to bars; runs lakehouse.undo."""
    params = {"run_id": run_id, "source": source}
    return carry_out(session, "lakehouse.undo", params, dry_run=dry_run)


@lakehouse.command("wipe", cls=Leaf)
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_session
def wipe(session: Session, *, yes: bool) -> None:
    """Remove the tables; locks, epochs, audit, runs and snapshots stay."""
    if not yes:
        session.output.confirm(
            f"Remove every table under {session.sdk.workspace.lakehouse}?",
            otherwise="wiping removes every table",
        )
    session.output.emit(session.sdk.lakehouse.wipe(), facts)
