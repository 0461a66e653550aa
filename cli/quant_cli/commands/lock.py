"""``quant lock``: who holds a stage's lock, with evidence; and taking it from a frozen owner."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from quant_cli.output import facts, listing, table
from quant_cli.session import Leaf, Session, actor_option, pass_session

if TYPE_CHECKING:
    from collections.abc import Iterator


@click.group()
def lock() -> None:
    """Show who holds the stages' locks, or recover one."""


@lock.command("show", cls=Leaf)
@click.argument("stage_id", metavar="[STAGE]", required=False)
@pass_session
def show_lock(session: Session, stage_id: str | None) -> None:
    """Show the lock of STAGE, or of every stage that has one; takes nothing."""
    sdk = session.sdk
    specs = sdk.stages() if stage_id is None else [sdk.registry[stage_id]]
    ids = [spec.id for spec in specs if spec.lock is not None or stage_id is not None]
    session.output.emit(listing("locks", [asdict(sdk.lock(name)) for name in ids]), _locks_text)


def _locks_text(document: dict[str, Any]) -> Iterator[str]:
    columns = ("stage_id", "state", "lock_id", "run_id", "epoch", "evidence")
    return table(document["locks"], columns, empty="no stage has a lock")


class _Recovery(Leaf):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(actor_option())


@lock.command("recover", cls=_Recovery)
@click.argument("stage_id", metavar="STAGE")
@click.argument("lock_id", metavar="LOCK_ID")
@pass_session
def recover_lock(session: Session, stage_id: str, lock_id: str) -> None:
    """End the frozen process that holds STAGE's lock as exactly LOCK_ID; audited, asks nothing."""
    session.output.emit(session.sdk.recover_lock(stage_id, lock_id), facts)
