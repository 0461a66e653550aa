"""``quant audit``: the log of everything, followed and verified."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from quant_cli.commands.tail import tail
from quant_cli.output import listing, table
from quant_cli.session import Leaf, Session, pass_session

if TYPE_CHECKING:
    from collections.abc import Iterator

LISTED = 50
BROKEN = 3


@click.group()
def audit() -> None:
    """Follow and verify the audit log."""


audit.add_command(tail)


@audit.command("verify", cls=Leaf)
@click.argument("run_id", metavar="[RUN]", required=False)
@pass_session
def verify(session: Session, run_id: str | None) -> int:
    """Check the chain of RUN, or of every run; exit code 3 where one is altered or cut short."""
    from quant_sdk.chains import verify_chains

    reports = verify_chains(session.sdk.workspace, run_id)
    broken = [report for report in reports if not report.ok]
    # The broken ones first: no bound may hide them.
    shown = broken + [report for report in reports if report.ok]
    document = {
        "ok": not broken,
        "verified": len(reports),
        "broken": len(broken),
        **listing("chains", [asdict(report) for report in shown], max(LISTED, len(broken))),
    }
    session.output.emit(document, _verified_text)
    return 0 if not broken else BROKEN


def _verified_text(document: dict[str, Any]) -> Iterator[str]:
    broken = [chain for chain in document["chains"] if not chain["ok"]]
    if broken:
        yield from table(broken, ("run_id", "events", "first_bad_seq", "reason"))
    yield f"{document['verified']} chains, {document['broken']} broken"
