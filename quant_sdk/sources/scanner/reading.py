"""Small files are read; large ones are refused before they fill the memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quant_registry.errors import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path


def read_small(file: Path, most: int, *, shown: str, smaller: str) -> bytes:
    """Return the content of a file of at most `most` bytes.

    Args:
        file: the file.
        most: its largest size, in bytes.
        shown: what error sentences call it.
        smaller: how to make it smaller.

    Raises:
        InvalidInput: it cannot be read, or is larger.
    """
    try:
        with file.open("rb") as stream:
            content = stream.read(most + 1)
    except OSError as error:
        raise InvalidInput(
            f"{shown} cannot be read: {error.strerror or error}", fix="make it readable"
        ) from error
    if len(content) > most:
        raise InvalidInput(f"{shown} is larger than {most} bytes", fix=smaller)
    return content
