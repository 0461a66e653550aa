"""The published JSON Schemas (2020-12) of every file that a run reads or writes."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import orjson

from quant_registry.errors import UnknownSchema

_SUFFIX = ".json"


def schema_names() -> tuple[str, ...]:
    """Return the names of the published schemas, sorted."""
    names = (item.name for item in files(__name__).iterdir())
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX)))


def read_schema(name: str) -> dict[str, Any]:
    """Return the schema of a file contract, such as ``status``.

    Raises:
        UnknownSchema: none is published under that name; the nearest ones are in the fix.
    """
    known = schema_names()
    if name not in known:
        raise UnknownSchema(name, known)
    schema: dict[str, Any] = orjson.loads(files(__name__).joinpath(name + _SUFFIX).read_bytes())
    return schema
