"""Files of symbols, one a line, which narrow a scanner."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from quant_registry.errors import InvalidInput
from quant_sdk.sources.scanner.documents import SYMBOL_FILES, Finding, inside
from quant_sdk.sources.scanner.reading import read_small

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quant_sdk.sources.scanner.documents import Document

MAX_BYTES: Final = 1024 * 1024
_WANTED: Final = re.compile(r"(?:[A-Z0-9_]{1,32}:)?[A-Z0-9](?!.*\.\.)[A-Z0-9._!&-]{0,63}")
_MOST_FINDINGS: Final = 10


def read_symbol_files(
    paths: tuple[str, ...], root: Path, document: Document
) -> tuple[tuple[str, ...], list[Finding]]:
    """Return the symbols of all files in their order, and a finding for each bad line.

    A line holds a symbol (``BINANCE:BTCUSDT``), a name (``AAPL``) or a base (``BTC``); ``#``
    begins a comment, letters are read as capitals.

    Raises:
        InvalidInput: a file is missing, too large, or holds no symbol at all.
        OutsideWorkspace: a file leaves the workspace.
    """
    found: dict[str, None] = {}
    findings: list[Finding] = []
    for path in paths:
        file = inside(Path(path), root, document.chain)
        shown = file.relative_to(root).as_posix()
        for number, entry in _entries(_read(file, shown, document), shown):
            if _WANTED.fullmatch(entry):
                found[entry] = None
            else:
                findings.append(_bad_line(shown, number, entry))
    if paths and not found:
        raise InvalidInput(
            f"the symbol files of {document.chain[0]} hold no symbol",
            fix=f"write one symbol a line, or take `{SYMBOL_FILES}` out",
        )
    return tuple(found), findings[:_MOST_FINDINGS]


def _read(file: Path, shown: str, document: Document) -> bytes:
    if not os.path.isfile(file):  # noqa: PTH113 - false, not an error, for what cannot be a path
        raise InvalidInput(
            f"there is no symbol file {shown}, which {document.chain[0]} includes",
            fix=f"write the path relative to the file that names it in `{SYMBOL_FILES}`",
        )
    return read_small(file, MAX_BYTES, shown=f"the symbol file {shown}", smaller="split it")


def _entries(content: bytes, shown: str) -> Iterator[tuple[int, str]]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"the symbol file {shown} is not UTF-8", fix="save it so") from error
    for number, line in enumerate(text.splitlines(), start=1):
        entry = line.partition("#")[0].strip().upper()
        if entry:
            yield number, entry


def _bad_line(shown: str, number: int, entry: str) -> Finding:
    return Finding(
        code="bad_symbol",
        place=f"{shown}: line {number}",
        message=f"{entry[:60]!a} is no symbol and is left out",
        fix="write EXCHANGE:BASEQUOTE, a name or a base",
    )
