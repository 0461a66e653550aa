"""Scanner files as written: YAML mappings, and the presets that they inherit."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from quant_registry.errors import InvalidInput, OutsideWorkspace
from quant_sdk.sources.scanner.reading import read_small

MAX_BYTES: Final = 256 * 1024
SUFFIXES: Final = ("", ".yaml", ".yml")
LONGEST_CHAIN: Final = 16
PRESET: Final = "base_preset"
SYMBOL_FILES: Final = "include_symbol_files"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Something about a scanner that does not stop it."""

    code: str
    place: str
    message: str
    fix: str = ""

    def to_dict(self) -> dict[str, str]:
        """Return the form of exports and reports."""
        return {
            "code": self.code,
            "place": self.place,
            "message": self.message,
            "fix": self.fix,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """A scanner file with its presets laid under it.

    Attributes:
        keys: the merged mapping, without ``base_preset``; paths of symbol files are absolute.
        origins: by key, the file of the chain that it was taken from.
        chain: the file, its preset, the preset's preset, as seen from the workspace.
        findings: keys that were written twice.
        digest: SHA-256 of the contents of the chain.
    """

    keys: dict[str, Any]
    origins: dict[str, str]
    chain: tuple[str, ...]
    findings: tuple[Finding, ...]
    digest: str


def read_document(path: Path, root: Path) -> Document:
    """Read a scanner file and all it inherits.

    A key of a file replaces the same key of its preset as a whole, lists and mappings too.

    Args:
        path: the file, with or without its suffix ``.yaml`` or ``.yml``.
        root: the workspace's; every file of the chain stands under it.

    Raises:
        InvalidInput: a file is missing, no YAML mapping, too large, or inherits itself; the
            whole chain is shown.
        OutsideWorkspace: a file of the chain leaves the workspace.
    """
    root = root.resolve()
    chain: list[str] = []
    layers: list[dict[str, Any]] = []
    findings: list[Finding] = []
    digest = hashlib.sha256()
    wanted: Path | None = path
    while wanted is not None:
        file = _locate(wanted, root, chain)
        shown = file.relative_to(root).as_posix()
        if shown in chain or len(chain) == LONGEST_CHAIN:
            raise _endless([*chain, shown], again=shown in chain)
        chain.append(shown)
        content = _read(file, chain)
        digest.update(hashlib.sha256(content).digest())
        layer = _parse(content, chain)
        findings += _duplicates(layer, shown)
        wanted = _preset(layer, file, chain)
        layers.append(_anchored(layer, file.parent))
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for shown, layer in zip(reversed(chain), reversed(layers), strict=True):
        merged.update(layer)
        origins.update(dict.fromkeys(layer, shown))
    return Document(
        keys=merged,
        origins=origins,
        chain=tuple(chain),
        findings=tuple(findings),
        digest=digest.hexdigest(),
    )


def inside(path: Path, root: Path, chain: list[str] | tuple[str, ...]) -> Path:
    """Return `path`, resolved, if it stays under `root`.

    Raises:
        OutsideWorkspace: it leaves the workspace, by ``..`` or by a symbolic link.
    """
    full = Path(os.path.realpath(path))
    if not full.is_relative_to(root):
        raise OutsideWorkspace(
            f"{path.name} of {arrow(chain)} leaves the workspace"
            if chain
            else f"the scanner {path.name} leaves the workspace",
            fix="move it under the workspace and name it by a relative path",
        )
    return full


def arrow(chain: list[str] | tuple[str, ...]) -> str:
    """Return a chain of presets as text: ``child.yaml -> preset.yaml``."""
    return " -> ".join(chain)


class _Twice(dict[str, Any]):
    """A mapping that remembers which of its keys were written twice."""

    twice: tuple[str, ...] = ()


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, with YAML 1.2's numbers and mappings that tell of duplicate keys."""


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> _Twice:
    # Merge keys (`<<`) are not flattened: nested ones let a small file fill the memory.
    found, twice = _Twice(), set()
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(
                problem="a key is no text", problem_mark=key_node.start_mark
            )
        key = str(loader.construct_object(key_node))
        if key in found:
            twice.add(key)
        found[key] = loader.construct_object(value_node, deep=True)
    found.twice = tuple(sorted(twice))
    return found


# PyYAML reads YAML 1.1, where an exponent needs both a point and a sign.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)\Z"),
    list("-+.0123456789"),
)
_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def _locate(wanted: Path, root: Path, chain: list[str]) -> Path:
    for suffix in SUFFIXES:
        file = inside(wanted.with_name(wanted.name + suffix), root, chain)
        if os.path.isfile(file):  # noqa: PTH113 - false, not an error, for what cannot be a path
            return file
    shown = os.path.relpath(wanted, root)
    if not chain:
        raise InvalidInput(
            f"there is no scanner file {shown}",
            fix="write the path relative to the manifest, with or without .yaml",
        )
    raise InvalidInput(
        f"the preset is missing: {arrow([*chain, shown])}",
        fix=f"correct `{PRESET}` in {chain[-1]}: a path relative to that file",
    )


def _endless(chain: list[str], *, again: bool) -> InvalidInput:
    told = "the presets go round" if again else f"there are more than {LONGEST_CHAIN} presets"
    return InvalidInput(f"{told}: {arrow(chain)}", fix=f"take out one `{PRESET}` of the chain")


def _read(file: Path, chain: list[str]) -> bytes:
    return read_small(
        file,
        MAX_BYTES,
        shown=f"the scanner {arrow(chain)}",
        smaller=f"put long lists of symbols into files and name them in `{SYMBOL_FILES}`",
    )


def _parse(content: bytes, chain: list[str]) -> dict[str, Any]:
    try:
        loaded = yaml.load(content, _Loader)  # noqa: S506 - a subclass of the safe loader
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}" if mark is not None else ""
        raise InvalidInput(
            f"the scanner {arrow(chain)} is not YAML{place}",
            fix=f"repair it at the place named; merge keys (<<) are not read, use `{PRESET}`",
        ) from error
    if not isinstance(loaded, _Twice):
        raise InvalidInput(
            f"the scanner {arrow(chain)} holds no mapping",
            fix="write keys and values, such as `markets: [crypto]`",
        )
    return loaded


def _duplicates(layer: dict[str, Any], shown: str) -> list[Finding]:
    return [
        Finding(
            code="duplicate_key",
            place=f"{shown}: {key}",
            message=f"the key {key!r} stands twice; the last one is in force",
            fix="keep one of them",
        )
        for key in getattr(layer, "twice", ())
    ]


def _preset(layer: dict[str, Any], file: Path, chain: list[str]) -> Path | None:
    named = layer.pop(PRESET, None)
    if named is None:
        return None
    if not isinstance(named, str) or not named.strip() or "\0" in named:
        raise InvalidInput(
            f"`{PRESET}` of {arrow(chain)} is not a path",
            fix="write one path, relative to the file",
        )
    return file.parent / named


def _anchored(layer: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Make the paths of symbol files absolute: they are relative to the file that names them."""
    listed = layer.get(SYMBOL_FILES)
    if isinstance(listed, list):
        layer[SYMBOL_FILES] = [
            str(folder / item) if isinstance(item, str) else item for item in listed
        ]
    return layer
