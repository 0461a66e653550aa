"""Checking files that do not fit into memory: a piece at a time, each piece some whole series.

A series is never cut: its gaps, its duplicates and its returns cross every border. The largest
series is what has to fit into memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import polars as pl

from quant_registry.errors import InvalidInput, NoData, SourceUnreadable
from quant_sdk.conformance.alike import made_alike
from quant_sdk.conformance.merging import merge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from quant_sdk.conformance.pipeline import ConformancePipeline, ConformanceResult
    from quant_sdk.conformance.report import ConformanceReport

PIECE_ROWS: Final = 2_000_000
SUFFIXES: Final = (".parquet", ".feather", ".arrow", ".ipc", ".csv")

_NAMES: Final = ("symbol", "timeframe")
_NULL: Final = "__HIVE_DEFAULT_PARTITION__"
_READ: Final[Mapping[str, Callable[[Path], pl.LazyFrame]]] = {
    ".parquet": lambda path: pl.scan_parquet(path, hive_partitioning=False),
    ".csv": lambda path: pl.scan_csv(path, infer_schema_length=None, try_parse_dates=True),
    **{
        suffix: lambda path: pl.scan_ipc(path, hive_partitioning=False)
        for suffix in (".feather", ".arrow", ".ipc")
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Some whole series of some files.

    Attributes:
        series: symbol and timeframe of each, as in the files; empty where the files do not say.
        rows: how many there are.
        scan: the rows, in the order of the files.
    """

    series: tuple[tuple[str | None, ...], ...]
    rows: int
    scan: pl.LazyFrame


def files_in(folder: Path) -> list[Path]:
    """Return the data files under a folder, sorted by path.

    Raises:
        InvalidInput: it is a Delta table, whose files alone do not say what it holds.
        NoData: there is none.
    """
    if (folder / "_delta_log").is_dir():
        raise InvalidInput(
            f"{folder.name} is a Delta table",
            fix="check it as one: quant conformance run --table, or hand its scan to the pipeline",
        )
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith(".")
    )
    if not found:
        raise NoData(f"{folder} holds no data files", fix=f"files end in {', '.join(SUFFIXES)}")
    return found


def pieces(
    paths: Iterable[Path], *, root: Path | None = None, most_rows: int = PIECE_ROWS
) -> Iterator[Piece]:
    """Yield pieces of files; what is larger than `most_rows` is one series alone.

    Files whose types differ are brought to one type where that loses nothing; series of files that
    still differ are not in one piece.

    Args:
        paths: Parquet, Feather (Arrow IPC) or CSV.
        root: folders below it named ``column=value`` give a column of text; the value is read as
            in an address (``%3A`` is a colon), as Hive's folders are written.
        most_rows: of a piece.

    Raises:
        SourceUnreadable: a file is none of these.
        InvalidInput: files of one series have different columns, or types of which none holds all
            values.
    """
    scans = made_alike({path: _scan(path, root) for path in paths})
    held: dict[tuple[str | None, ...], dict[Path, int]] = {}
    for path, scan in scans.items():
        for name, rows in _series(path, scan):
            held.setdefault(name, {})[path] = rows
    columns = {path: dict(scan.collect_schema()) for path, scan in scans.items()}
    kinds = {name: columns[next(iter(files))] for name, files in held.items()}
    batch: list[tuple[str | None, ...]] = []
    for name in sorted(held, key=lambda each: tuple(part or "" for part in each)):
        full = _rows([*batch, name], held) > most_rows
        if batch and (full or kinds[name] != kinds[batch[0]]):
            yield _piece(batch, held, scans)
            batch = []
        batch.append(name)
    if batch:
        yield _piece(batch, held, scans)


def run_files(  # noqa: PLR0913  each by its name
    pipeline: ConformancePipeline,
    paths: Iterable[Path],
    *,
    node: str,
    root: Path | None = None,
    most_rows: int = PIECE_ROWS,
    take: Callable[[Piece, ConformanceResult], object] | None = None,
    **window: Any,
) -> ConformanceReport:
    """Check files, a piece at a time, and return one report about all of them.

    Args:
        pipeline: what they go through.
        paths: as in `pieces`.
        node: as in `ConformancePipeline.run`.
        root: as in `pieces`.
        most_rows: as in `pieces`.
        take: is given each piece's result, as soon as it is there, unless it was stopped.
        window: ``world``, ``start``, ``end``, ``as_of``, ``verified_empty`` as in `run`.

    Raises:
        ConformanceError: once all files were looked at, as `ConformancePipeline.run` does.
        NoData: no file was given.
    """
    report, stopped = None, False
    for piece in pieces(paths, root=root, most_rows=most_rows):
        result = pipeline.look(piece.scan, node=node, **window)
        stopped |= result.stopped
        if take is not None and not result.stopped:
            take(piece, result)
        report = result.report if report is None else merge(report, result.report)
    if report is None:
        raise NoData("no file was given", fix="give one at least")
    if stopped:
        raise pipeline.error(report)
    return report


