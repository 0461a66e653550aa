"""What is checked: rows that can be had piece by piece, and the name of their reports."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from quant_sdk.conformance.folder import SUFFIXES, Piece, files_in, pieces
from quant_sdk.errors import InvalidInput, NoData
from quant_sdk.lakehouse.instants import optional_instant
from quant_sdk.lakehouse.lakehouse import Lakehouse
from quant_sdk.lakehouse.snapshot import scan_snapshot
from quant_sdk.observability.uri import MAX_NODE, check_node

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from quant_sdk import Workspace
    from quant_stages.conformance.params import ConformanceParams

DEFAULT_TABLE: Final = "bars"
_EMPTY: Final = "verified_empty"
_SERIES: Final = ("symbol", "timeframe")
_STRANGE: Final = re.compile(r"[^A-Za-z0-9_]+")
_DIGITS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is checked.

    Attributes:
        node: the name of its reports.
        kind: whose rules are asked, such as ``bars``.
        told: for people, such as ``the table bars``.
        scan: the rows of a table; None for files.
        files: the files; empty for a table.
        root: the folder that the files stand in.
        verified_empty: intervals in which a source said that there is nothing, expired ones
            included; None: unknown.
    """

    node: str
    kind: str
    told: str
    scan: pl.LazyFrame | None = None
    files: tuple[Path, ...] = ()
    root: Path | None = None
    verified_empty: pl.LazyFrame | None = None

    def empty(self, now: datetime) -> pl.DataFrame | None:
        """Return the verified-empty intervals that are believed: those that have not expired."""
        if self.verified_empty is None:
            return None
        return self.verified_empty.filter(pl.col("expires_at") > pl.lit(now)).collect()

    def pieces(self, params: ConformanceParams) -> list[Piece]:
        """Return the rows that are asked for, some whole series a piece; none where all is empty.

        Raises:
            InvalidInput: a window or a filter needs a column that is not there.
            NoData: a symbol or timeframe that was named has no row.
            SourceUnreadable: a file cannot be read.
        """
        found = list(self._pieces(params))
        for at, (name, wanted) in enumerate(_asked(params).items()):
            named = [piece for piece in found if name in _named(piece, self.kind)]
            held = {series[at] for piece in named for series in piece.series}
            absent = sorted(set(wanted) - held)
            if absent and (named or not found):
                raise NoData(
                    f"{self.told} has no rows of {', '.join(absent)}",
                    fix="name what is there, or widen the window",
                )
        return found

    def _pieces(self, params: ConformanceParams) -> Iterator[Piece]:
        if self.scan is not None:
            yield from _of_table(_windowed(self.scan, params), params, self.kind)
            return
        # Files that do not name their symbol may together hold the one series that is asked for.
        most = sys.maxsize if len(params.symbols) == 1 else params.piece_rows
        for piece in pieces(self.files, root=self.root, most_rows=most):
            wanted = [name for name in piece.series if _is_wanted(name, piece.scan, params)]
            if wanted:
                scan = _chosen(_windowed(piece.scan, params), params)
                yield Piece(series=tuple(wanted), rows=piece.rows, scan=scan)


def subject_of(workspace: Workspace, params: ConformanceParams) -> Subject:
    """Return what the parameters name.

    Raises:
        UnknownName: there is no such table.
        NoData: the table or snapshot does not exist, or the folder holds no data file.
        InvalidInput: there is no such path, or a Delta table was named by its folder.
        InvalidIdentifier: the node cannot name one.
    """
    if params.path is not None:
        return _files(workspace, params, params.path)
    name = params.table or DEFAULT_TABLE
    lakehouse = Lakehouse(workspace)
    table, empty = lakehouse.table(name), lakehouse.table(_EMPTY)
    if params.snapshot is not None:
        return Subject(
            node=_node(f"snapshot:{name}", params),
            kind=_kind(params, name),
            told=f"the table {name} of the snapshot {params.snapshot}",
            scan=scan_snapshot(workspace, params.snapshot, name),
            verified_empty=scan_snapshot(workspace, params.snapshot, _EMPTY),
        )
    if not table.exists():
        raise NoData(f"the table {name} is empty", fix="fill it: make migrate, or make flow-data")
    return Subject(
        node=_node(f"table:{name}", params),
        kind=_kind(params, name),
        told=f"the table {name}",
        scan=table.scan(),  # one version for all pieces
        verified_empty=empty.scan(),
    )


