"""A workspace's ``quant.yml``: one file, of which each part of the house reads its own section."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, Final

from .errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .workspace import Workspace

NAME: Final = "quant.yml"
MAX_BYTES: Final = 1024 * 1024
SECTIONS: Final = ("stages", "sources", "seamless")
_SAID: Final = 200
_SHOWN: Final = 60


def read_settings(workspace: Workspace) -> dict[str, Any]:
    """Return what the file holds; nothing where there is none.

    Raises:
        InvalidInput: it is too large, no YAML mapping, or has a key that nobody reads.
    """
    try:
        with workspace.settings.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return {}
    if len(content) > MAX_BYTES:
        raise InvalidInput(
            f"{NAME} is larger than {MAX_BYTES} bytes", fix=f"shorten {workspace.settings}"
        )
    settings = parse_settings(content)
    check_keys(settings, SECTIONS)
    return settings


def parse_settings(content: bytes | str) -> dict[str, Any]:
    """Return what a ``quant.yml`` of this content holds.

    Raises:
        InvalidInput: it is no YAML mapping.
    """
    import yaml

    try:
        document = yaml.safe_load(content)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        said = " ".join(str(error).split())[:_SAID]
        raise InvalidInput(f"{NAME} is not YAML: {said}", fix=f"repair {NAME}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise InvalidInput(
            f"{NAME} does not hold settings", fix='write keys into it: stages: ["mystages:STAGES"]'
        )
    return document


def check_keys(found: Mapping[Any, Any], known: Iterable[str], place: str = "") -> None:
    """Refuse a key that nobody reads: what it was to say would be ignored in silence.

    Args:
        found: a mapping of the file.
        known: its keys; others may begin with ``x-``.
        place: where it stands, such as ``sources.venues``.

    Raises:
        InvalidInput: a key is none of them.
    """
    names = list(known)
    for key in map(str, found):
        if key not in names and not key.startswith("x-"):
            near = difflib.get_close_matches(key, names, n=1, cutoff=0.4)
            told = f"{place} has no key" if place else "there is no key"
            raise InvalidInput(
                f"{NAME}: {told} {key[:_SHOWN]!r}",
                fix=f"did you mean {near[0]}?" if near else f"use {', '.join(names)}",
            )


def section_of(settings: dict[str, Any], name: str) -> Any:
    """Return a section, None where it is missing or empty; a dot leads into a section of one.

    Raises:
        InvalidInput: what a dot leads into is no mapping.
    """
    found: Any = settings
    for key in name.split("."):
        if not isinstance(found, dict):
            raise InvalidInput(
                f"{NAME}: what holds {name} is {str(found)[:_SAID]!r}",
                fix="write a mapping of keys to values",
            )
        found = found.get(key)
        if found is None:
            return None
    return found
