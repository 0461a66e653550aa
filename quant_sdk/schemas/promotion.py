"""From canary to strict: what a promotion needs, and how it is recorded.

A promotion is written in this order, so that one that is cut short can be done again: the bundle,
the entry in ``docs/operations/schema_registry_governance.md``, the state that makes the version
strict. The event in the audit log comes last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from quant_registry.clock import iso
from quant_registry.errors import PrerequisitesNotMet
from quant_registry.files import dump_json, write_atomic
from quant_sdk.schemas.approvals import Approval, person, standing
from quant_sdk.schemas.evidence import Evidence, evidence
from quant_sdk.schemas.governance import append_entry
from quant_sdk.schemas.schema import bundle_fingerprint, digest
from quant_sdk.schemas.state import (
    BUNDLE,
    State,
    bundle_file,
    read_state,
    read_states,
    write_states,
)

if TYPE_CHECKING:
    from datetime import datetime

    from quant_registry.run import Commit
    from quant_registry.workspace import Workspace
    from quant_sdk.schemas.client import FileSchemaRegistry
    from quant_sdk.schemas.schema import CanonicalSchema

APPROVERS: Final = 2
"""How many people must approve a schema, whoever promotes it not counted."""
WINDOW_DAYS: Final = 7
"""On how many days there must be clean checks, by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """How long a canary must have been clean: on so many days, or for so many checks."""

    days: int = WINDOW_DAYS
    checks: int | None = None

    def lacks(self, shown: Evidence) -> str:
        """Return what is missing, in words; empty where nothing is."""
        if self.checks is not None:
            missing = max(self.checks, 1) - shown.checks
            return f"{missing} more clean checks" if missing > 0 else ""
        missing = max(self.days, 1) - shown.days
        return f"clean checks on {missing} more days" if missing > 0 else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a schema stands on its way to strict.

    Attributes:
        schema: the schema as it is in code.
        strict: why it is strict already, or None.
        approvals: those that count, one a person.
        evidence: what its canary has shown.
        bundle: the fingerprint of all schemas as they are in code.
    """

    schema: CanonicalSchema
    strict: State | None
    approvals: tuple[Approval, ...]
    evidence: Evidence
    bundle: str

    @property
    def is_done(self) -> bool:
        """Whether exactly this schema is strict."""
        return self.strict is not None and self.strict.fingerprint == self.schema.fingerprint

    def counted(self, promoter: str | None = None) -> tuple[Approval, ...]:
        """Return the approvals that count where `promoter` promotes: not their own."""
        own = None if promoter is None else person(promoter)
        return tuple(each for each in self.approvals if each.person != own)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "schema": self.schema.id,
            "fingerprint": self.schema.fingerprint,
            "mode": "canary" if self.strict is None else "strict",
            "approvals": [each.to_dict() for each in self.approvals],
            "canary": self.evidence.to_dict(),
            "bundle": self.bundle,
        }


def standing_of(
    registry: FileSchemaRegistry, workspace: Workspace, schema: CanonicalSchema, now: datetime
) -> Standing:
    """Return where `schema` stands at `now`; writes nothing."""
    return Standing(
        schema=schema,
        strict=read_state(workspace, schema.name, schema.version),
        approvals=standing(workspace, schema, now),
        evidence=evidence(workspace, schema, now),
        bundle=bundle_fingerprint(registry),
    )


def changed_since(found: Standing) -> str:
    """Return that the version is strict with another content, in words; empty where it is not."""
    if found.strict is None or found.is_done:
        return ""
    return (
        f"{found.schema.id} is strict as {found.strict.fingerprint[:12]} and was changed to "
        f"{found.schema.fingerprint[:12]} since: undo that, and give the change the next version"
    )


def lacking_approvals(found: Standing, promoter: str | None = None) -> str:
    """Return what approvals are missing, in words; empty where none is."""
    counted = found.counted(promoter)
    missing = APPROVERS - len(counted)
    if missing <= 0:
        return ""
    names = ", ".join(each.approver for each in counted) or "nobody"
    own = len(found.approvals) - len(counted)
    not_own = f"; {promoter} promotes it, so their own approval does not count" if own else ""
    return (
        f"{missing} of {APPROVERS} approvals of {found.schema.id} "
        f"{found.schema.fingerprint[:12]} are missing (approved by {names}{not_own})"
    )


def lacking_canary(found: Standing, window: Window) -> str:
    """Return what the canary has yet to show, in words; empty where nothing is."""
    lacks = window.lacks(found.evidence)
    if not lacks:
        return ""
    shown = found.evidence
    failed = f", the last failure was at {iso(shown.last_failure)}" if shown.last_failure else ""
    return (
        f"the canary of {found.schema.id} needs {lacks} "
        f"(so far {shown.checks} on {shown.days} days{failed})"
    )


def require(found: Standing, window: Window, promoter: str) -> None:
    """Refuse a promotion that lacks something.

    Raises:
        PrerequisitesNotMet: approvals are missing, or the canary has not shown enough.
    """
    lacks = [
        changed_since(found),
        lacking_approvals(found, promoter),
        lacking_canary(found, window),
    ]
    if told := [each for each in lacks if each]:
        raise PrerequisitesNotMet("; ".join(told), fix=how_to(found.schema))


def how_to(schema: CanonicalSchema) -> str:
    """Return how approvals and checks come about."""
    return (
        f"approve it: quant schema approve {schema.id} --as NAME; "
        "let its canary check responses: quant conformance run"
    )


def batch_of(found: Standing) -> str:
    """Return the id of the promotion: the same schema, bundle and approvals are one promotion."""
    said = [each.to_dict() for each in found.approvals]
    content = digest([found.schema.fingerprint, found.bundle, said])
    return f"promote-{found.schema.name}-{found.schema.version}-{content[:16]}"


def promote(  # noqa: PLR0913 - who, what, when
    registry: FileSchemaRegistry,
    workspace: Workspace,
    found: Standing,
    *,
    promoter: str,
    commit: Commit,
    now: datetime,
) -> State:
    """Make a schema strict; doing it again changes nothing.

    Args:
        registry: all schemas, which make the bundle.
        workspace: where it is recorded.
        found: where the schema stands; see `require`.
        promoter: who promotes it.
        commit: from ``run.commit``.
        now: when.
    """
    state = State(
        name=found.schema.name,
        version=found.schema.version,
        fingerprint=found.schema.fingerprint,
        bundle=found.bundle,
        approvers=tuple(each.approver for each in found.counted(promoter)),
        promoted_by=promoter,
        promoted_at=iso(now),
        run_id=commit.run_id,
    )
    keep_bundle(workspace, registry)
    append_entry(workspace, state, found, batch_id=commit.batch_id)
    others = [each for each in read_states(workspace, state.name) if each.version != state.version]
    write_states(workspace, state.name, [*others, state])
    return state


def keep_bundle(workspace: Workspace, registry: FileSchemaRegistry) -> str:
    """Keep all schemas as they are, under their fingerprint; return it."""
    schemas = list(registry)
    fingerprint = bundle_fingerprint(schemas)
    document = {
        "schema": BUNDLE,
        "fingerprint": fingerprint,
        "schemas": [schema.to_dict() for schema in schemas],
    }
    path = bundle_file(workspace, fingerprint)
    if not path.exists():
        write_atomic(path, dump_json(document))
    return fingerprint
