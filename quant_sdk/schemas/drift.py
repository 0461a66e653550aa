"""Drift: where approved bundles, the schemas in code and the live tables say different things.

==============  ===================================================================================
subject         held against each other
==============  ===================================================================================
``approved``    a strict version as it was approved (in its bundle), and as it is in code; the
                promotions that audit log and bundles tell of, and the versions that are strict
``bundle``      the other schemas of the last approved bundle, and the same versions in code
``table``       a live table's columns, and the schema in force of that name
==============  ===================================================================================

Fingerprints tell whether something differs, `compare` tells what it means. A schema in canary may
change, so under ``bundle`` nothing is breaking. Of a live table only names, types and nullability
are known: units, enumerations and keys are not compared. What a table allows and its schema does
not, or the other way round, is breaking for whoever reads or writes it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from quant_registry.errors import Corrupted, InvalidIdentifier, QuantError, UnknownSchema
from quant_sdk.schemas.compatibility import Change, Severity, compare
from quant_sdk.schemas.forgotten import forgotten
from quant_sdk.schemas.live import live_schema, live_tables, physical
from quant_sdk.schemas.schema import bundle_fingerprint, check_name
from quant_sdk.schemas.state import governance_dir, read_bundle, read_states

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from quant_registry.workspace import Workspace
    from quant_sdk.schemas.client import FileSchemaRegistry
    from quant_sdk.schemas.forgotten import Forgotten
    from quant_sdk.schemas.schema import CanonicalSchema
    from quant_sdk.schemas.state import State

Subject = Literal["approved", "bundle", "table"]

_RANK: Final[dict[Severity, int]] = {"breaking": 0, "compatible": 1, "note": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One thing that is not what another says.

    Attributes:
        subject: what is held against what; see the module.
        schema_id: such as ``bars/1``; of a table without a schema its name.
        severity: the worst of the changes.
        expected: the fingerprint that should stand; empty where none can be told.
        found: the fingerprint that stands; empty where nothing does.
        detail: in words.
        changes: from what should stand to what does.
    """

    subject: Subject
    schema_id: str
    severity: Severity
    expected: str = ""
    found: str = ""
    detail: str = ""
    changes: tuple[Change, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "subject": self.subject,
            "schema": self.schema_id,
            "severity": self.severity,
            "expected": self.expected,
            "found": self.found,
            "detail": self.detail,
            "changes": [change.to_dict() for change in self.changes],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftReport:
    """All drift of a workspace, the worst first.

    Attributes:
        drift: what differs.
        bundle: the fingerprint of the schemas in code.
        approved_bundle: that of the last promotion; None before the first.
        tables: the live tables that were looked at.
        strange: folders among the states that cannot be a schema's, seen from the workspace.
    """

    drift: tuple[Drift, ...]
    bundle: str
    approved_bundle: str | None
    tables: tuple[str, ...]
    strange: tuple[str, ...] = ()

    @property
    def breaks(self) -> bool:
        """Whether anything is breaking."""
        return any(each.severity == "breaking" for each in self.drift)


def find_drift(registry: FileSchemaRegistry, workspace: Workspace) -> DriftReport:
    """Compare approved bundles, code and live tables; writes nothing."""
    promoted, strange = _governed(workspace)
    states, unread = _states(workspace, {*registry.names(), *promoted})
    last = max(states, key=lambda each: each.promoted_at, default=None)
    tables = live_tables(workspace)
    found = [
        *(each for state in states for each in _of_state(registry, workspace, state)),
        *unread,
        *(() if unread else map(_forgotten, forgotten(workspace, states))),
        *(_of_bundle(registry, workspace, states, last) if last is not None else ()),
        *(each for path in tables for each in _of_table(registry, path)),
    ]
    return DriftReport(
        drift=tuple(sorted(found, key=lambda e: (_RANK[e.severity], e.subject, e.schema_id))),
        bundle=bundle_fingerprint(registry),
        approved_bundle=None if last is None else last.bundle,
        tables=tuple(path.name for path in tables),
        strange=tuple(strange),
    )


def _governed(workspace: Workspace) -> tuple[list[str], list[str]]:
    """Return the names of schemas that have a state, and folders that cannot be a schema's."""
    names, strange = [], []
    for path in sorted(governance_dir(workspace).glob("*/state.json")):
        try:
            names.append(check_name(path.parent.name))
        except InvalidIdentifier:
            strange.append(workspace.display(path.parent))
    return names, strange


def _states(workspace: Workspace, names: Iterable[str]) -> tuple[list[State], list[Drift]]:
    """Return what is strict, and the states that cannot be read."""
    found: list[State] = []
    unread: list[Drift] = []
    for name in sorted(names):
        try:
            found += read_states(workspace, name)
        except Corrupted as error:
            detail = f"{error.message}; {error.fix}"
            unread.append(
                Drift(subject="approved", schema_id=name, severity="breaking", detail=detail)
            )
    return found, unread


def _forgotten(each: Forgotten) -> Drift:
    return Drift(
        subject="approved",
        schema_id=each.schema_id,
        severity="breaking",
        expected=each.fingerprint,
        detail=each.detail,
    )


def _of_state(registry: FileSchemaRegistry, workspace: Workspace, state: State) -> Iterator[Drift]:
    try:
        now = _in_code(registry, state.name, state.version)
    except Corrupted as error:
        yield _lost(state, None, error.message)
        return
    try:
        approved = {schema.id: schema for schema in read_bundle(workspace, state.bundle)}
    except Corrupted as error:
        yield _lost(state, now, error.message)
        return
    then = approved.get(state.id)
    if then is None or then.fingerprint != state.fingerprint:
        yield _lost(state, now, f"its bundle {state.bundle[:12]} does not hold what was approved")
    elif now is None:
        yield _lost(state, None, f"{state.id} was approved, and is in code no more")
    elif now.fingerprint != then.fingerprint:
        yield _drift("approved", then, now, f"{state.id} was changed after it was approved")


def _of_bundle(
    registry: FileSchemaRegistry, workspace: Workspace, states: list[State], last: State
) -> Iterator[Drift]:
    strict = {state.id for state in states}
    try:
        bundle = read_bundle(workspace, last.bundle)
    except Corrupted:
        return  # told with the state that names it
    for then in bundle:
        if then.id in strict:
            continue
        try:
            now = _in_code(registry, then.name, then.version)
        except Corrupted:
            continue  # told of the file
        if now is None:
            yield Drift(
                subject="bundle",
                schema_id=then.id,
                severity="note",
                expected=then.fingerprint,
                detail=f"{then.id} is in code no more; it was in canary",
            )
        elif now.fingerprint != then.fingerprint:
            changed = _drift("bundle", then, now, f"{then.id} has changed; it is in canary")
            yield replace(changed, severity="note")
    for schema in registry:
        if schema.id not in {then.id for then in bundle}:
            yield Drift(
                subject="bundle",
                schema_id=schema.id,
                severity="note",
                found=schema.fingerprint,
                detail=f"{schema.id} is newer than the last approved bundle",
            )


def _of_table(registry: FileSchemaRegistry, path: Path) -> Iterator[Drift]:
    try:
        schema = registry.get(path.name)
    except UnknownSchema:
        detail = f"no canonical schema is of the table {path.name}"
        yield Drift(subject="table", schema_id=path.name, severity="note", detail=detail)
        return
    except Corrupted as error:
        yield Drift(subject="table", schema_id=path.name, severity="breaking", detail=error.message)
        return
    wanted = physical(schema)
    try:
        live, odd = live_schema(path, schema)
    except QuantError as error:
        yield Drift(subject="table", schema_id=schema.id, severity="breaking", detail=error.message)
        return
    changes = (
        *odd,
        *(_weighed(each, path.name) for each in compare(wanted, live) if _told(each, odd)),
    )
    if changes := tuple(each for each in changes if each.severity != "note"):
        yield Drift(
            subject="table",
            schema_id=schema.id,
            severity=_worst(changes),
            expected=wanted.fingerprint,
            found=live.fingerprint,
            detail=f"the table {path.name} is not as {schema.id} says",
            changes=changes,
        )


def _told(change: Change, odd: tuple[Change, ...]) -> bool:
    """Leave out that a column is gone where it is there with an odd type."""
    return change.column not in {each.column for each in odd}


def _weighed(change: Change, table: str) -> Change:
    """Return what a change means for a table, which stands for both sides of the change at once.

    Nullable where a value is required breaks whoever reads it. That a table is older than a column
    which is read as null until it is written breaks nobody.
    """
    from quant_sdk.lakehouse.specs import TABLES

    if change.code == "required_nullable":
        return replace(change, severity="breaking")
    later = TABLES[table].later if table in TABLES else frozenset()
    eases = change.code == "column_dropped" and change.column in later
    return replace(change, severity="compatible") if eases else change


def _in_code(registry: FileSchemaRegistry, name: str, version: int) -> CanonicalSchema | None:
    try:
        return registry.get(name, version)
    except UnknownSchema:
        return None


def _drift(subject: Subject, then: CanonicalSchema, now: CanonicalSchema, detail: str) -> Drift:
    changes = compare(then, now)
    return Drift(
        subject=subject,
        schema_id=then.id,
        severity=_worst(changes),
        expected=then.fingerprint,
        found=now.fingerprint,
        detail=detail,
        changes=changes,
    )


def _lost(state: State, now: CanonicalSchema | None, detail: str) -> Drift:
    return Drift(
        subject="approved",
        schema_id=state.id,
        severity="breaking",
        expected=state.fingerprint,
        found="" if now is None else now.fingerprint,
        detail=detail,
    )


def _worst(changes: tuple[Change, ...]) -> Severity:
    return min((each.severity for each in changes), key=_RANK.__getitem__, default="note")