def _files(workspace: Workspace, params: ConformanceParams, given: str) -> Subject:
    path = (workspace.root / Path(given).expanduser()).resolve()
    if not path.exists():
        raise InvalidInput(f"there is no {given}", fix="name a file or folder that stands")
    if path.is_file() and path.suffix.lower() not in SUFFIXES:
        raise InvalidInput(
            f"{path.name} is no data file", fix=f"files end in {', '.join(SUFFIXES)}"
        )
    shown = workspace.display(path)
    name = _STRANGE.sub("-", path.stem)[: MAX_NODE // 2].strip("-") or "files"
    return Subject(
        node=_node(f"path:{name}-{_digest(shown)}", params),
        kind=_kind(params, DEFAULT_TABLE),
        told=shown,
        files=tuple(files_in(path)) if path.is_dir() else (path,),
        root=path if path.is_dir() else path.parent,
    )


def _kind(params: ConformanceParams, name: str) -> str:
    return name if params.data_schema is None else params.data_schema.partition("/")[0]


def _node(base: str, params: ConformanceParams) -> str:
    """Return the given name, or `base` and a digest of what narrows the subject down."""
    if params.node is not None:
        return check_node(params.node)
    narrowed = {
        "data_schema": params.data_schema,
        "symbols": sorted(params.symbols),
        "timeframes": sorted(params.timeframes),
        "since": params.since,
        "until": params.until,
    }
    return f"{base}:{_digest(json.dumps(narrowed))}" if any(narrowed.values()) else base


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:_DIGITS]


def _of_table(scan: pl.LazyFrame, params: ConformanceParams, kind: str) -> Iterator[Piece]:
    """Yield neighbouring symbols of one timeframe; the order of files has no meaning, so sorted."""
    scan = _chosen(scan, params)
    columns = scan.collect_schema().names()
    keys = [name for name in _keys(kind) if name in columns]
    order = [name for name in (*_SERIES, "ts") if name in columns]
    if "symbol" not in keys:
        yield Piece(series=(), rows=scan.select(pl.len()).collect().item(), scan=scan)
        return
    counted = scan.group_by(keys).len().sort(keys[::-1]).collect(engine="streaming")
    for part in counted.partition_by(keys[1:], maintain_order=True) if keys[1:] else [counted]:
        of_timeframe = [pl.col(name) == pl.lit(part[name][0]) for name in keys[1:]]
        batch = (pl.col("len").cum_sum() - pl.col("len")) // params.piece_rows
        for group in part.with_columns(batch=batch).partition_by("batch", maintain_order=True):
            symbols = group["symbol"]
            between = pl.col("symbol").is_between(pl.lit(symbols[0]), pl.lit(symbols[-1]))
            yield Piece(
                series=tuple(group.select(keys).iter_rows()),
                rows=int(group["len"].sum()),
                scan=scan.filter(*of_timeframe, between).sort(order),
            )


def _chosen(scan: pl.LazyFrame, params: ConformanceParams) -> pl.LazyFrame:
    """Keep the symbols and timeframes that are asked for, where the rows name them."""
    columns = scan.collect_schema().names()
    for name, wanted in _asked(params).items():
        if wanted and name in columns:
            scan = scan.filter(pl.col(name).cast(pl.String).is_in(list(wanted)))
        elif len(wanted) > 1:
            raise InvalidInput(f"the rows have no column {name}", fix=f"name one {name} at most")
    return scan


def _is_wanted(
    series: tuple[str | None, ...], scan: pl.LazyFrame, params: ConformanceParams
) -> bool:
    """Tell of a series of files whether it is asked for; one that has no name always is."""
    columns = scan.collect_schema().names()
    named = dict(zip((name for name in _SERIES if name in columns), series, strict=False))
    if "symbol" not in named:
        return True
    asked = _asked(params)
    return all(not asked[name] or value in asked[name] for name, value in named.items())


def _asked(params: ConformanceParams) -> dict[str, tuple[str, ...]]:
    return {"symbol": params.symbols, "timeframe": params.timeframes}


def _keys(kind: str) -> tuple[str, ...]:
    """Return the columns that name a series: only bars have a grid."""
    return _SERIES if kind == "bars" else _SERIES[:1]


def _named(piece: Piece, kind: str) -> list[str]:
    """Return the columns that the piece's series are named by."""
    columns = piece.scan.collect_schema().names()
    return [name for name in _keys(kind) if "symbol" in columns and name in columns]


def _windowed(scan: pl.LazyFrame, params: ConformanceParams) -> pl.LazyFrame:
    """Keep the rows in ``[since, until)``, and those that have no time to tell."""
    since, until = optional_instant(params.since, "since"), optional_instant(params.until, "until")
    if since is None and until is None:
        return scan
    dtype = scan.collect_schema().get("ts")
    if not isinstance(dtype, pl.Datetime) or dtype.time_zone is None:
        raise InvalidInput(
            f"a window needs a column ts of instants with a zone, here it is {dtype or 'missing'}",
            fix="leave out since and until",
        )
    ts, inside = pl.col("ts"), pl.lit(value=True)
    if since is not None:
        inside &= ts >= pl.lit(since)
    if until is not None:
        inside &= ts < pl.lit(until)
    return scan.filter(inside | ts.is_null())


def window_of(params: ConformanceParams, now: Any) -> dict[str, Any]:
    """Return the times of a check, as the pipeline takes them.

    Raises:
        InvalidInput: a time is none.
    """
    as_of = now if params.as_of == "now" else optional_instant(params.as_of, "as_of")
    return {
        "start": optional_instant(params.since, "since"),
        "end": optional_instant(params.until, "until"),
        "as_of": as_of,
    }
