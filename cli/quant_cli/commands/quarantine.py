"""``quant quarantine``: the rows that were refused, with rule and reason."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import click

from quant_cli.commands.stage import StageLeaf, carry_out
from quant_cli.output import cell, listing, table
from quant_cli.session import Leaf, Session, pass_session

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS = 50
GROUPS = 500
COLUMNS = ("symbol", "timeframe", "ts", "rule", "reason")
WIDE = 160
"""How wide lines are where nobody tells how wide the terminal is, in characters."""
NARROWEST = 20
NAMES = 400


@click.group()
def quarantine() -> None:
    """See the rows that were refused, and check them again."""


@quarantine.command("list", cls=Leaf)
@pass_session
def list_quarantine(session: Session) -> None:
    """Count the refused rows by series and rule."""
    found = session.sdk.lakehouse.quarantine_summary()
    session.output.emit(listing("quarantine", found, GROUPS), _summary_text)


def _summary_text(document: dict[str, Any]) -> Iterator[str]:
    columns = ("symbol", "timeframe", "rule", "rows")
    return table(document["quarantine"], columns, empty="the quarantine is empty")


@quarantine.command("show", cls=Leaf)
@click.option("--symbol", metavar="SYMBOL", help="Only this symbol.")
@click.option("--rule", metavar="RULE", help="Only rows that this rule refused.")
@click.option(
    "--limit", type=click.IntRange(1), default=ROWS, show_default=True, help="Rows at most."
)
@pass_session
def show_quarantine(session: Session, symbol: str | None, rule: str | None, limit: int) -> None:
    """Show refused rows with rule and reason."""
    rows = session.sdk.lakehouse.quarantine(symbol, rule, limit + 1).to_dicts()
    document = {
        **listing("rows", rows, limit),
        "note": "" if rows else _nothing(session, symbol, rule),
    }
    session.output.emit(document, _rows_text)


def _nothing(session: Session, symbol: str | None, rule: str | None) -> str:
    """Return why there are no such rows, and what there is."""
    groups = session.sdk.lakehouse.quarantine_summary()
    if not groups:
        return "the quarantine is empty"
    wanted = {"rule": rule, "symbol": symbol}
    for name, value in wanted.items():
        known = sorted({group[name] for group in groups})
        if value is not None and value not in known:
            return f"no rows of {name} {value}; there are: {cell(known, widest=NAMES)}"
    return f"no rows of rule {rule} and symbol {symbol}; see: quant quarantine list"


def _rows_text(document: dict[str, Any]) -> Iterator[str]:
    """Yield a line a row, the reason cut to the terminal; everything else is in the JSON."""
    rows = [{name: cell(row[name], widest=None) for name in COLUMNS} for row in document["rows"]]
    others = [max(len(row[name]) for row in [*rows, {name: name}]) for name in COLUMNS[:-1]]
    room = shutil.get_terminal_size((WIDE, 0)).columns - sum(others) - 2 * len(others)
    widest = max(room, NARROWEST, *others)
    for row in rows:
        row["reason"] = cell(row["reason"], widest=max(room, NARROWEST))
    yield from table(rows, COLUMNS, empty=document["note"], widest=widest)
    if document["truncated"]:
        yield "more: raise --limit, or name a --symbol or a --rule"


@quarantine.command("replay", cls=StageLeaf)
@click.option("--symbol", metavar="SYMBOL", help="Only rows of this symbol.")
@click.option(
    "--rule",
    metavar="RULE",
    help="Only rows that this rule refused; what was taken back comes only by its rule, withdrawn.",
)
@click.option("--source", metavar="SOURCE", help="Only rows that this source brought.")
@pass_session
def replay(
    session: Session, *, symbol: str | None, rule: str | None, source: str | None, dry_run: bool
) -> int:
    """Check refused rows again, and publish those that pass now; runs quarantine.replay."""
    if rule is not None and not session.sdk.lakehouse.quarantine(symbol, rule, 1).height:
        session.output.warn(_nothing(session, symbol, rule))
    params = {"symbol": symbol, "rule": rule, "source": source}
    return carry_out(session, "quarantine.replay", params, dry_run=dry_run)
