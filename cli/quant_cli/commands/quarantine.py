"""``quant quarantine``: the rows that were refused, with rule and reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from quant_cli.commands.stage import StageLeaf, carry_out
from quant_cli.output import listing, table
from quant_cli.session import Leaf, Session, pass_session

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS = 50
GROUPS = 500


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
    frame = session.sdk.lakehouse.quarantine(symbol, rule, limit + 1)
    session.output.emit(listing("rows", frame.to_dicts(), limit), _rows_text)


def _rows_text(document: dict[str, Any]) -> Iterator[str]:
    rows = document["rows"]
    yield from table(rows, list(rows[0]) if rows else (), empty="the quarantine is empty")
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
    params = {"symbol": symbol, "rule": rule, "source": source}
    return carry_out(session, "quarantine.replay", params, dry_run=dry_run)
