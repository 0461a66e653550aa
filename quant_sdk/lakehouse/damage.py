"""What is said of a table that cannot be read: which file it is, and what helps."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError
from polars.exceptions import ComputeError

from quant_registry.errors import Corrupted, NoData, disk_full, is_disk_full

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PUT_BACK: Final = (
    "put it back, under the same name, from a snapshot that is whole (quant snapshot verify); "
    "or wipe the tables and migrate again: quant lakehouse wipe"
)
"""What helps where a data file is gone or damaged."""
NO_LOG: Final = (
    "put the table's _delta_log back from a backup; or wipe the tables and migrate again: quant "
    "lakehouse wipe. The rows of a snapshot need no log: quant snapshot read ID"
)
"""What helps where a log is damaged."""


@contextmanager
def reading_log(folder: Path) -> Iterator[None]:
    """Turn the errors of whatever reads the log of the table in `folder` into ours.

    Raises:
        NoData: there is no table.
        Corrupted: the log cannot be read.
    """
    try:
        yield
    except TableNotFoundError as error:
        raise NoData(
            f"the table {folder.name} does not exist, or was wiped just now",
            fix="see which do: quant lakehouse tables",
        ) from error
    except DeltaError as error:
        said = str(error).partition("\n")[0]  # what follows is a trace of Rust's calls
        raise Corrupted(
            f"the log of the table {folder.name} cannot be read: {said}", fix=NO_LOG
        ) from error


@contextmanager
def reading_entry(folder: Path, entry: Path) -> Iterator[None]:
    """Turn the error of whatever parses an entry of a table's log into ours.

    Raises:
        Corrupted: the entry is torn.
    """
    try:
        yield
    except ValueError as error:
        raise Corrupted(
            f"{entry.name}, a commit of the table {folder.name}, is torn", fix=NO_LOG
        ) from error


@contextmanager
def reading_files(folder: Path) -> Iterator[None]:
    """Turn the errors of whatever reads data files of the table in `folder` into ours.

    Raises:
        Corrupted: a file is gone or damaged.
        DiskFull: there was no space for what does not fit into memory.
    """
    try:
        yield
    except (OSError, ComputeError) as error:
        if is_disk_full(error):
            raise disk_full(folder) from error
        found = _damaged(folder)
        # Of a machine that refuses to open or to read, a wipe is no cure.
        if found is None and "(os error" in str(error) and not isinstance(error, FileNotFoundError):
            raise
        raise Corrupted(
            f"a file of the table {folder.name} cannot be read: {found or error}", fix=PUT_BACK
        ) from error


def _damaged(folder: Path) -> str | None:
    """Name the first live file that is gone or has another size than the log tells."""
    try:
        adds = DeltaTable(str(folder)).get_add_actions(flatten=True)
    except DeltaError:
        return None
    sizes = (adds.column(name).to_pylist() for name in ("path", "size_bytes"))
    for name, told in zip(*sizes, strict=True):
        path = folder / unquote(name)
        size = path.stat().st_size if path.is_file() else None
        if size != told:
            return f"{path} {'is gone' if size is None else f'has {size} bytes, not {told}'}"
    return None
