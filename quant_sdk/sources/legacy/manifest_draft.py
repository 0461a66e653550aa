"""Writing a profile into a manifest: a new file, or an addition to one that stays as it is."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING, Any, Final

from quant_registry.errors import Conflict, InvalidManifest
from quant_registry.files import read_bounded, write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

DEFAULT_PROFILE: Final = "legacy"
_PROFILES: Final = "profiles"
_BLANK: Final = " \t\r\n"


def draft_profile(description: str, entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return a profile that names legacy entries."""
    return {"description": description, "discovery": {"legacy": list(entries)}}


def check_writable(path: Path, profile: str | None) -> str:
    """Return the name under which a profile can be written; writes nothing.

    Args:
        path: the manifest.
        profile: the name; None for a manifest that does not stand yet.

    Raises:
        Conflict: the manifest stands and no name is given, or it has such a profile.
        InvalidManifest: what stands there is no manifest.
    """
    text = _content(path)
    if text is None:
        return profile or DEFAULT_PROFILE
    if profile is None:
        raise Conflict(
            f"the manifest {path} stands already",
            fix="add to it with --profile NAME, or write another with --manifest PATH",
        )
    _with_profile(text.decode(), profile, {}, path)
    return profile


def write_profile(path: Path, profile: str, settings: dict[str, Any]) -> None:
    """Write the profile; of a manifest that stands, every byte stays and some are added.

    Raises:
        Conflict: it has such a profile, or changes meanwhile.
        InvalidManifest: what stands there is no manifest, or it cannot be added to safely.
    """
    before = _content(path)
    if before is None:
        document = {"default_profile": profile, _PROFILES: {profile: settings}}
        after = f"{_dumped(document)}\n"
    else:
        after = _with_profile(before.decode(), profile, settings, path)
    if not write_atomic(path, after.encode(), guard=lambda: _content(path) == before):
        raise Conflict(f"the manifest {path} changed meanwhile", fix="try again")


def _with_profile(text: str, profile: str, settings: dict[str, Any], path: Path) -> str:
    """Return the manifest's text with one more profile."""
    old = _parsed(text, path)
    profiles = old.get(_PROFILES, {})
    if not isinstance(profiles, dict):
        raise InvalidManifest(
            f"`{_PROFILES}` of the manifest {path} is not an object",
            fix=f'write "{_PROFILES}": {{...}}',
        )
    if profile in profiles:
        raise Conflict(
            f"the manifest {path} has a profile {profile!r}", fix="choose another --profile NAME"
        )
    addition = {profile: settings}
    if _PROFILES in old:
        new = _inserted(text, _span_of(text, _PROFILES), addition, depth=2)
    else:
        new = _inserted(text, (0, len(text.rstrip(_BLANK))), {_PROFILES: addition}, depth=1)
    if _parsed(new, path) != {**old, _PROFILES: {**profiles, **addition}}:
        raise InvalidManifest(
            f"the manifest {path} cannot be added to safely", fix="write a new one with --manifest"
        )
    return new


def _inserted(text: str, span: tuple[int, int], addition: dict[str, Any], depth: int) -> str:
    """Return `text` with the members of `addition` at the end of the object at `span`."""
    start, end = span
    members = _dumped(addition)[2:-2]
    body = textwrap.indent(textwrap.dedent(members), "  " * depth)
    inner = text[text.index("{", start) + 1 : end - 1]
    head = text[: end - 1].rstrip(_BLANK)
    comma = "," if inner.strip(_BLANK) else ""
    return f"{head}{comma}\n{body}\n{'  ' * (depth - 1)}{text[end - 1 :]}"


def _span_of(text: str, wanted: str) -> tuple[int, int]:
    """Return where the value of a key of the outermost object begins and ends."""
    decoder = json.JSONDecoder()
    at = _after_blank(text, text.index("{") + 1)
    while True:
        key, at = decoder.raw_decode(text, at)
        start = _after_blank(text, _after_blank(text, at) + 1)
        _, end = decoder.raw_decode(text, start)
        if key == wanted:
            return start, end
        at = _after_blank(text, _after_blank(text, end) + 1)


def _after_blank(text: str, at: int) -> int:
    while text[at] in _BLANK:
        at += 1
    return at


def _parsed(text: str, path: Path) -> dict[str, Any]:
    try:
        document = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise InvalidManifest(
            f"the manifest {path} is not JSON: {error}", fix="repair it at the place named"
        ) from error
    except _TwiceError as error:
        raise InvalidManifest(
            f"the manifest {path} holds the key {error} twice", fix="keep one of them"
        ) from error
    if not isinstance(document, dict):
        raise InvalidManifest(f"the manifest {path} does not hold an object", fix="see the README")
    return document


class _TwiceError(Exception):
    """A key stands twice in one object."""


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _TwiceError(repr(key))
        found[key] = value
    return found


def _content(path: Path) -> bytes | None:
    try:
        content = read_bounded(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidManifest(
            f"the manifest {path} cannot be read: {error.strerror}", fix="name a file"
        ) from error
    try:
        content.decode()
    except UnicodeDecodeError as error:
        raise InvalidManifest(
            f"the manifest {path} is not UTF-8: {error}", fix="save it as UTF-8"
        ) from error
    return content


def _dumped(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False)
