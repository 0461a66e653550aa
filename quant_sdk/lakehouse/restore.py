"""Going back to an earlier version of a table, as a new version.

Bars that go are kept in quarantine, bars that change are recorded as corrections, and the ledger
is balanced, so that it agrees with the table afterwards. Nothing that was known is lost.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import polars as pl
from filelock import FileLock, Timeout

from quant_registry.errors import Conflict, InvalidInput, LiveRun, NoData
from quant_registry.record import find_record
from quant_registry.steering import live_runs
from quant_sdk.lakehouse.amend import Amended, Amender, Amendment
from quant_sdk.lakehouse.parts import live_parts, missing_files
from quant_sdk.lakehouse.rewrite import CHANGE, change_between
from quant_sdk.lakehouse.specs import BARS
from quant_sdk.lakehouse.versions import parts_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from deltalake import CommitProperties, DeltaTable

    from quant_registry.run import Commit
    from quant_registry.workspace import Workspace
    from quant_sdk.lakehouse.parts import Part
    from quant_sdk.lakehouse.table import Table

RECORDS: Final = frozenset({"quarantine", "corrections"})
"""What is recorded is not taken back: these tables are not restored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """The way from the newest version of a table to an earlier one.

    Attributes:
        table: whose versions they are.
        newest: the version that it starts from.
        version: the one to go back to.
        removes: files that only the newest has.
        adds: files that only the earlier one has.
        change: of bars, with the columns of `rewrite.CHANGE`; empty for other tables.
    """

    table: Table
    newest: int
    version: int
    removes: Sequence[Part]
    adds: Sequence[Part]
    change: pl.DataFrame

    @property
    def rows(self) -> int:
        """How many rows more the table has afterwards."""
        return sum(part.rows for part in self.adds) - sum(part.rows for part in self.removes)

    @property
    def is_needed(self) -> bool:
        """Whether it changes any row, or other files where rows are not compared."""
        if self.table.spec.name == BARS.name:
            return self.change.height > 0
        return bool(self.removes or self.adds)


def way_back(table: Table, version: int) -> Return:
    """Look at what going back to `version` would take; changes nothing.

    Raises:
        InvalidInput: there is no such version, or the table is a record.
        NoData: files of that version are gone.
    """
    if table.spec.name in RECORDS:
        raise InvalidInput(
            f"the table {table.spec.name} is a record, and is not taken back",
            fix="restore bars; what was recorded since stays known",
        )
    then = {part.path: part for part in parts_at(table, version)}
    delta = table.delta()
    now = {part.path: part for part in live_parts(delta)}
    if gone := missing_files(table, then.keys() - now.keys()):
        raise NoData(
            f"version {version} of the table {table.spec.name} cannot be restored: {len(gone)} of "
            f"its {len(then)} files are gone, such as {min(gone)}",
            fix="see which can: quant lakehouse history; or read a snapshot: quant snapshot list",
        )
    removes = [part for path, part in now.items() if path not in then]
    adds = [part for path, part in then.items() if path not in now]
    of_bars = table.spec.name == BARS.name
    return Return(
        table=table,
        newest=int(delta.version()),
        version=version,
        removes=removes,
        adds=adds,
        change=change_between(table, removes, adds) if of_bars else pl.DataFrame(schema=CHANGE),
    )


def restore(workspace: Workspace, way: Return, commit: Commit, now: datetime) -> Amended:
    """Go back, in one commit; the caller holds the table's lock.

    Raises:
        Conflict: the table has changed since `way_back` looked; nothing was changed.
    """

    def put(metadata: dict[str, Any]) -> int:
        return way.table.change(go, commit, metadata)

    def go(delta: DeltaTable, properties: CommitProperties) -> None:
        _check_newest(way, int(delta.version()))
        delta.restore(way.version, commit_properties=properties)

    if not way.is_needed:
        return Amended()
    # Before anything is withdrawn or recorded: of a restore that cannot be, nothing is left.
    _check_newest(way, way.table.version())
    if way.table.spec.name != BARS.name:
        return Amended(version=put({}))
    amendment = Amendment(
        kind="restore",
        of=commit.run_id,
        reason=f"run {commit.run_id} went back to version {way.version} of bars",
        change=way.change,
    )
    return Amender(workspace.lakehouse).amend(amendment, put, commit, now)


def _check_newest(way: Return, newest: int) -> None:
    if newest != way.newest:
        raise Conflict(
            f"the table {way.table.spec.name} was written to meanwhile",
            fix="run the stage again: it begins with what stands now",
        )


@contextmanager
def alone(workspace: Workspace, run_id: str) -> Iterator[None]:
    """Keep every other run out, for as long as this lasts.

    A stage that has never run is not kept out; what it publishes meanwhile, `restore` notices.

    Args:
        workspace: the workspace.
        run_id: the run that asks; it and those whose child it is may be live.

    Raises:
        LiveRun: another run is live.
    """
    ours = _line(workspace, run_id)
    for record in live_runs(workspace):
        if record.run_id not in ours:
            raise _live(record.run_id)
    with ExitStack() as held:
        for owner in sorted(workspace.locks.glob("*.owner.json")):
            stage_id = owner.name.removesuffix(".owner.json")
            if stage_id in ours.values():
                continue
            path = workspace.locks / f"{stage_id}.lock"
            try:
                held.enter_context(FileLock(path, timeout=0.05, fallback_to_soft=False))
            except Timeout:
                raise _live(stage_id) from None
        yield


def _line(workspace: Workspace, run_id: str) -> dict[str, str]:
    """Return a run and those whose child it is, with their stages."""
    found: dict[str, str] = {}
    record = find_record(workspace, run_id)
    while record is not None and record.run_id not in found:
        found[record.run_id] = record.stage_id
        record = find_record(workspace, record.parent_run_id)
    return found


def _live(name: str) -> LiveRun:
    return LiveRun(
        f"{name} is live, so nothing is restored",
        fix=f"wait for it, or cancel it: quant cancel --scope {name}",
    )
