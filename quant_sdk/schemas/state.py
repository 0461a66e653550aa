"""Where governance keeps its files, and which versions of a schema are strict.

====================================================  =============================================
``data/artifacts/schemas/approvals.jsonl``            who approved what: append only
``data/artifacts/schemas/<name>/checks-<v>.jsonl``    what checks of version v found: append only
``data/artifacts/schemas/<name>/state.json``          which versions are strict, and since when
``data/artifacts/schemas/bundles/<sha256>.json``      the bundle that a promotion stood in
====================================================  =============================================

A version without an entry in ``state.json`` is in canary. Only `schema.promote` writes the last
two, and it holds its stage's lock.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from quant_registry.errors import Corrupted
from quant_registry.files import dump_json, read_json, write_atomic
from quant_sdk.schemas.schema import CanonicalSchema, bundle_fingerprint, check_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from quant_registry.workspace import Workspace

STATE: Final = "schema_state/1"
BUNDLE: Final = "schema_bundle/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Why a version is strict.

    Attributes:
        name, version: of the schema.
        fingerprint: of what was approved.
        bundle: the fingerprint of all schemas at that time.
        approvers: the two names, or more.
        promoted_by: who promoted it, in the run `run_id`.
        promoted_at: when, ISO 8601 in UTC.
    """

    name: str
    version: int
    fingerprint: str
    bundle: str
    approvers: tuple[str, ...]
    promoted_by: str
    promoted_at: str
    run_id: str

    @property
    def id(self) -> str:
        """Name and version, as in ``bars/1``."""
        return f"{self.name}/{self.version}"


def governance_dir(workspace: Workspace) -> Path:
    """The folder of approvals, checks, states and bundles."""
    return workspace.artifacts / "schemas"


def state_file(workspace: Workspace, name: str) -> Path:
    """The file of a schema's state."""
    return governance_dir(workspace) / check_name(name) / "state.json"


def bundle_file(workspace: Workspace, fingerprint: str) -> Path:
    """The file of a bundle."""
    return governance_dir(workspace) / "bundles" / f"{fingerprint}.json"


def read_bundle(workspace: Workspace, fingerprint: str) -> tuple[CanonicalSchema, ...]:
    """Return the schemas of a bundle that a promotion stood in.

    Raises:
        Corrupted: the bundle is gone, or is not what its fingerprint says.
    """
    path = bundle_file(workspace, fingerprint)
    fix = f"restore {workspace.display(path)} from a copy of the workspace"
    try:
        schemas = tuple(map(CanonicalSchema.from_dict, read_json(path)["schemas"]))
    except FileNotFoundError:
        raise Corrupted(f"the bundle {fingerprint[:12]} is gone", fix=fix) from None
    except (KeyError, TypeError, Corrupted) as error:
        raise Corrupted(
            f"the bundle {fingerprint[:12]} cannot be read: {error}", fix=fix
        ) from error
    if bundle_fingerprint(schemas) != fingerprint:
        raise Corrupted(f"the bundle {fingerprint[:12]} was changed after it was approved", fix=fix)
    return schemas


def read_state(workspace: Workspace, name: str, version: int) -> State | None:
    """Return what made a version strict, or None while it is in canary.

    Raises:
        Corrupted: the state cannot be read; it is not taken for canary.
    """
    return next((each for each in read_states(workspace, name) if each.version == version), None)


def read_states(workspace: Workspace, name: str) -> tuple[State, ...]:
    """Return the strict versions of a schema, ascending.

    Raises:
        Corrupted: the state cannot be read.
    """
    path = state_file(workspace, name)
    try:
        document = read_json(path)
    except FileNotFoundError:
        return ()
    try:
        strict: Any = document["strict"] if document["schema"] == STATE else None
        return tuple(sorted(map(_state, strict), key=lambda each: each.version))
    except (KeyError, TypeError) as error:
        raise Corrupted(
            f"the state of the schema {name} cannot be read: {error}",
            fix=f"restore {workspace.display(path)}, or remove it and promote the schema again",
        ) from error


def write_states(workspace: Workspace, name: str, states: Iterable[State]) -> None:
    """Replace the state of a schema."""
    strict = [asdict(each) for each in sorted(states, key=lambda each: each.version)]
    write_atomic(
        state_file(workspace, name),
        dump_json({"schema": STATE, "name": name, "strict": strict}),
    )


def _state(found: Mapping[str, Any]) -> State:
    return State(**{**found, "approvers": tuple(found["approvers"])})
