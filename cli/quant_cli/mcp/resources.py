"""The resources: where a stage stands, a run's audit log, and the published schemas."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from mcp.types import Resource, ResourceTemplate, TextResourceContents

from quant_cli import documents
from quant_cli.output import dump
from quant_sdk import read_schema, schema_names
from quant_sdk.errors import UnknownName

if TYPE_CHECKING:
    from collections.abc import Callable

    from quant_sdk import QuantSDK

JSON = "application/json"
JSON_LINES = "application/x-ndjson"
# Resources that are listed are what somebody may want to pick; older runs are read by their id.
LISTED_RUNS = 20

_SCHEME = "quant://"


def _status(sdk: QuantSDK, stage_id: str) -> bytes:
    return dump(documents.statuses(sdk, sdk.registry[stage_id].id))


def _audit(sdk: QuantSDK, run_id: str) -> bytes:
    return b"".join(map(dump, documents.events(sdk, run_id)["events"]))


def _schema(_: QuantSDK, name: str) -> bytes:
    return dump(read_schema(name))


# Kind: parameter, media type, how it is read, what it is.
_KINDS: dict[str, tuple[str, str, Callable[[QuantSDK, str], bytes], str]] = {
    "status": ("stage_id", JSON, _status, "Where the stage's last run stands."),
    "audit": ("run_id", JSON_LINES, _audit, f"The run's newest {documents.EVENTS} audit events."),
    "schema": ("name", JSON, _schema, "The JSON Schema of a file that a workspace holds."),
}


def templates() -> list[ResourceTemplate]:
    """Return one template a kind."""
    return [
        ResourceTemplate(
            name=kind,
            uri_template=f"{_SCHEME}{kind}/{{{parameter}}}",
            description=text,
            mime_type=media,
        )
        for kind, (parameter, media, _, text) in _KINDS.items()
    ]


def resources(sdk: QuantSDK) -> list[Resource]:
    """Return the status of every stage, the audit log of the newest runs, and every schema."""
    names = {
        "status": [spec.id for spec in sdk.registry],
        "audit": [record.run_id for record in sdk.runs(limit=LISTED_RUNS)],
        "schema": list(schema_names()),
    }
    return [
        Resource(
            name=f"{kind} {name}",
            uri=f"{_SCHEME}{kind}/{quote(name)}",
            description=text,
            mime_type=media,
        )
        for kind, (_, media, _, text) in _KINDS.items()
        for name in names[kind]
    ]


def read(sdk: QuantSDK, uri: str) -> TextResourceContents:
    """Return the content of a resource.

    Raises:
        UnknownName: no resource has such an address.
        UnknownStage, UnknownRun, UnknownSchema: the kind is known, the name is not.
    """
    kind, _, name = uri.removeprefix(_SCHEME).partition("/")
    if not uri.startswith(_SCHEME) or kind not in _KINDS or not name:
        known = ", ".join(template.uri_template for template in templates())
        raise UnknownName(uri[:200], fix=f"use one of {known}")
    _, media, content, _ = _KINDS[kind]
    return TextResourceContents(uri=uri, mime_type=media, text=content(sdk, unquote(name)).decode())
