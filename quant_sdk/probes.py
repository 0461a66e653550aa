"""What the doctor looks at: each probe answers with status, message and fix."""

from __future__ import annotations

import os
import secrets
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from quant_registry.abandoned import bury
from quant_registry.clock import parse_iso
from quant_registry.control_file import ABSENT, ControlFile
from quant_registry.errors import Corrupted, InvalidIdentifier, UnknownRun
from quant_registry.lock import view_lock
from quant_registry.owner import Owner, liveness
from quant_registry.record import RunRecord, read_record, run_ids
from quant_sdk.chains import verify_chains
from quant_sdk.moments import recent_events, spell

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from quant_registry.clock import Clock
    from quant_registry.registry import StageRegistry
    from quant_registry.workspace import Workspace

Finding = tuple[Literal["ok", "warn", "fail", "not_applicable"], str, str]

_MIB = 1024 * 1024
# A run's own records need a few; below this nothing durable can be promised.
_NO_ROOM, _LITTLE_ROOM = 64 * _MIB, 1024 * _MIB
_FEW_FILES = 1000
_SKEW_SECONDS = 2.0
_OLD_SECONDS = 3600.0
_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """The workspace that is looked at.

    Attributes:
        workspace: where to look.
        registry: its stages, for their locks.
        clock: the time.
        actor: in whose name records are written.
        bury: write the terminal records of runs whose process died.
    """

    workspace: Workspace
    registry: StageRegistry
    clock: Clock
    actor: str
    bury: bool = False


def workspace(patient: Patient) -> Finding:
    """Write, sync and remove a small file in each folder that runs write to."""
    place = patient.workspace
    folders = sorted({_nearest(folder) for folder in (place.artifacts, place.lakehouse)})
    for folder in folders:
        try:
            _write_probe(folder)
        except OSError as error:
            return "fail", f"{folder} cannot be written: {error}", f"make {folder} writable"
    return "ok", f"{', '.join(map(str, folders))} can be written", ""


def disk(patient: Patient) -> Finding:
    """Look at the room that is left, in bytes and in files."""
    folder = _nearest(patient.workspace.data)
    free = shutil.disk_usage(folder).free
    state = os.statvfs(folder)
    told = f"{free / _MIB:,.0f} MiB free"
    fix = "make room, or move the workspace; quant snapshot list shows what snapshots hold"
    if free < _NO_ROOM:
        return "fail", told, fix
    if state.f_files and state.f_favail < _FEW_FILES:
        return "warn", f"{told}, but room for {state.f_favail} files only", fix
    return ("warn", told, fix) if free < _LITTLE_ROOM else ("ok", told, "")


def clock(patient: Patient) -> Finding:
    """Compare the clock with the file system's, and with the last event written."""
    now = patient.clock.now()
    fix = "set the clock (NTP): the newest run is told by its time"
    skew = _write_probe(_nearest(patient.workspace.artifacts)) - patient.clock.now().timestamp()
    if abs(skew) > _SKEW_SECONDS:
        return "warn", f"the file system's clock is {skew:+.1f} s away from this machine's", fix
    ahead = max((_ahead(event, now) for event in recent_events(patient.workspace.audit)), default=0)
    if ahead > _SKEW_SECONDS:
        return "fail", f"the audit log has an event from {spell(ahead)} in the future", fix
    return "ok", "the clock agrees with the file system and the audit log", ""


def locks(patient: Patient) -> Finding:
    """Look who holds the stages' locks."""
    views = [
        view_lock(patient.workspace, spec.id) for spec in patient.registry if spec.lock is not None
    ]
    for view in views:
        if view.state == "frozen":
            return (
                "warn",
                f"{view.stage_id} is held by a frozen process: {view.evidence}",
                f"quant lock recover {view.stage_id} {view.lock_id}",
            )
    for view in views:
        if view.state == "unknown":
            return (
                "warn",
                f"who holds {view.stage_id} cannot be told: {view.evidence}",
                f"look on its own host, or end the process; then quant lock show {view.stage_id}",
            )
    found = Counter(view.state for view in views)
    return "ok", ", ".join(f"{count} {state}" for state, count in found.items()) or "none", ""


def abandoned(patient: Patient) -> Finding:
    """Find runs whose process died; give them their end where the caller wants that."""
    dead = [
        (record, evidence)
        for record in _readable(patient.workspace)
        if not record.is_terminal
        for life, evidence in [liveness(Owner.from_dict(record.owner))]
        if life == "dead"
    ]
    names = _some([record.run_id for record, _ in dead])
    if not dead:
        return "ok", "every run has its end, or lives", ""
    if not patient.bury:
        return (
            "warn",
            f"{len(dead)} runs died without their end: {names}",
            "quant doctor --bury, or run the stage again, which continues it",
        )
    for record, evidence in dead:
        bury(patient.workspace, record, evidence, clock=patient.clock, actor=patient.actor)
    return "ok", f"{len(dead)} runs were recorded as abandoned: {names}", ""


