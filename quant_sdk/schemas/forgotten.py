"""Promotions that something tells of, and no state does: a version that was strict is not any more.

The audit log has an event for each promotion, and the folder of bundles a file. Where a state was
removed, or its file put back to an older one, they still stand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from quant_registry.audit_reader import tail
from quant_sdk.schemas.state import governance_dir, state_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from quant_registry.workspace import Workspace
    from quant_sdk.schemas.state import State

PROMOTED: Final = "schema_promoted"
"""The event of a promotion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """A promotion without a state.

    Attributes:
        schema_id: such as ``bars/1``; of a bundle of which nobody knows more, its name.
        fingerprint: of what was approved; empty where nobody knows.
        detail: in words.
    """

    schema_id: str
    fingerprint: str
    detail: str


def forgotten(workspace: Workspace, states: Iterable[State]) -> Iterator[Forgotten]:
    """Yield the promotions that the audit log or a bundle tells of, and none of `states`."""
    known = list(states)
    told = [event for event in tail(workspace.audit) if event.get("event") == PROMOTED]
    strict = {state.id for state in known}
    last = {str(event.get("schema_id")): event for event in told}
    for schema_id in sorted(set(last) - strict):
        event = last[schema_id]
        file = workspace.display(state_file(workspace, schema_id.partition("/")[0]))
        yield Forgotten(
            schema_id=schema_id,
            fingerprint=str(event.get("fingerprint", "")),
            detail=f"{schema_id} was promoted by {event.get('promoted_by')} at "
            f"{event.get('timestamp')}, and is not strict: restore {file}, or promote it again",
        )
    named = {state.bundle for state in known} | {str(event.get("bundle")) for event in told}
    for path in sorted((governance_dir(workspace) / "bundles").glob("*.json")):
        if path.stem not in named:
            yield Forgotten(
                schema_id=path.stem[:12],
                fingerprint="",
                detail=f"the bundle {path.stem[:12]} was kept for a promotion that no state tells "
                f"of: promote again, or remove {workspace.display(path)}",
            )
