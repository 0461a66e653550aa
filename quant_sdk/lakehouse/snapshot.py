"""Snapshots: a manifest of tables, versions, files and hashes, and hard links to the files.

Parquet files of a Delta table never change, so a link keeps one alive through compaction and
vacuum at no cost in space. Partition values stand in the folders' names (``timeframe=5m``).
"""

from __future__ import annotations

import hashlib
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from quant_registry.clock import iso
from quant_registry.errors import Corrupted, InvalidInput, NoData, UnknownName
from quant_registry.files import dump_json, make_folder, read_json, sync_path, write_atomic
from quant_registry.ids import check_run_id
from quant_sdk.lakehouse.locks import writing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    import polars as pl
    from deltalake import DeltaTable

    from quant_registry.workspace import Workspace
    from quant_sdk.lakehouse.table import Table

SCHEMA: Final = "snapshot/1"
MANIFEST: Final = "manifest.json"


def create_snapshot(
    workspace: Workspace,
    snapshot_id: str,
    tables: Iterable[Table],
    *,
    now: datetime,
) -> dict[str, Any]:
    """Link the live files of `tables` under ``data/snapshots/<id>``; return the manifest.

    The folder appears whole or not at all; one that stands already is returned as it is. Bars,
    quarantine and corrections are those of one instant: nobody writes them while they are linked.
    """
    folder = workspace.snapshots / check_run_id(snapshot_id)
    # Several stages make snapshots: while this is held, any draft that stands is a dead run's.
    with writing(workspace.locks, "snapshots"):
        if folder.is_dir():
            return read_json(folder / MANIFEST)
        for left in workspace.snapshots.glob(".*.tmp"):
            shutil.rmtree(left)
        draft = folder.with_name(f".{folder.name}.tmp")
        make_folder(draft)
        with writing(workspace.locks, "bars"):
            linked = [_link_table(table, draft) for table in tables if table.exists()]
        hashed = [_with_digests(table, draft) for table in linked]
        _check_unchanged(hashed, _manifests(workspace))
        manifest = _manifest(snapshot_id, hashed, now)
        write_atomic(draft / MANIFEST, dump_json(manifest))
        draft.replace(folder)
        sync_path(folder.parent)
    return manifest


def remove_snapshot(workspace: Workspace, snapshot_id: str) -> dict[str, Any]:
    """Remove a snapshot; return ``{id, removed, bytes}``. Files that the tables still name stay.

    Raises:
        NoData: there is no such snapshot, or another has just removed it.
    """
    with writing(workspace.locks, "snapshots"):
        folder, manifest = _open(workspace, snapshot_id)
        # Renamed first: half a snapshot must not pass for a whole one.
        aside = folder.with_name(f".{folder.name}.tmp")
        folder.replace(aside)
        shutil.rmtree(aside)
    return {"id": snapshot_id, "removed": True, "bytes": manifest["bytes"]}


def _manifest(snapshot_id: str, described: list[dict[str, Any]], now: datetime) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "id": snapshot_id,
        "created_at": iso(now),
        "tables": described,
        "files": sum(len(table["files"]) for table in described),
        "bytes": sum(file["bytes"] for table in described for file in table["files"]),
    }


def find_snapshot(workspace: Workspace, tables: Iterable[Table]) -> dict[str, Any] | None:
    """Return the newest snapshot that holds exactly this state of these tables, or None.

    Versions alone do not tell: after a clean slate they count from 0 again. Names of files are
    never used twice. A snapshot that lacks a file, or has one of another size, is passed over.
    """
    wanted = {
        table.spec.name: (table.version(), {file["path"] for file in _live_files(table.delta())})
        for table in tables
        if table.exists()
    }
    same = (item for item in reversed(_manifests(workspace)) if _described(item) == wanted)
    return next((item for item in same if not any(_missized(workspace, item))), None)


def _described(manifest: dict[str, Any]) -> dict[str, tuple[int, set[str]]]:
    return {
        table["name"]: (table["version"], {file["path"] for file in table["files"]})
        for table in manifest["tables"]
    }


