"""The data files under a folder: bounded, in order, never following a link out."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from quant_registry.errors import InvalidInput
from quant_sdk.sources.legacy.folder import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MOST_FILES: Final = 100_000
DATA_SUFFIXES: Final = (".parquet", ".feather", ".csv", ".csv.gz", ".json", ".json.gz")
"""Suffixes that files of bars have."""

_DELTA_LOG: Final = "_delta_log"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """Something that no entry names, or that a run cannot read.

    Attributes:
        path: as an entry would name it, printable.
        reason: why, in one sentence.
        fix: what helps.
        layout: whose name it bears, if any.
    """

    path: str
    reason: str
    fix: str
    layout: str | None = None

    def to_dict(self) -> dict[str, str]:
        """Return the form answers carry."""
        return {"path": self.path, "reason": self.reason, "fix": self.fix}


@dataclass(slots=True, kw_only=True)
class Tree:
    """What stands under a folder.

    Attributes:
        folders: the data files of each folder, both in order.
        stray: folders that hold data files besides those, which an entry for all would meet.
        left_out: what was passed over and might have been meant.
        ignored: how many files of other kinds there are, by suffix.
    """

    folders: dict[Path, list[Path]] = field(default_factory=dict)
    stray: set[Path] = field(default_factory=set)
    left_out: list[LeftOut] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)


def walk(top: Path, *, skip: Iterable[Path], shown: Callable[[Path], str]) -> Tree:
    """Return what stands under `top`, or `top` itself where it is a file.

    Args:
        top: resolved.
        skip: folders and files that are passed over without a word.
        shown: turns a path into the text that an entry would hold.

    Raises:
        InvalidInput: nothing stands there, or more than `MOST_FILES` files and folders do.
    """
    tree = Tree()
    if top.is_file():
        _sort_in(tree, top, shown)
        return tree
    if not top.is_dir():
        raise InvalidInput(
            f"{printable(top)} is neither a folder nor a file", fix="name the folder of old files"
        )
    passed = {Path(os.path.realpath(path)) for path in skip}
    seen = 0

    def unlistable(error: OSError) -> None:
        path = shown(Path(str(error.filename)))
        tree.left_out.append(
            LeftOut(path=path, reason=f"cannot be listed: {error.strerror}", fix="make it readable")
        )

    for place, folders, names in os.walk(top, onerror=unlistable):
        here = Path(place)
        seen += len(folders) + len(names)
        if seen > MOST_FILES:
            raise InvalidInput(
                f"{printable(top)} holds more than {MOST_FILES} files", fix="name a smaller folder"
            )
        if _DELTA_LOG in folders:
            tree.left_out.append(_delta(here, shown))
            folders.clear()
            continue
        folders[:] = [name for name in sorted(folders) if _enters(tree, here / name, passed, shown)]
        for name in sorted(names, key=os.fsencode):
            if not name.startswith(".") and here / name not in passed:
                _sort_in(tree, here / name, shown)
    return tree


def _sort_in(tree: Tree, path: Path, shown: Callable[[Path], str]) -> None:
    if not path.name.lower().endswith(DATA_SUFFIXES):
        tree.ignored[printable(path.suffix)] += 1
        return
    trouble = _trouble(path)
    if trouble is None:
        tree.folders.setdefault(path.parent, []).append(path)
        return
    tree.stray.add(path.parent)
    reason, fix = trouble
    tree.left_out.append(LeftOut(path=printable(shown(path)), reason=reason, fix=fix))


def _trouble(path: Path) -> tuple[str, str] | None:
    if printable(path) != str(path):
        return "its name is not UTF-8", "rename it"
    if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(path.parent):
        return "it is a link that leaves its folder", "name the folder that it leads to"
    if not path.is_file():
        return "it is no regular file", "move it away"
    return None


def _enters(tree: Tree, path: Path, passed: set[Path], shown: Callable[[Path], str]) -> bool:
    if path.name.startswith(".") or path in passed:
        return False
    if path.is_symlink():
        reason = "it is a link to a folder, and links are not followed"
        fix = "name the folder that it leads to"
        tree.left_out.append(LeftOut(path=printable(shown(path)), reason=reason, fix=fix))
        return False
    return True


def _delta(path: Path, shown: Callable[[Path], str]) -> LeftOut:
    return LeftOut(
        path=printable(shown(path)),
        reason="it is a Delta table, not a folder of legacy files",
        fix="read it with polars or deltalake, and export the bars as Parquet or CSV",
    )
