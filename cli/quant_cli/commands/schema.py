"""``quant schema``: the JSON Schemas of the files that a workspace holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from quant_cli.output import listing, table
from quant_cli.session import Leaf, Session, pass_session

if TYPE_CHECKING:
    from collections.abc import Iterator


@click.group()
def schema() -> None:
    """Show the JSON Schemas of the files."""


@schema.command("list", cls=Leaf)
@pass_session
def list_schemas(session: Session) -> None:
    """List the published schemas."""
    from quant_sdk import read_schema, schema_names

    found = [{"name": name, "title": read_schema(name).get("title")} for name in schema_names()]
    session.output.emit(listing("schemas", found), _schemas_text)


def _schemas_text(document: dict[str, Any]) -> Iterator[str]:
    return table(document["schemas"], ("name", "title"), empty="no schemas")


@schema.command("show", cls=Leaf)
@click.argument("name", metavar="NAME")
@pass_session
def show_schema(session: Session, name: str) -> None:
    """Show one schema."""
    from quant_sdk import read_schema

    session.output.emit(read_schema(name), _schema_text)


def _schema_text(document: dict[str, Any]) -> Iterator[str]:
    import json

    yield json.dumps(document, indent=2, ensure_ascii=False)