def _missized(workspace: Workspace, manifest: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the sizes of a snapshot's files."""
    folder = workspace.snapshots / manifest["id"]
    for table in manifest["tables"]:
        for file in table["files"]:
            if problem := _wrong_size(folder / table["name"] / file["path"], file):
                yield problem


def list_snapshots(workspace: Workspace) -> list[dict[str, Any]]:
    """Return the snapshots, oldest first, without their file lists."""
    return [
        manifest
        | {
            "tables": [
                {key: table[key] for key in ("name", "version", "rows")}
                for table in manifest["tables"]
            ]
        }
        for manifest in _manifests(workspace)
    ]


def verify_snapshot(workspace: Workspace, snapshot_id: str) -> dict[str, Any]:
    """Read every file of a snapshot again; return ``{id, ok, files, problems}``.

    Raises:
        NoData: there is no such snapshot.
    """
    folder, manifest = _open(workspace, snapshot_id)
    files = [
        (folder / table["name"] / file["path"], file)
        for table in manifest["tables"]
        for file in table["files"]
    ]
    with ThreadPoolExecutor() as pool:
        problems = [problem for problem in pool.map(lambda pair: _problem(*pair), files) if problem]
    return {"id": snapshot_id, "ok": not problems, "files": len(files), "problems": problems}


def scan_snapshot(workspace: Workspace, snapshot_id: str, table: str) -> pl.LazyFrame:
    """Return the rows of one table of a snapshot, lazily, with the table's columns.

    Sizes are compared at once, bytes are not: that is what `verify_snapshot` is for.

    Args:
        workspace: where the snapshot stands.
        snapshot_id: the snapshot.
        table: such as ``bars``; one that had no rows yet is an empty frame.

    Raises:
        NoData: there is no such snapshot.
        UnknownName: there is no such table.
        Corrupted: a file is gone, or has another size than was recorded.
        InvalidInput: the workspace is in a folder in which the files cannot be read.
    """
    from quant_sdk.lakehouse.files import check_place, scan_files
    from quant_sdk.lakehouse.specs import TABLES

    folder, manifest = _open(workspace, snapshot_id)
    if table not in TABLES:
        raise UnknownName(table, TABLES, fix=f"the tables are {', '.join(TABLES)}")
    files = [file for item in manifest["tables"] if item["name"] == table for file in item["files"]]
    home = folder / table
    check_place(home, TABLES[table])
    for file in files:
        if problem := _wrong_size(home / file["path"], file):
            raise _damage(snapshot_id, problem)
    return scan_files([home / file["path"] for file in files], TABLES[table])


def read_snapshot(
    workspace: Workspace,
    snapshot_id: str,
    table: str,
    *,
    where: Mapping[str, str | None],
    limit: int,
) -> pl.DataFrame:
    """Return the first rows of a table of a snapshot; errors are those of `scan_snapshot`.

    Args:
        workspace: where the snapshot stands.
        snapshot_id: the snapshot.
        table: such as ``bars``.
        where: text columns and the value that each must have; None for any.
        limit: how many rows at most, in the order of series and time.
    """
    import polars as pl

    rows = scan_snapshot(workspace, snapshot_id, table)
    columns = rows.collect_schema().names()
    for name, value in where.items():
        if value is not None:
            if name not in columns:
                raise InvalidInput(
                    f"the table {table} has no column {name}", fix=f"leave out --{name}"
                )
            rows = rows.filter(pl.col(name) == pl.lit(value))
    order = [name for name in ("symbol", "timeframe", "ts", "row") if name in columns]
    try:
        return (rows.sort(order) if order else rows).head(limit).collect()
    except (OSError, pl.exceptions.ComputeError) as error:
        raise _damage(snapshot_id, str(error)) from error


def _damage(snapshot_id: str, problem: str) -> Corrupted:
    return Corrupted(
        f"the snapshot {snapshot_id} is damaged: {problem}",
        fix=f"see all of it: quant snapshot verify {snapshot_id}",
    )


def _open(workspace: Workspace, snapshot_id: str) -> tuple[Path, dict[str, Any]]:
    """Return a snapshot's folder and manifest."""
    folder = workspace.snapshots / check_run_id(snapshot_id)
    try:
        return folder, read_json(folder / MANIFEST)
    except FileNotFoundError:
        known = ", ".join(item["id"] for item in _manifests(workspace)[-3:]) or "none yet"
        raise NoData(
            f"there is no snapshot {snapshot_id!r}", fix=f"the newest are: {known}"
        ) from None


def _manifests(workspace: Workspace) -> list[dict[str, Any]]:
    if not workspace.snapshots.is_dir():
        return []
    folders = sorted(path for path in workspace.snapshots.iterdir() if path.name[0] != ".")
    manifests = []
    for folder in folders:
        # A damaged one is told by `verify_snapshot`; it must not stop every later run.
        with suppress(Corrupted, OSError):
            manifests.append(read_json(folder / MANIFEST))
    whole = [item for item in manifests if {"id", "created_at", "tables"} <= item.keys()]
    return sorted(whole, key=lambda manifest: str(manifest["created_at"]))


def _link_table(table: Table, draft: Path) -> dict[str, Any]:
    delta = table.delta()
    home = draft / table.spec.name
    files = _live_files(delta)
    for file in files:
        _link(table.path / file["path"], home / file["path"])
        if problem := _wrong_size(home / file["path"], file):
            raise _lost(f"a file of the table {table.spec.name}, {problem}")
    for folder in {(home / file["path"]).parent for file in files}:
        sync_path(folder)
    return {
        "name": table.spec.name,
        "version": int(delta.version()),
        "rows": sum(file["rows"] for file in files),
        "files": files,
    }


def _with_digests(described: dict[str, Any], draft: Path) -> dict[str, Any]:
    files, home = described["files"], draft / described["name"]
    with ThreadPoolExecutor() as pool:
        digests = list(pool.map(lambda file: _sha256(home / file["path"]), files))
    hashed = [file | {"sha256": digest} for file, digest in zip(files, digests, strict=True)]
    return described | {"files": hashed}


def _check_unchanged(hashed: list[dict[str, Any]], earlier: list[dict[str, Any]]) -> None:
    """Refuse a file that an earlier snapshot knows otherwise: a file is written once.

    Raises:
        Corrupted: its bytes have changed since.
    """
    known = {
        (table["name"], file["path"]): (manifest["id"], file["sha256"])
        for manifest in reversed(earlier)
        for table in manifest["tables"]
        for file in table["files"]
    }
    for table in hashed:
        for file in table["files"]:
            snapshot_id, digest = known.get((table["name"], file["path"]), ("", file["sha256"]))
            if digest != file["sha256"]:
                raise _lost(
                    f"{file['path']}, a file of the table {table['name']}, has changed since the "
                    f"snapshot {snapshot_id}"
                )


def _live_files(delta: DeltaTable) -> list[dict[str, Any]]:
    adds = delta.get_add_actions(flatten=True)
    facts = (adds.column(name).to_pylist() for name in ("path", "size_bytes", "num_records"))
    return [
        {"path": unquote(path), "bytes": size, "rows": rows}
        for path, size, rows in zip(*facts, strict=True)
    ]


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise _lost(f"{source}, a file of a table, is gone") from None
    except OSError:
        shutil.copy2(source, target)  # a file system without hard links


def _lost(problem: str) -> Corrupted:
    from quant_sdk.lakehouse.damage import PUT_BACK

    return Corrupted(problem, fix=PUT_BACK)


def _problem(path: Path, file: dict[str, Any]) -> str | None:
    if problem := _wrong_size(path, file):
        return problem
    try:
        digest = _sha256(path)
    except OSError as error:
        return f"{file['path']}: {error.strerror or error}"
    return None if digest == file["sha256"] else f"{file['path']}: its bytes have changed"


def _wrong_size(path: Path, file: dict[str, Any]) -> str | None:
    try:
        size = path.stat().st_size
    except OSError as error:
        return f"{file['path']}: {error.strerror or error}"
    return None if size == file["bytes"] else f"{file['path']}: {size} bytes, not {file['bytes']}"


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
