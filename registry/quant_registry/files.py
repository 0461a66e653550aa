"""The one way a small file is written whole, and the one way it is read."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from .errors import Corrupted

if TYPE_CHECKING:
    from collections.abc import Callable

# Bounds what a hostile or broken file can make a reader hold in memory.
MAX_JSON_BYTES = 64 * 1024 * 1024
# A folder that is wiped while we write into it is made again this often.
_TRIES = 20
_MAX_DEPTH = 16


def write_atomic(path: Path, content: bytes, *, guard: Callable[[], bool] | None = None) -> bool:
    """Replace `path` by `content` so that a reader, or a power cut, sees old or new, never half.

    Temporary file in the same folder, fsync, rename, fsync of the folder.

    Args:
        path: the file.
        content: all of it.
        guard: asked last before the rename; False leaves the file as it is.

    Returns:
        Whether the file was replaced.
    """
    fill = partial(_fill, content=content)
    for _ in range(_TRIES):
        try:
            return _replace(path, fill, guard)
        except FileNotFoundError:  # no folder yet, or it was removed under us
            with suppress(FileNotFoundError):
                make_folder(path.parent)
    return _replace(path, fill, guard)


def write_atomic_by(path: Path, write: Callable[[Path], None]) -> None:
    """Replace `path`, as `write_atomic` does, by the file that `write` makes.

    Args:
        path: the file.
        write: makes or overwrites the file at the path it is given, whole; called once.
    """
    make_folder(path.parent)

    def fill(_: int, temporary: str) -> None:
        write(Path(temporary))
        sync_path(temporary)  # by its name: `write` may have put another file there

    _replace(path, fill, None)


def _fill(descriptor: int, _: str, *, content: bytes) -> None:
    write_all(descriptor, content)
    os.fsync(descriptor)


def _replace(
    path: Path, fill: Callable[[int, str], None], guard: Callable[[], bool] | None
) -> bool:
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        try:
            fill(descriptor, temporary)
        finally:
            os.close(descriptor)
        if guard is not None and not guard():
            os.unlink(temporary)
            return False
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    sync_path(folder)
    return True


def write_all(descriptor: int, content: bytes) -> None:
    """Write every byte; a regular file may take them in several pieces."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_path(path: Path | str) -> None:
    """Make what stands under a name durable: of a folder the names in it, of a file its content."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create `folder` and its parents durably."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir()
        sync_path(folder.parent)


def dump_json(document: Any) -> bytes:
    """Return `document` as indented UTF-8 JSON with a final newline."""
    return to_json(document, orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z)


def to_json(document: Any, option: int) -> bytes:
    """Return `document` as JSON whatever it holds: a record must not fail for what it records.

    Lone surrogates (an undecodable file name in a message) are escaped, integers beyond 64 bits
    and keys and values of other types become text.
    """
    try:
        return orjson.dumps(document, option=option, default=str)
    except orjson.JSONEncodeError:
        return orjson.dumps(_plain(document), option=option, default=str)


def _plain(value: Any, depth: int = 0) -> Any:
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if abs(value) < 1 << 63 else str(value)
    if depth < _MAX_DEPTH and isinstance(value, Mapping):
        return {_text(key): _plain(item, depth + 1) for key, item in value.items()}
    if depth < _MAX_DEPTH and isinstance(value, list | tuple):
        return [_plain(item, depth + 1) for item in value]
    return _text(value)


def _text(value: Any) -> str:
    return str(value).encode("utf-8", "backslashreplace").decode()


def read_bounded(path: Path) -> bytes:
    """Return the content of a regular file, refusing one larger than `MAX_JSON_BYTES`."""
    with path.open("rb") as stream:
        content = stream.read(MAX_JSON_BYTES + 1)
    if len(content) > MAX_JSON_BYTES:
        raise Corrupted(
            f"{path.name} is larger than {MAX_JSON_BYTES} bytes",
            fix=f"look at {path}: no file of the contract grows that large",
        )
    return content


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in `path`.

    Raises:
        FileNotFoundError: there is no such file.
        Corrupted: the content is not one JSON object.
    """
    content = read_bounded(path)
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise Corrupted(
            f"{path.name} is not JSON: {error}", fix=f"restore or remove {path}", path=str(path)
        ) from error
    if not isinstance(document, dict):
        raise Corrupted(f"{path.name} does not hold a JSON object", fix=f"restore or remove {path}")
    return document
