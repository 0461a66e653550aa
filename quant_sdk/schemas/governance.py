"""``docs/operations/schema_registry_governance.md``: an entry for each promotion, append only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from filelock import FileLock

from quant_registry.clock import iso
from quant_registry.errors import Conflict
from quant_registry.files import make_folder, read_bounded, write_atomic

if TYPE_CHECKING:
    from quant_registry.workspace import Workspace
    from quant_sdk.schemas.promotion import Standing
    from quant_sdk.schemas.state import State

PAGE: Final = Path("docs") / "operations" / "schema_registry_governance.md"
HEAD: Final = """# Schema registry governance

Each promotion of a schema from canary to strict, as `schema.promote` recorded it. Entries are added
at the end and never changed; the same facts stand in the audit log, event `schema_promoted`.

## Promotions
"""
_LOCK_SECONDS: Final = 10.0
_TRIES: Final = 100


def append_entry(workspace: Workspace, state: State, found: Standing, *, batch_id: str) -> bool:
    """Add the entry of a promotion at the end of the page; tell whether it was not there yet.

    What stands in the page stays, byte by byte, whoever wrote it.

    Raises:
        Conflict: others change the page faster than it can be replaced.
        OutsideWorkspace: the page leads out of the workspace.
    """
    path = workspace.inside(workspace.root / PAGE)
    mark = f"<!-- {batch_id} -->"
    make_folder(workspace.locks)
    lock = FileLock(
        workspace.locks / "schema-governance.lock", timeout=_LOCK_SECONDS, fallback_to_soft=False
    )
    with lock:
        for _ in range(_TRIES):
            before = _content(path)
            if before is not None and mark.encode() in before:
                return False
            page = HEAD.encode() if before is None else before
            ended = page if page.endswith(b"\n") else page + b"\n"
            after = ended + entry(state, found, mark).encode()
            # Editors take no lock: compare as late as possible before the rename.
            if write_atomic(path, after, guard=lambda seen=before: _content(path) == seen):  # type: ignore[misc]
                return True
    raise Conflict(f"{PAGE.as_posix()} keeps changing under this run", fix="run the stage again")


def entry(state: State, found: Standing, mark: str) -> str:
    """Return the entry of a promotion, in Markdown."""
    shown = found.evidence
    approvers = "; ".join(
        f"{each.approver} ({iso(each.approved_at)})" for each in found.counted(state.promoted_by)
    )
    since = "" if shown.since is None else f" since {iso(shown.since)}"
    rows = {
        "schema": f"`{state.id}`",
        "fingerprint": f"`{state.fingerprint}`",
        "bundle": f"`{state.bundle}`",
        "approved by": approvers,
        "promoted by": state.promoted_by,
        "canary": f"{shown.checks} clean checks on {shown.days} days{since}",
        "run": f"`{state.run_id}`",
    }
    lines = "\n".join(f"| {name} | {text} |" for name, text in rows.items())
    return (
        f"\n### {state.promoted_at}: {state.id} is strict\n\n{mark}\n\n| | |\n|---|---|\n{lines}\n"
    )


def _content(path: Path) -> bytes | None:
    try:
        return read_bounded(path)
    except FileNotFoundError:
        return None
