"""The versions of a table: who made each, what it changed, and whether it can be restored."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from quant_registry.clock import iso
from quant_registry.errors import InvalidInput, NoData
from quant_sdk.lakehouse.damage import reading_entry
from quant_sdk.lakehouse.parts import Part, commit_parts, live_parts, missing_files
from quant_sdk.lakehouse.table import METADATA_KEY

if TYPE_CHECKING:
    from quant_sdk.lakehouse.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version of a table.

    Attributes:
        version: its number.
        at: when it was made, by the machine's clock, RFC 3339.
        operation: what made it, such as ``write``, ``optimize`` or ``restore``.
        run_id, stage_id: who made it; None where it was no run.
        rows: how many it holds.
        change: how many more than the version before.
        files: how many data files it names.
        restorable: whether all of them are on disk.
    """

    version: int
    at: str
    operation: str
    run_id: str | None
    stage_id: str | None
    rows: int
    change: int
    files: int
    restorable: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the form of answers."""
        return asdict(self)


def versions(table: Table) -> list[Version]:
    """Return the versions of which the log knows, oldest first.

    Raises:
        Corrupted: an entry of the log is torn.
    """
    if not table.exists():
        return []
    numbers = sorted(
        int(path.stem) for path in (table.path / "_delta_log").glob("*.json") if path.stem.isdigit()
    )
    live = {part.path: part for part in parts_at(table, numbers[0])}
    on_disk: dict[str, bool] = {}
    found: list[Version] = []
    for number in numbers:
        adds, removes = commit_parts(table, number)
        live.update((part.path, part) for part in adds)
        for part in removes:
            live.pop(part.path, None)
        for path in live.keys() - on_disk.keys():
            on_disk[path] = not missing_files(table, [path])
        rows = sum(part.rows for part in live.values())
        found.append(
            Version(
                version=number,
                **_commit(table, number),
                rows=rows,
                change=rows - (found[-1].rows if found else 0),
                files=len(live),
                restorable=all(on_disk[path] for path in live),
            )
        )
    return found


def parts_at(table: Table, version: int) -> list[Part]:
    """Return the files of a version.

    Raises:
        InvalidInput: there is no such version.
        NoData: it cannot be read any more.
    """
    newest = table.version()
    if not 0 <= version <= newest:
        raise InvalidInput(
            f"the table {table.spec.name} has no version {version}",
            fix=f"its versions go from 0 to {newest}: quant lakehouse history"
            if newest >= 0
            else "nothing has been written to it yet",
        )
    try:
        return live_parts(DeltaTable(str(table.path), version=version))
    except DeltaError as error:
        raise NoData(
            f"version {version} of the table {table.spec.name} cannot be read: {error}",
            fix="see which can be restored: quant lakehouse history",
        ) from error


def versions_of(table: Table, run_ids: set[str]) -> list[int]:
    """Return the versions that some runs made, oldest first."""
    return [
        int(commit["version"])
        for commit in table.history()
        if METADATA_KEY in commit and json.loads(commit[METADATA_KEY]).get("run_id") in run_ids
    ]


def _commit(table: Table, version: int) -> dict[str, Any]:
    """Return ``at``, ``operation``, ``run_id`` and ``stage_id`` of a commit."""
    entry = table.path / "_delta_log" / f"{version:020d}.json"
    with reading_entry(table.path, entry):
        actions = [orjson.loads(line) for line in entry.read_bytes().splitlines()]
    info: dict[str, Any] = next(
        (action["commitInfo"] for action in actions if "commitInfo" in action), {}
    )
    ours = orjson.loads(info.get(METADATA_KEY) or "{}")
    at = datetime.fromtimestamp(info.get("timestamp", 0) / 1000, UTC)
    return {
        "at": iso(at),
        "operation": ours.get("operation") or str(info.get("operation", "")).lower(),
        "run_id": ours.get("run_id"),
        "stage_id": ours.get("stage_id"),
    }
