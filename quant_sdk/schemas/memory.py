"""`MemorySchemaRegistry`: a client for tests, with schemas and modes as they are given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quant_registry.errors import UnknownSchema
from quant_sdk.schemas.checks import Diagnosis, blocked
from quant_sdk.schemas.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable

    from quant_sdk.schemas.client import Mode
    from quant_sdk.schemas.finding import AnyFinding
    from quant_sdk.schemas.schema import CanonicalSchema


class MemorySchemaRegistry:
    """Schemas in memory; what is checked is kept in `checked`.

    Args:
        schemas: all of them.
        strict: ids of those that are strict, such as ``bars/1``.
    """

    def __init__(self, schemas: Iterable[CanonicalSchema], *, strict: Iterable[str] = ()) -> None:
        self._schemas = {(schema.name, schema.version): schema for schema in schemas}
        self.strict = set(strict)
        """Ids of the strict ones; may be changed."""
        self.checked: list[Diagnosis] = []
        """Every check, in order."""

    def names(self) -> tuple[str, ...]:
        """Return the names of the schemas, sorted."""
        return tuple(sorted({name for name, _ in self._schemas}))

    def versions(self, name: str) -> tuple[int, ...]:
        """Return the versions of a schema, ascending.

        Raises:
            UnknownSchema: there is none of that name.
        """
        if name not in self.names():
            raise UnknownSchema(name, self.names())
        return tuple(sorted(version for each, version in self._schemas if each == name))

    def get(self, name: str, version: int | None = None) -> CanonicalSchema:
        """Return a schema; without a version the one in force.

        Raises:
            UnknownSchema: there is none of that name and version.
        """
        versions = self.versions(name)
        if version is None:
            strict = [each for each in versions if f"{name}/{each}" in self.strict]
            version = max(strict or versions)
        if version not in versions:
            raise UnknownSchema(f"{name}/{version}", [f"{name}/{each}" for each in versions])
        return self._schemas[name, version]

    def mode(self, schema: CanonicalSchema) -> Mode:
        """Tell what a deviation from this version does."""
        return "strict" if schema.id in self.strict else "canary"

    def check(
        self, schema: CanonicalSchema, findings: Iterable[AnyFinding], *, node: str, rows: int
    ) -> Diagnosis:
        """Judge what was found of a response, and keep it.

        Raises:
            ConformanceError: the mode is strict and something blocks.
        """
        diagnosis = Diagnosis(
            schema_id=schema.id,
            fingerprint=schema.fingerprint,
            mode=self.mode(schema),
            node=node,
            rows=rows,
            findings=tuple(map(Finding.of, findings)),
        )
        self.checked.append(diagnosis)
        if diagnosis.stopped:
            raise blocked(diagnosis)
        return diagnosis
