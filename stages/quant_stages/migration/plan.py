"""Looking ahead: what a migration would do, and the rehearsal that reads but never writes."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from quant_sdk import Plan, records
from quant_sdk.errors import QuantError
from quant_sdk.lakehouse.ledger import Ledger
from quant_sdk.sources.legacy import source_for
from quant_stages.manifest.document import read_manifest
from quant_stages.manifest.profiles import audit_profiles
from quant_stages.migration.body import STEPS
from quant_stages.migration.discover import find_sources
from quant_stages.migration.load import Loader

if TYPE_CHECKING:
    from quant_sdk import CheckContext
    from quant_sdk.sources.legacy import SourceFile
    from quant_stages.migration.state import Discovered

_HISTORY = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outlook:
    """What the manifest names, and what of it is still to be read."""

    found: Discovered
    loader: Loader
    pending: tuple[SourceFile, ...]


def plan(context: CheckContext) -> Plan:
    """Count what a run would read, from file heads."""
    outlook = _look(context)
    heads = [_rows(file) for file in outlook.pending]
    readable = [rows for rows in heads if rows is not False]
    counted = [rows for rows in readable if rows is not None]
    size = sum(_size(file) for file in outlook.pending)
    known = len(outlook.found.files) - len(outlook.pending)
    named = len(outlook.found.files) + len(outlook.found.failures)
    return Plan(
        steps=tuple(step.NAME for step in STEPS),
        candidates=len({file.symbol for file in outlook.found.files}),
        files=len(outlook.pending),
        rows=sum(counted) if len(counted) == len(readable) else None,
        bytes=size,
        eta_seconds=_eta(context, size),
        inputs=_digest(outlook.pending),
        readable_share=(known + len(readable)) / named if named else None,
        notes=_notes(outlook),
    )


def rehearse(context: CheckContext) -> dict[str, Any]:
    """Read and check every pending source in memory; return the counts a run would report."""
    outlook = _look(context)
    workers = context.params.workers or os.cpu_count()
    counts = {"rows": 0, "bars": 0, "quarantined": 0, "identical_duplicates": 0}
    failures = list(outlook.found.failures)
    with ThreadPoolExecutor(workers) as pool:
        for loaded in pool.map(outlook.loader.load, outlook.pending):
            if loaded.failure is not None:
                failures.append(loaded.failure)
            elif loaded.incoming is not None:
                counts["rows"] += loaded.incoming.rows
                counts["bars"] += loaded.incoming.bars.height
                counts["quarantined"] += loaded.incoming.quarantined.height
                counts["identical_duplicates"] += loaded.incoming.identical_duplicates
    return {
        "sources": len(outlook.pending),
        **counts,
        "failures": [failure.to_dict() for failure in failures],
    }


def discovered(context: CheckContext) -> Discovered:
    """Return the sources that the manifest names, and what of it names none."""
    return _look(context).found


def pending_bytes(context: CheckContext) -> int:
    """Return the size of the sources a run would read."""
    return sum(_size(file) for file in _look(context).pending)


def _look(context: CheckContext) -> _Outlook:
    path = context.workspace.root / context.params.manifest
    profiles = audit_profiles(read_manifest(path), context.params.profiles)
    found = find_sources(profiles, path.parent, context.workspace.root)
    loader = Loader(Ledger(context.workspace.lakehouse).entries(), context.clock.now())
    pending = tuple(file for file in found.files if not loader.is_known(file))
    return _Outlook(found=found, loader=loader, pending=pending)


def _rows(file: SourceFile) -> int | bool | None:
    """Return the rows a file's head tells, None where it does not, False where it is torn."""
    try:
        return source_for(file.layout).probe(file).rows
    except QuantError:
        return False


def _digest(files: tuple[SourceFile, ...]) -> str:
    """Name exactly these files, as declared and as large as they are; their times do not count."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.id}\0{file.spec_digest}\0{_size(file)}\0".encode())
    return digest.hexdigest()


def _size(file: SourceFile) -> int:
    try:
        return file.path.stat().st_size
    except OSError:
        return 0  # it counts as unreadable


def _eta(context: CheckContext, size: int) -> float | None:
    """Return `size` over the throughput of earlier runs; None where none has read anything."""
    read = seconds = 0.0
    for record in records(context.workspace, context.spec.id, limit=_HISTORY):
        if record.result is not None and record.result.get("bytes_read"):
            read += record.result["bytes_read"]
            seconds += record.active_seconds
    return round(size * seconds / read, 1) if read else None


def _notes(outlook: _Outlook) -> tuple[str, ...]:
    known = len(outlook.found.files) - len(outlook.pending)
    notes = [f"{known} sources are unchanged and will not be read"] if known else []
    return (*notes, *(f"{item.source}: {item.error.message}" for item in outlook.found.failures))
