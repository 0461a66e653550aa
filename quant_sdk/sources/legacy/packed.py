"""Bytes of a file, plain or gzip, with a bound on what they unpack to."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from quant_sdk.sources.legacy.table import refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quant_sdk.sources.legacy.protocol import SourceFile

MAX_BYTES: Final = 4 * 2**30
"""The most bytes one file may unpack to."""
MAX_RATIO: Final = 100
"""How often its own size a file may unpack to, beyond `FREE_BYTES`; text of bars comes to 20."""
FREE_BYTES: Final = 64 * 2**20
HEAD_BYTES: Final = 64 * 2**10

_CHUNK: Final = 2**20
_GZIP: Final = 31
_SUFFIX: Final = ".gz"


def read_all(file: SourceFile, limit: int = MAX_BYTES) -> bytes:
    """Return the file's content, unpacked if its name ends in ``.gz``.

    Raises:
        SourceUnreadable: the content is torn, or more than ``limit`` bytes.
    """
    whole = bytearray()
    limit = min(limit, max(FREE_BYTES, MAX_RATIO * file.path.stat().st_size))
    for chunk in _chunks(file):
        whole += chunk
        if len(whole) > limit:
            raise refused(
                file,
                f"unpacks to more than {limit} bytes",
                fix="split the file; one of bars is never that large",
                limit=limit,
            )
    return bytes(whole)


def read_head(file: SourceFile, size: int = HEAD_BYTES) -> bytes:
    """Return at most the first ``size`` bytes of the content."""
    head = bytearray()
    for chunk in _chunks(file, size):
        head += chunk
        if len(head) >= size:
            break
    return bytes(head[:size])


def _chunks(file: SourceFile, size: int = _CHUNK) -> Iterator[bytes]:
    with file.path.open("rb") as stream:
        packed = iter(lambda: stream.read(size), b"")
        yield from _unpacked(packed, file) if file.path.name.endswith(_SUFFIX) else packed


def _unpacked(packed: Iterator[bytes], file: SourceFile) -> Iterator[bytes]:
    """Yield chunks of at most a megabyte; members that follow each other are one content."""
    member = zlib.decompressobj(_GZIP)
    for data in packed:
        pending = data
        while pending:
            yield member.decompress(pending, _CHUNK)
            pending = member.unconsumed_tail
            if member.eof:
                pending = member.unused_data.lstrip(b"\0")  # gzip allows padding between members
                member = zlib.decompressobj(_GZIP) if pending else member
    if not member.eof:
        raise refused(file, "is torn: its gzip stream has no end", fix="export or copy it again")
