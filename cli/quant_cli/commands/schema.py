"""``quant schema``: the schemas of data, from canary to strict, and the JSON Schemas of files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quant_cli.commands.stage import StageLeaf, carry_out
from quant_cli.durations import duration
from quant_cli.output import facts, listing, table
from quant_cli.session import Leaf, Session, actor_option, pass_session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta

    from quant_sdk.schemas import CanonicalSchema, FileSchemaRegistry

BLOCKED = 8


@click.group()
def schema() -> None:
    """Show the schemas of data and files, and govern those of data."""


@schema.command("list", cls=Leaf)
@pass_session
def list_schemas(session: Session) -> None:
    """List the schemas of data, with their modes, and of files."""
    from quant_sdk import read_schema, schema_names

    registry = _registry(session)
    data = [
        {
            "kind": "data",
            "name": each.name,
            "version": each.version,
            "mode": registry.mode(each),
            "fingerprint": each.fingerprint,
            "title": each.title,
        }
        for each in registry
    ]
    files = [
        {"kind": "file", "name": name, "title": read_schema(name).get("title")}
        for name in schema_names()
    ]
    document = {**listing("schemas", [*data, *files]), "broken": _broken(session, registry)}
    session.output.emit(document, _schemas_text)


def _schemas_text(document: dict[str, Any]) -> Iterator[str]:
    columns = ("kind", "name", "version", "mode", "title")
    return table(document["schemas"], columns, empty="no schemas")


@schema.command("show", cls=Leaf)
@click.argument("name", metavar="NAME[/VERSION]")
@pass_session
def show_schema(session: Session, name: str) -> None:
    """Show one schema; of data also who approves it, and what its canary has shown."""
    from quant_sdk import read_schema, schema_names
    from quant_sdk.errors import UnknownSchema

    registry = _registry(session)
    kind = name.partition("/")[0]
    if kind in registry.names():
        session.output.emit(_told(session, registry, registry.find(name)), _data_text)
        return
    if name not in schema_names():
        raise UnknownSchema(name, [*registry.names(), *schema_names()])
    session.output.emit(read_schema(name), _file_text)


def _told(session: Session, registry: FileSchemaRegistry, found: CanonicalSchema) -> dict[str, Any]:
    from quant_sdk.schemas.promotion import standing_of

    stands = standing_of(registry, session.sdk.workspace, found, session.sdk.clock.now()).to_dict()
    return {
        **found.to_dict(),
        "fingerprint": found.fingerprint,
        **{name: stands[name] for name in ("mode", "approvals", "canary")},
    }


def _data_text(document: dict[str, Any]) -> Iterator[str]:
    apart = ("schema", "columns", "approvals", "canary")
    yield from facts({key: value for key, value in document.items() if key not in apart})
    yield f"canary  {_canary_text(document['canary'])}"
    for approval in document["approvals"]:
        yield f"approved by {approval['approver']} until {approval['expires_at']}"
    yield ""
    columns = ("name", "dtype", "nullable", "unit", "timezone", "enumeration", "description")
    yield from table(document["columns"], columns)


def _canary_text(canary: dict[str, Any]) -> str:
    clean = f"{canary['checks']} clean checks on {canary['days']} days"
    return f"{clean}, last failure {canary['last_failure']}" if canary["failures"] else clean


def _file_text(document: dict[str, Any]) -> Iterator[str]:
    import json

    yield json.dumps(document, indent=2, ensure_ascii=False)


@schema.command("diff", cls=Leaf)
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@pass_session
def diff_schemas(session: Session, old: str, new: str) -> None:
    """Compare two schemas, by name and version or by file: what breaks, what does not."""
    from quant_sdk.schemas.compatibility import breaking, compare

    before, after = (_schema(session, text) for text in (old, new))
    changes = compare(before, after)
    document = {
        "old": {"id": before.id, "fingerprint": before.fingerprint},
        "new": {"id": after.id, "fingerprint": after.fingerprint},
        "breaking": bool(breaking(changes)),
        **listing("changes", [{**each.to_dict(), "detail": each.detail} for each in changes]),
    }
    session.output.emit(document, _diff_text)


def _diff_text(document: dict[str, Any]) -> Iterator[str]:
    columns = ("severity", "column", "code", "old", "new")
    return table(document["changes"], columns, empty="nothing differs")


class _Approving(Leaf):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(actor_option())


@schema.command("approve", cls=_Approving)
@click.argument("name", metavar="NAME[/VERSION]")
@click.option("--as", "approver", required=True, metavar="NAME", help="Who approves it.")
@click.option(
    "--for",
    "lasts",
    metavar="DURATION",
    callback=duration,
    help="How long the approval holds, such as 30d; 30 days by default.",
)
@pass_session
def approve_schema(session: Session, name: str, approver: str, lasts: timedelta | None) -> None:
    """Approve a schema exactly as it is now; without a version, the newest."""
    from quant_sdk.schemas.approvals import LASTS, approve
    from quant_sdk.schemas.promotion import lacking_approvals, standing_of

    registry = _registry(session)
    found = _newest(registry, name)
    sdk = session.sdk
    approval = approve(
        sdk.workspace,
        found,
        approver=approver,
        actor=sdk.actor,
        clock=sdk.clock,
        lasts=LASTS if lasts is None else lasts,
    )
    stands = standing_of(registry, sdk.workspace, found, sdk.clock.now())
    names = [each.approver for each in stands.approvals]
    missing = lacking_approvals(stands)
    session.output.emit({**approval.to_dict(), "approvers": names, "missing": missing}, facts)


@schema.command("promote", cls=StageLeaf)
@click.argument("name", metavar="NAME[/VERSION]")
@click.option(
    "--window-days",
    type=click.IntRange(1),
    metavar="DAYS",
    help="On how many days there must be clean checks; 7 by default.",
)
@click.option(
    "--window-checks",
    type=click.IntRange(1),
    metavar="CHECKS",
    help="In the place of days: how many clean checks there must be.",
)
@pass_session
def promote_schema(
    session: Session,
    *,
    name: str,
    window_days: int | None,
    window_checks: int | None,
    dry_run: bool,
) -> int:
    """Make a schema strict; without a version, the newest. Runs schema.promote."""
    found = _newest(_registry(session), name)
    params = {
        "schema": found.name,
        "version": found.version,
        "window_days": window_days,
        "window_checks": window_checks,
    }
    return carry_out(session, "schema.promote", params, dry_run=dry_run)


@schema.command("drift", cls=Leaf)
@pass_session
def find_drift(session: Session) -> int:
    """Compare approved schemas, code and live tables; exit code 8 where they break."""
    from quant_sdk.schemas import drift

    registry = _registry(session)
    found = drift.find_drift(registry, session.sdk.workspace)
    for path in found.strange:
        session.output.warn(f"passed over: {path} cannot be a schema's")
    document = {
        **listing("drift", [each.to_dict() for each in found.drift]),
        "breaking": found.breaks,
        "bundle": found.bundle,
        "approved_bundle": found.approved_bundle,
        "tables": list(found.tables),
        "broken": _broken(session, registry),
    }
    session.output.emit(document, _drift_text)
    return BLOCKED if found.breaks else 0


def _drift_text(document: dict[str, Any]) -> Iterator[str]:
    columns = ("severity", "subject", "schema", "detail")
    yield from table(document["drift"], columns, empty="no drift", widest=200)
    for each in document["drift"]:
        if each["changes"]:
            yield ""
            yield f"{each['subject']} {each['schema']}"
            yield from table(each["changes"], ("severity", "column", "code", "old", "new"))


def _registry(session: Session) -> FileSchemaRegistry:
    from quant_sdk.schemas import FileSchemaRegistry

    return FileSchemaRegistry(session.sdk.workspace, clock=session.sdk.clock)


def _broken(session: Session, registry: FileSchemaRegistry) -> list[dict[str, Any]]:
    """Return the files that hold no schema, and tell of them."""
    broken = [error.to_dict() for error in registry.broken]
    for error in broken:
        session.output.warn(f"broken: {error['message']}; {error['fix']}")
    return broken


def _newest(registry: FileSchemaRegistry, text: str) -> CanonicalSchema:
    return registry.find(text) if "/" in text else registry.newest(text)


def _schema(session: Session, text: str) -> CanonicalSchema:
    from quant_sdk.schemas.client import read_schema_file

    return read_schema_file(Path(text)) if text.endswith(".json") else _registry(session).find(text)