def run_folder(
    pipeline: ConformancePipeline, folder: Path, *, node: str, **options: Any
) -> ConformanceReport:
    """Check the data files under a folder; see `run_files` and `files_in`.

    Folders named ``column=value`` on the way to a file give it that column.
    """
    return run_files(pipeline, files_in(folder), node=node, root=folder, **options)


def _scan(path: Path, root: Path | None) -> pl.LazyFrame:
    read = _READ.get(path.suffix.lower())
    if read is None:
        raise SourceUnreadable(
            f"{path.name} is no data file", fix=f"files end in {', '.join(SUFFIXES)}"
        )
    try:
        scan = read(path)
        scan.collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        said = " ".join(str(error).split())[:200]
        raise SourceUnreadable(f"{path.name} cannot be read: {said}", fix="look at it") from error
    told = () if root is None else path.relative_to(root).parent.parts
    parts = dict(part.split("=", 1) for part in told if "=" in part)
    return scan.with_columns(
        pl.lit(None if value == _NULL else unquote(value), dtype=pl.String).alias(unquote(name))
        for name, value in parts.items()
    )


def _series(path: Path, scan: pl.LazyFrame) -> list[tuple[tuple[str | None, ...], int]]:
    """Return the series of a file and their rows; the file itself where it does not name them."""
    if "symbol" not in scan.collect_schema():
        # Its findings are about the file, or its caller knows its one series.
        return [((str(path),), scan.select(pl.len()).collect().item())]
    names = _named(scan)
    counted = scan.select(names).group_by(pl.all()).len().collect(engine="streaming")
    return [(tuple(row[:-1]), row[-1]) for row in counted.iter_rows()]


def _named(scan: pl.LazyFrame) -> list[pl.Expr]:
    """Return the columns that name a series, as text."""
    schema = scan.collect_schema()
    names = [name for name in _NAMES if name in schema]
    return [pl.col(name).cast(pl.String) for name in names] if "symbol" in names else []


def _rows(names: Sequence[tuple[str | None, ...]], held: Mapping[Any, Mapping[Path, int]]) -> int:
    return sum(sum(held[name].values()) for name in names)


def _piece(
    names: list[tuple[str | None, ...]],
    held: Mapping[tuple[str | None, ...], Mapping[Path, int]],
    scans: Mapping[Path, pl.LazyFrame],
) -> Piece:
    files = [path for path in scans if any(path in held[name] for name in names)]
    schemas = {path: dict(scans[path].collect_schema()) for path in files}
    other = [path for path in files if schemas[path] != schemas[files[0]]]
    if other:
        raise InvalidInput(
            f"{files[0].name} and {other[0].name} have different columns or types",
            fix="check them one by one",
        )
    order = list(schemas[files[0]])
    parts = [_part(path, scans[path], names, held).select(order) for path in files]
    return Piece(series=tuple(names), rows=_rows(names, held), scan=pl.concat(parts))


def _part(
    path: Path,
    scan: pl.LazyFrame,
    names: Iterable[tuple[str | None, ...]],
    held: Mapping[tuple[str | None, ...], Mapping[Path, int]],
) -> pl.LazyFrame:
    """Return the rows of some series in one file."""
    own = [name for name in names if path in held[name]]
    named = _named(scan)
    if not named:
        return scan
    wanted = pl.DataFrame(own, schema=dict.fromkeys(_NAMES[: len(named)], pl.String), orient="row")
    # By symbol first: that is what a file has statistics of.
    mask = named[0].is_in(wanted["symbol"].unique().implode(), nulls_equal=True)
    if len(named) > 1:
        series = wanted.to_struct("series").implode()
        mask &= pl.struct(named).is_in(series, nulls_equal=True)
    return scan.filter(mask)
