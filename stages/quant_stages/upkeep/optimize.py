"""`lakehouse.optimize`: compaction, partition by partition, then the vacuum."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from quant_sdk import Plan
from quant_sdk.errors import Conflict, OwnershipLost
from quant_sdk.lakehouse.locks import writing
from quant_sdk.lakehouse.optimize import crowds, exchange, rewritten, vacuum, vacuumable
from quant_sdk.lakehouse.parts import drop_parts
from quant_stages.tables import SHOWN, make_whole, written
from quant_stages.upkeep.params import Compaction, OptimizeResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from quant_sdk import CheckContext, Commit, Run
    from quant_sdk.lakehouse.optimize import Crowd
    from quant_sdk.lakehouse.parts import Swap
    from quant_sdk.lakehouse.table import Table
    from quant_stages.upkeep.params import OptimizeParams


class _Done(NamedTuple):
    swap: Swap
    version: int


@dataclass(slots=True)
class _Totals:
    partitions: list[Compaction] = field(default_factory=list)
    busy: list[str] = field(default_factory=list)
    files_removed: int = 0
    bytes_removed: int = 0


def optimize(run: Run, params: OptimizeParams) -> OptimizeResult:
    """Rewrite the partitions with too many small files, then remove what nobody needs."""
    totals = _Totals()
    tables = written(run.workspace, params.tables)
    make_whole(run)
    with run.step("compact"):
        work = [(table, crowd) for table in tables for crowd in crowds(table, params.small_files)]
        for table, crowd in run.track(work, total=len(work)):
            _compact(run, table, crowd, params, totals)
    if params.vacuum:
        with run.step("vacuum"):
            for table in run.track(tables, total=len(tables)):
                _vacuum(run, table, params, totals)
    return _result(totals)


def plan(context: CheckContext) -> Plan:
    """Count the files that would be rewritten."""
    found = _look(context)
    files = [part for _, crowd in found for part in crowd.parts]
    digest = hashlib.sha256("\0".join(part.path for part in files).encode())
    return Plan(
        steps=("compact", "vacuum"),
        files=len(files),
        rows=sum(part.rows for part in files),
        bytes=sum(part.bytes for part in files),
        inputs=digest.hexdigest(),
    )


def rehearse(context: CheckContext) -> dict[str, Any]:
    """List the partitions that would be rewritten, and count the files that would go."""
    found = _look(context)
    params: OptimizeParams = context.params
    tables = written(context.workspace, params.tables) if params.vacuum else []
    old = [path for table in tables for path in vacuumable(table, params.retention_hours)]
    return {
        "partitions": [{"table": table.spec.name, **crowd.to_dict()} for table, crowd in found][
            :SHOWN
        ],
        "count": len(found),
        "files_removed": len(old),
        "bytes_removed": sum(path.stat().st_size for path in old),
    }


def _look(context: CheckContext) -> list[tuple[Table, Crowd]]:
    tables = written(context.workspace, context.params.tables)
    return [
        (table, crowd) for table in tables for crowd in crowds(table, context.params.small_files)
    ]


def _compact(run: Run, table: Table, crowd: Crowd, params: OptimizeParams, totals: _Totals) -> None:
    """Rewrite beside the writers; where one was first, keep them out and rewrite again."""
    name = f"{table.spec.name} {crowd.name}".strip()
    swap = rewritten(table, crowd)
    try:
        done = _commit(run, table, crowd, lambda commit: _Done(swap, exchange(table, swap, commit)))
    except OwnershipLost:
        drop_parts(table, swap.adds)  # it may have been lost before the exchange
        raise
    except Conflict:
        drop_parts(table, swap.adds)
        try:
            done = _commit(run, table, crowd, lambda commit: _again(table, crowd, params, commit))
        except Conflict as error:
            totals.busy.append(name)
            run.emit("partition_busy", status="skipped", partition=name, error=error.to_dict())
            return
    if done is not None:
        totals.partitions.append(_told(table, crowd, done))


def _again(table: Table, crowd: Crowd, params: OptimizeParams, commit: Commit) -> _Done | None:
    """Rewrite what the partition holds now; the caller keeps the writers out."""
    for now in crowds(table, params.small_files):
        if now.partition == crowd.partition:
            swap = rewritten(table, now)
            return _Done(swap, exchange(table, swap, commit))
    return None


def _commit(
    run: Run, table: Table, crowd: Crowd, publish: Callable[[Commit], _Done | None]
) -> _Done | None:
    def alone(commit: Commit) -> _Done | None:
        with writing(run.workspace.locks, table.spec.name):
            return publish(commit)

    paths = "\0".join(part.path for part in crowd.parts)
    return run.commit(
        alone,
        batch_id=hashlib.sha256(paths.encode()).hexdigest()[:32],
        event="partition_compacted",
        describe=lambda done: _event(table, crowd, done),
    )


def _event(table: Table, crowd: Crowd, done: _Done | None) -> dict[str, Any]:
    if done is None:
        return {"status": "skipped", "table": table.spec.name, "partition": crowd.name}
    return {"status": "success", **_told(table, crowd, done).model_dump()}


def _told(table: Table, crowd: Crowd, done: _Done) -> Compaction:
    return Compaction(
        table=table.spec.name,
        partition=crowd.name,
        files=len(done.swap.removes),
        files_after=len(done.swap.adds),
        rows=sum(part.rows for part in done.swap.adds),
        version=done.version,
    )


def _vacuum(run: Run, table: Table, params: OptimizeParams, totals: _Totals) -> None:
    """Remove old files while nobody can make one of them live again."""
    with writing(run.workspace.locks, table.spec.name):
        files = vacuumable(table, params.retention_hours)
        if not files:
            return
        freed = run.commit(
            lambda _: vacuum(files),
            batch_id=f"vacuum-{table.spec.name}-{run.run_id}",
            event="files_vacuumed",
            describe=lambda freed: {
                "status": "success",
                "table": table.spec.name,
                "files": len(files),
                "bytes": freed,
            },
        )
    totals.files_removed += len(files)
    totals.bytes_removed += freed


def _result(totals: _Totals) -> OptimizeResult:
    done = totals.partitions
    before, after = (sum(getattr(item, name) for item in done) for name in ("files", "files_after"))
    return OptimizeResult(
        message=_message(totals, before, after),
        committed=bool(done),
        partitions=done[:SHOWN],
        count=len(done),
        files_before=before,
        files_after=after,
        rows=sum(item.rows for item in done),
        busy=totals.busy[:SHOWN],
        files_removed=totals.files_removed,
        bytes_removed=totals.bytes_removed,
    )


def _message(totals: _Totals, before: int, after: int) -> str:
    parts = []
    if totals.partitions:
        parts.append(f"{before} files of {len(totals.partitions)} partitions became {after}")
    if totals.busy:
        parts.append(f"{len(totals.busy)} partitions were busy")
    if totals.files_removed:
        parts.append(f"{totals.files_removed} old files are gone")
    return "; ".join(parts) or "nothing to do"
