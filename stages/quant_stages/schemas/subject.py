"""Which schema a promotion is of, and where it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quant_sdk.errors import InvalidInput
from quant_sdk.schemas import FileSchemaRegistry
from quant_sdk.schemas.promotion import Standing, standing_of

if TYPE_CHECKING:
    from datetime import datetime

    from quant_sdk import Workspace
    from quant_sdk.schemas import CanonicalSchema
    from quant_stages.schemas.params import PromoteParams


def schema_of(registry: FileSchemaRegistry, params: PromoteParams) -> CanonicalSchema:
    """Return the schema that parameters name: the newest version where they name none.

    Raises:
        UnknownSchema: there is no such schema.
        InvalidInput: they name two versions.
    """
    name, slash, _ = params.schema_name.partition("/")
    if not slash:
        return (
            registry.newest(name) if params.version is None else registry.get(name, params.version)
        )
    found = registry.find(params.schema_name)
    if params.version not in {None, found.version}:
        raise InvalidInput(
            f"{params.schema_name} is not version {params.version}", fix="name one version"
        )
    return found


def standing_now(workspace: Workspace, params: PromoteParams, now: datetime) -> Standing:
    """Return where the schema stands at `now`."""
    registry = FileSchemaRegistry(workspace)
    return standing_of(registry, workspace, schema_of(registry, params), now)
