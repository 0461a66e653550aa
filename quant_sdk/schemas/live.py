"""The live tables of a lakehouse, as schemas: what their logs tell of columns."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from quant_registry.errors import Corrupted, InvalidInput
from quant_sdk.schemas.compatibility import Change
from quant_sdk.schemas.schema import TIMESTAMP, CanonicalSchema, Column

if TYPE_CHECKING:
    from pathlib import Path

    from quant_registry.workspace import Workspace


def live_tables(workspace: Workspace) -> list[Path]:
    """Return the folders of the Delta tables in the lakehouse, sorted."""
    return sorted(log.parent for log in workspace.lakehouse.glob("*/_delta_log") if log.is_dir())


def physical(schema: CanonicalSchema) -> CanonicalSchema:
    """Return what a table can tell of a schema: names, types, zones and nullability."""
    return replace(schema, columns=tuple(map(_bare, schema.columns)), key=(), derived=(), title="")


def live_schema(path: Path, schema: CanonicalSchema) -> tuple[CanonicalSchema, tuple[Change, ...]]:
    """Return the columns of a Delta table as a version of `schema`, and those of other types.

    Raises:
        Corrupted: the table's log cannot be read.
    """
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError
    from deltalake.schema import PrimitiveType

    from quant_sdk.lakehouse.damage import NO_LOG
    from quant_sdk.schemas.dtypes import column_of_delta

    try:
        fields = DeltaTable(str(path)).schema().fields
    except DeltaError as error:
        raise Corrupted(
            f"the log of the table {path.name} cannot be read: {error}",
            fix=NO_LOG,
        ) from error
    columns: list[Column] = []
    odd: list[Change] = []
    for field in fields:
        kind = field.type.type if isinstance(field.type, PrimitiveType) else str(field.type)
        try:
            columns.append(column_of_delta(field.name, kind, nullable=field.nullable))
        except InvalidInput:
            known = schema.column(field.name)
            odd.append(
                Change(
                    code="dtype_changed",
                    severity="breaking" if known is not None else "compatible",
                    column=field.name,
                    old="" if known is None else known.dtype,
                    new=kind,
                )
            )
    if not columns:
        raise Corrupted(f"the table {path.name} has no column of a known type", fix="look at it")
    return replace(physical(schema), columns=tuple(columns)), tuple(odd)


def _bare(column: Column) -> Column:
    unit = column.unit if column.dtype == TIMESTAMP else None
    timezone = column.timezone if column.dtype == TIMESTAMP else None
    return Column(
        name=column.name,
        dtype=column.dtype,
        nullable=column.nullable,
        unit=unit,
        timezone=timezone,
    )
