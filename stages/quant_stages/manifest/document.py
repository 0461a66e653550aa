"""The manifest: JSON, its duplicate keys, and its profiles merged and unaliased."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from quant_sdk.errors import InvalidManifest

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES = 16 * 1024 * 1024


class Keyed(dict[str, Any]):
    """A JSON object that remembers which of its keys were written twice."""

    duplicates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest as written.

    Attributes:
        path: the file; paths in it are relative to its folder.
        document: the whole object.
        defaults: merged under each profile.
        profiles: name to settings, or to the name of another profile.
    """

    path: Path
    document: Keyed
    defaults: dict[str, Any]
    profiles: dict[str, Any]

    @property
    def folder(self) -> Path:
        """What the manifest's paths are relative to."""
        return self.path.parent


def read_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        InvalidManifest: missing, too large, not JSON, or not of the form; the place is named.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise InvalidManifest(
            f"the manifest {path} cannot be read: {error.strerror or error}",
            fix="let quant write one: quant migrate init FOLDER; or name yours with --manifest",
        ) from error
    if len(content) > MAX_BYTES:
        raise InvalidManifest(
            f"the manifest {path} is larger than {MAX_BYTES} bytes", fix="split it"
        )
    document = _parse(content, path)
    defaults = _object(document, "defaults", path)
    profiles = _object(document, "profiles", path)
    return Manifest(path=path, document=document, defaults=defaults, profiles=profiles)


def merge(under: Any, over: Any) -> Any:
    """Return `over` laid on `under`: objects key by key, anything else replaced."""
    if not isinstance(under, dict) or not isinstance(over, dict):
        return over
    merged = Keyed(under)
    for key, value in over.items():
        merged[key] = merge(under[key], value) if key in under else value
    merged.duplicates = getattr(over, "duplicates", ())
    return merged


def _parse(content: bytes, path: Path) -> Keyed:
    try:
        document = json.loads(content, object_pairs_hook=_keyed)
    except (ValueError, RecursionError) as error:
        raise InvalidManifest(
            f"the manifest {path} is not JSON: {error}", fix="repair it at the place named"
        ) from error
    if not isinstance(document, Keyed):
        raise InvalidManifest(f"the manifest {path} does not hold an object", fix="see the README")
    return document


def _keyed(pairs: list[tuple[str, Any]]) -> Keyed:
    found = Keyed(pairs)
    if len(found) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        found.duplicates = tuple(sorted(name for name, count in counts.items() if count > 1))
    return found


def _object(document: Keyed, key: str, path: Path) -> dict[str, Any]:
    value = document.get(key, {})
    if not isinstance(value, dict):
        raise InvalidManifest(
            f"`{key}` of the manifest {path} is not an object", fix=f'write "{key}": {{...}}'
        )
    return value
