"""``quant doctor``: what is wrong with a workspace, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from quant_cli.output import cell
from quant_cli.session import Leaf, Session, actor_option, pass_session

if TYPE_CHECKING:
    from collections.abc import Iterator

ILL = 3
_LABELS = {"ok": "OK", "warn": "WARN", "fail": "FAIL", "not_applicable": "OK"}


class _Doctor(Leaf):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(actor_option())


@click.command(cls=_Doctor)
@click.option("--bury", is_flag=True, help="Write the terminal records of runs whose process died.")
@pass_session
def doctor(session: Session, *, bury: bool) -> int:
    """Examine the workspace; exit code 3 where something has failed."""
    from quant_sdk.doctor import examine
    from quant_sdk.probes import Patient

    sdk = session.sdk
    patient = Patient(
        workspace=sdk.workspace, registry=sdk.registry, clock=sdk.clock, actor=sdk.actor, bury=bury
    )
    found = [diagnosis.to_dict() for diagnosis in examine(patient)]
    ok = all(item["status"] != "fail" for item in found)
    session.output.emit({"ok": ok, "probes": found}, _diagnoses)
    return 0 if ok else ILL


def _diagnoses(document: dict[str, Any]) -> Iterator[str]:
    for item in document["probes"]:
        fix = f" — {cell(item['fix'], widest=None)}" if item["fix"] else ""
        message = cell(item["message"], widest=None)
        yield f"[{_LABELS[item['status']]}] {item['name']}: {message}{fix}"
