"""Files of one JSON object a line that many processes append to."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import orjson

from quant_registry.errors import disk_full
from quant_registry.files import make_folder, sync_path, to_json, write_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


def append_line(path: Path, document: Mapping[str, Any], *, durable: bool = False) -> None:
    """Append one object as one line, in one write; with `durable`, return when the disk has it.

    A line that a crash left torn is ended first, so that it does not swallow this one.

    Raises:
        DiskFull: no space is left; no later line suffers from what was written of this one.
    """
    line = to_json(document, orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z)
    fresh = not path.exists()
    make_folder(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        # Of two that see the same torn tail both end it: readers pass over empty lines.
        write_all(descriptor, b"\n" + line if _ends_torn(descriptor) else line)
        if durable:
            os.fsync(descriptor)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise disk_full(path) from error
        raise
    finally:
        os.close(descriptor)
    if fresh and durable:
        sync_path(path.parent)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file, in order; lines that are none, such as torn ones, are left out.

    A file that does not exist has none.
    """
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        return
    with stream:
        for line in stream:
            try:
                document = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            if isinstance(document, dict):
                yield document


def _ends_torn(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    return size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
