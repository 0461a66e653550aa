"""Step 2: find the sources that the profiles name, and export the candidates."""

from __future__ import annotations

import os
import posixpath
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quant_sdk.errors import QuantError, SourceUnreadable
from quant_sdk.lakehouse.symbols import split_symbol
from quant_sdk.sources.legacy import SourceFile, Unrecognised, source_for
from quant_sdk.sources.legacy.folder import printable
from quant_stages.migration.state import Discovered, Failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from quant_sdk import Run
    from quant_sdk.sources.legacy import LegacyEntry
    from quant_stages.manifest.profiles import ProfileAudit
    from quant_stages.migration.state import Migration

NAME = "discover"
PHASE = "ingestion"

_DATA_SUFFIXES = (".parquet", ".feather", ".csv", ".csv.gz", ".json", ".json.gz")


def apply(run: Run, state: Migration) -> Migration:
    """Name every series and file; write ``candidates.json``."""
    found = find_sources(state.profiles, state.manifest_path.parent, run.workspace.root)
    candidates = list(_candidates(found.files))
    exported = run.export(
        "candidates",
        {
            "schema": "candidates/1",
            "meta": {
                "run_id": run.run_id,
                "manifest": str(state.manifest_path),
                "profiles": [profile.name for profile in state.profiles if profile.entries],
                "count": len(candidates),
            },
            "data": candidates,
        },
    )
    run.report(candidate_count=len(candidates))
    run.emit(
        "candidates_discovered",
        status="success",
        candidates=len(candidates),
        files=len(found.files),
        failed=len(found.failures),
        ignored=list(found.ignored[:20]),
    )
    return replace(
        state,
        discovered=found,
        failures=(*state.failures, *found.failures),
        reports=state.reports | {"candidates": exported},
    )


def find_sources(profiles: Iterable[ProfileAudit], folder: Path, root: Path) -> Discovered:
    """Return the sources of `profiles` in order of precedence.

    Args:
        profiles: what names them.
        folder: the manifest's; its paths are relative to it.
        root: the workspace's.
    """
    home = _home(folder, root)
    files: dict[str, SourceFile] = {}
    failures: dict[str, Failure] = {}
    ignored: list[str] = []
    for item in _items(profiles, folder):
        if isinstance(item, SourceFile):
            item = replace(item, id=posixpath.normpath(posixpath.join(home, item.id)))  # noqa: PLW2901
            first = files.setdefault(item.id, item)
            if first.spec_digest != item.spec_digest or not _same_file(first.path, item.path):
                failures.setdefault(f"{item.id} (again)", _declared_twice(item, first))
        elif isinstance(item, Failure):
            failures.setdefault(item.source, item)
        elif item.path.lower().endswith(_DATA_SUFFIXES):
            error = SourceUnreadable(item.reason, fix=item.fix)
            failures.setdefault(item.path, Failure(source=item.path, symbol=None, error=error))
        else:
            ignored.append(item.path)
    return Discovered(
        files=tuple(files.values()), failures=tuple(failures.values()), ignored=tuple(ignored)
    )


def _same_file(one: Path, other: Path) -> bool:
    return one == other or os.path.realpath(one) == os.path.realpath(other)


def _home(folder: Path, root: Path) -> str:
    """Return what is put before the ids of a manifest's sources.

    One ledger serves all manifests of a workspace, so two of them must not use one id for two
    files: ids are seen from the workspace's data folder, where the default manifest stands.
    """
    if not folder.resolve().is_relative_to(root.resolve()):
        return printable(folder.resolve())
    return printable(Path(os.path.relpath(folder.resolve(), root.resolve() / "data")))


def _items(
    profiles: Iterable[ProfileAudit], folder: Path
) -> Iterator[SourceFile | Unrecognised | Failure]:
    for profile in profiles:
        for entry in profile.entries:
            try:
                found = list(source_for(entry.layout).discover(entry, folder))
            except QuantError as error:
                yield _failed_entry(entry, error)
                continue
            yield from found
            if not any(isinstance(item, SourceFile) for item in found):
                yield _failed_entry(
                    entry,
                    SourceUnreadable(
                        f"{entry.path} holds no file of the layout {entry.layout}",
                        fix="correct path or layout of the entry, or take it out",
                    ),
                )


def _failed_entry(entry: LegacyEntry, error: QuantError) -> Failure:
    return Failure(source=entry.path, symbol=None, error=error)


def _declared_twice(file: SourceFile, first: SourceFile) -> Failure:
    """A file has one meaning: read in two ways, its bars would stand at two places."""
    error = SourceUnreadable(
        f"{file.id} is declared twice, as {first.symbol} {first.timeframe} and as {file.symbol} "
        f"{file.timeframe}, or with another unit or zone; the earlier entry is in force",
        fix="name it in one entry only",
    )
    return Failure(source=file.id, symbol=file.symbol, error=error)


def _candidates(files: Iterable[SourceFile]) -> Iterator[dict[str, Any]]:
    """Yield one candidate a symbol, with its timeframes and sources."""
    grouped: dict[str, list[SourceFile]] = {}
    for file in files:
        grouped.setdefault(file.symbol, []).append(file)
    for symbol, group in sorted(grouped.items()):
        yield {
            "symbol": symbol,
            "exchange": split_symbol(symbol)[0],
            "asset_type": next((file.asset_type for file in group if file.asset_type), "unknown"),
            "timeframes": sorted({file.timeframe for file in group}),
            "sources": [file.id for file in group],
        }