def audit(patient: Patient) -> Finding:
    """Check every chain down to the event that its run's record names."""
    reports = verify_chains(patient.workspace)
    broken = [report for report in reports if not report.ok]
    if not broken:
        return "ok", f"{len(reports)} chains are whole", ""
    first = broken[0]
    return (
        "fail",
        f"{len(broken)} of {len(reports)} chains are broken, as of {first.run_id}: {first.reason}",
        "keep a copy of the log and look: quant audit verify",
    )


def control(patient: Patient) -> Finding:
    """Read the control file, and tell of pauses that later runs will meet."""
    found = ControlFile(patient.workspace).read()
    if found.error is not None:
        fix = f"{found.error.fix}, or quant resume, which sets it aside"
        return "fail", found.error.message, fix
    now = patient.clock.now()
    pauses = [
        item
        for item in found.directives
        if item.action == "pause" and (item.expires_at is None or item.expires_at > now)
    ]
    if pauses:
        first = pauses[0]
        why = f" ({first.reason})" if first.reason else ""
        return (
            "warn",
            f"{len(pauses)} standing pauses; {first.scope} by {first.actor or 'an editor'}{why}",
            "quant resume" if first.scope == "*" else f"quant resume --scope {first.scope}",
        )
    there = "there is none" if found.digest == ABSENT else "it can be read"
    return "ok", f"{there}, and no pause stands", ""


def settings(patient: Patient) -> Finding:
    """Read every section of ``quant.yml``, and import the stages that it names."""
    workspace = patient.workspace
    if not workspace.settings.exists():
        return "not_applicable", "there is no quant.yml", ""
    from quant_registry.registry import StageRegistry
    from quant_sdk.conformance.settings import read_conformance_settings
    from quant_sdk.sources.settings import read_source_settings

    sources = read_source_settings(workspace)
    conformance = read_conformance_settings(workspace)
    broken = StageRegistry.discover(workspace).broken
    for origin, error in broken.items():
        return "fail", f"{origin}: {error.message}", error.fix
    told = f"{sources.market} market, conformance is {conformance.mode}"
    return "ok", told, ""


def tables(patient: Patient) -> Finding:
    """Open every table, and read a row of each file's worth of metadata."""
    lakehouse = patient.workspace.lakehouse
    if not any(lakehouse.glob("*/_delta_log")):
        return "not_applicable", "there are no tables yet", ""
    from quant_sdk.lakehouse.lakehouse import Lakehouse

    house = Lakehouse(patient.workspace)
    found = house.tables()
    for item in found:
        house.table(item["name"]).read(lambda rows: rows.head(1).collect())
    told = ", ".join(f"{item['name']} v{item['version']} {item['rows']} rows" for item in found)
    return "ok", told or "no table has been written", ""


def leftovers(patient: Patient) -> Finding:
    """Find drafts of files whose writer was killed before it could rename them."""
    now = patient.clock.now().timestamp()
    place = patient.workspace
    folders = (place.artifacts, place.lakehouse, place.data / "export", place.snapshots)
    old = [
        path for folder in folders for path in _drafts(folder) if now - _mtime(path) > _OLD_SECONDS
    ]
    if not old:
        return "ok", "no drafts of killed writers", ""
    names = _some([place.display(path) for path in old])
    return "warn", f"{len(old)} drafts of killed writers: {names}", "remove them"


def _nearest(folder: Path) -> Path:
    while not folder.is_dir():
        folder = folder.parent
    return folder


def _write_probe(folder: Path) -> float:
    """Write and remove a file durably; return its mtime."""
    path = folder / f".doctor.{os.getpid()}.{secrets.token_hex(4)}.tmp"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, b"probe")
        os.fsync(descriptor)
        return os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)
        path.unlink()


def _ahead(event: dict[str, object], now: datetime) -> float:
    try:
        return (parse_iso(str(event.get("timestamp"))) - now).total_seconds()
    except ValueError:
        return 0.0


def _readable(place: Workspace) -> Iterator[RunRecord]:
    """Yield the records that can be read; `audit` tells of the others."""
    for name in run_ids(place):
        try:
            yield read_record(place, name)
        except (UnknownRun, InvalidIdentifier, Corrupted):
            continue


def _drafts(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        for name in names:
            if name[0] == "." and name.endswith(".tmp"):
                yield Path(parent) / name


def _mtime(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")  # its writer has just renamed it


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
