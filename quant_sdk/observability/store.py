"""Where reports are kept: ``data/artifacts/observability/seamless/<node>/``.

``archive/<time>-<digest>.json`` is written once and never changed; ``latest.json`` is a copy of the
newest, for whoever reads files. Both appear whole or not at all. A report that says exactly what
the node's last one says is not kept twice.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import orjson

from quant_registry.clock import iso
from quant_registry.errors import (
    Conflict,
    Corrupted,
    InvalidIdentifier,
    NoData,
    OutsideWorkspace,
    UnknownName,
)
from quant_registry.files import make_folder, read_json, to_json, write_atomic
from quant_sdk.observability.regression import compare
from quant_sdk.observability.saved import Entry, SavedReport
from quant_sdk.observability.uri import ReportUri, check_node

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from quant_registry.workspace import Workspace
    from quant_sdk.conformance.report import ConformanceReport

LATEST: Final = "latest.json"
ARCHIVE: Final = "archive"
HISTORY: Final = 60
"""So many of a node's last reports are read for a picture of them over time."""

_LOCK: Final = ".lock"
_LOCK_SECONDS: Final = 60.0


class ReportStore:
    """The reports of one workspace; everything but `save` only reads.

    Args:
        workspace: where they stand.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._home = workspace.artifacts / "observability" / "seamless"

    def folder(self, node: str) -> Path:
        """Return the folder of a node's reports.

        Raises:
            InvalidIdentifier: the node cannot name one.
            OutsideWorkspace: it leads elsewhere, by a symbolic link.
        """
        return self._workspace.inside(self._home / check_node(node))

    def nodes(self) -> tuple[str, ...]:
        """Return the nodes that have reports, sorted."""
        return tuple(sorted(path.name for path in self._inside() if self._is_node(path)))

    def strange(self) -> tuple[str, ...]:
        """Return what stands among the nodes and is none, seen from the workspace, sorted."""
        odd = (path for path in self._inside() if not self._is_node(path))
        return tuple(sorted(map(self._workspace.display, odd)))

    def _inside(self) -> Iterator[Path]:
        return self._home.iterdir() if self._home.is_dir() else iter(())

    def _is_node(self, path: Path) -> bool:
        try:
            return self.folder(path.name).is_dir()
        except (InvalidIdentifier, OutsideWorkspace):
            return False

    def entries(self, node: str) -> tuple[Entry, ...]:
        """Return a node's reports, newest first; reads no file."""
        archive = self.folder(node) / ARCHIVE
        if not archive.is_dir():
            return ()
        found = (Entry.parse(node, path.name) for path in archive.iterdir())
        return tuple(
            sorted(
                (entry for entry in found if entry is not None),
                key=lambda entry: entry.name,
                reverse=True,
            )
        )

    def latest(self, node: str) -> SavedReport:
        """Return a node's last report.

        Raises:
            NoData: it has none.
            Corrupted: it cannot be read.
        """
        return self.read(ReportUri(node=node))

    def read(self, uri: str | ReportUri) -> SavedReport:
        """Return the report that a URI names; a digest may be shortened.

        Raises:
            InvalidIdentifier: it is no URI of a report.
            NoData: the node has no report.
            UnknownName: it has none of that digest, or several whose digests begin so.
            Corrupted: the file is not what was kept.
        """
        wanted = ReportUri.parse(uri) if isinstance(uri, str) else uri
        entries = self.entries(wanted.node)
        if not entries:
            raise self._no_reports(wanted.node)
        return self._read(_named(entries, wanted))

    def history(self, node: str, limit: int = HISTORY) -> tuple[SavedReport, ...]:
        """Return a node's last reports, oldest first; those that cannot be read are left out."""
        return tuple(self._readable(self.entries(node)[:limit]))[::-1]

    def save(
        self,
        report: ConformanceReport,
        *,
        now: datetime,
        run_id: str = "",
        gate_worse: bool = False,
    ) -> SavedReport:
        """Keep a report as its node's last, with its comparison to the one before.

        Args:
            report: its ``node`` says where it is kept.
            now: when it is kept, aware; one that is not after the last report's is put after it.
            run_id: the run that made it.
            gate_worse: compare with the last report that no gate refused, and mark this one as
                refused where it is worse; so a refused state stays refused when it is tried again,
                until it is better, or is kept once without the gate.

        Raises:
            InvalidIdentifier: the node cannot name a folder.
            Conflict: another writer kept the node's lock, or the file system takes two nodes,
                such as ``A`` and ``a``, for one.
        """
        folder = self.folder(report.node)
        with self._alone(folder):
            self._refuse_other_node(folder, report.node)
            entries = self.entries(report.node)
            last = next(self._readable(entries[:1]), None)
            before = self._baseline(entries) if gate_worse else next(self._readable(entries), None)
            regression = compare(None if before is None else before.report, report)
            saved = SavedReport(
                uri=str(ReportUri(node=report.node, digest=report.digest)),
                saved_at="",
                run_id=run_id,
                path="",
                refused=gate_worse and regression.is_worse,
                regression=regression,
                report=report,
            )
            if last is not None and _says_the_same(last, saved):
                self._copy(last, folder)
                return replace(last, regression=regression, is_new=False)
            return self._keep(saved, folder, _after(now, entries))

    def _keep(self, saved: SavedReport, folder: Path, at: datetime) -> SavedReport:
        entry = Entry(node=saved.report.node, saved_at=at, digest=saved.report.digest)
        path = folder / ARCHIVE / entry.name
        saved = replace(saved, saved_at=iso(at), path=self._workspace.display(path))
        write_atomic(path, to_json(saved.to_dict(), orjson.OPT_APPEND_NEWLINE))
        self._copy(saved, folder)
        return saved

    def _copy(self, saved: SavedReport, folder: Path) -> None:
        """Make ``latest.json`` the copy of this one, also where a killed run could not."""
        content = (self._workspace.root / saved.path).read_bytes()
        latest = folder / LATEST
        if not latest.exists() or latest.read_bytes() != content:
            write_atomic(latest, content)

    def _baseline(self, entries: tuple[Entry, ...]) -> SavedReport | None:
        return next((item for item in self._readable(entries) if not item.refused), None)

    def _readable(self, entries: tuple[Entry, ...]) -> Iterator[SavedReport]:
        for entry in entries:
            try:
                yield self._read(entry)
            except Corrupted:
                continue  # `read` tells of it; it must not stop every later run

    def _read(self, entry: Entry) -> SavedReport:
        path = self.folder(entry.node) / ARCHIVE / entry.name
        saved = SavedReport.from_dict(read_json(path), self._workspace.display(path))
        if saved.uri != entry.uri or saved.report.digest != entry.digest:
            raise Corrupted(
                f"the report {saved.path} is another one than its name says",
                fix=f"move {saved.path} away, and run the check again",
                path=saved.path,
            )
        return saved

    @contextmanager
    def _alone(self, folder: Path) -> Iterator[None]:
        from filelock import FileLock, Timeout

        make_folder(folder)
        try:
            lock = FileLock(folder / _LOCK, timeout=_LOCK_SECONDS, fallback_to_soft=False).acquire()
        except Timeout:
            raise Conflict(
                f"another run has been keeping reports of {folder.name} for {_LOCK_SECONDS:g} s",
                fix="see what is live: quant status; then run the stage again",
            ) from None
        with lock:
            yield

    def _refuse_other_node(self, folder: Path, node: str) -> None:
        """A file system that does not tell ``A`` from ``a`` would mix two nodes' reports."""
        names = {path.name for path in folder.parent.iterdir()}
        if node not in names:
            other = next((name for name in names if name.lower() == node.lower()), "another")
            raise Conflict(
                f"this file system takes the node {node!r} for {other!r}",
                fix="give the node another name",
            )

    def _no_reports(self, node: str) -> NoData:
        near = UnknownName(node, self.nodes()).near
        hint = f"did you mean {', '.join(near)}?" if near else "make one: quant conformance run"
        return NoData(f"the node {node} has no reports", fix=hint, near=near)


def open_report(workspace: Workspace, uri: str) -> SavedReport:
    """Return the report that a URI names: ``qmtl://observability/seamless/<node>[/<digest>]``.

    Raises:
        As `ReportStore.read`.
    """
    return ReportStore(workspace).read(uri)


def _says_the_same(last: SavedReport, saved: SavedReport) -> bool:
    return (last.report.digest, last.refused) == (saved.report.digest, saved.refused)


def _after(now: datetime, entries: tuple[Entry, ...]) -> datetime:
    """Return `now`, or the instant after the newest entry: a stepped clock keeps the order."""
    moment = now.astimezone(UTC)
    if entries and entries[0].saved_at >= moment:
        return entries[0].saved_at + timedelta(microseconds=1)
    return moment


def _named(entries: tuple[Entry, ...], wanted: ReportUri) -> Entry:
    found = [entry for entry in entries if entry.digest.startswith(wanted.digest)]
    if len({entry.digest for entry in found}) == 1 or (found and not wanted.digest):
        return found[0]
    known = [entry.digest for entry in entries[:3]]
    problem = "several begin so; give more digits" if found else f"the last are {', '.join(known)}"
    raise UnknownName(wanted.digest, fix=problem)
