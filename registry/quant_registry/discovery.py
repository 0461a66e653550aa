"""Where stages come from: entry points of installed packages, and the workspace's quant.yml."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from .errors import BrokenPlugin, InvalidInput
from .settings import read_settings, section_of
from .spec import StageSpec, load_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .workspace import Workspace

GROUP = "quant_sdk.stages"

Declaration = tuple[str, "Callable[[], tuple[StageSpec, ...]]"]


def declarations(workspace: Workspace | None) -> Iterator[Declaration]:
    """Yield ``(origin, load)`` for every tuple of stages that is announced."""
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        yield f"entry point {point.name}", _entry_point_loader(point)
    if workspace is not None and workspace.settings.is_file():
        yield from _workspace_declarations(workspace)


def _entry_point_loader(point: EntryPoint) -> Callable[[], tuple[StageSpec, ...]]:
    return lambda: _checked(load_path(point.value, f"stages of {point.name!r}"), point.value)


def _workspace_declarations(workspace: Workspace) -> Iterator[Declaration]:
    try:
        paths = _announced(workspace)
    except BrokenPlugin as error:
        broken = error

        def fail() -> tuple[StageSpec, ...]:
            raise broken

        yield "quant.yml", fail
        return
    root = str(workspace.root)
    for path in paths:
        # A workspace's own modules stand beside its quant.yml.
        if root not in sys.path:
            sys.path.append(root)
        yield (
            f"quant.yml {path}",
            lambda path=path: _checked(load_path(path, "stages of quant.yml"), path),  # type: ignore[misc]
        )


def _announced(workspace: Workspace) -> list[str]:
    try:
        paths = section_of(read_settings(workspace), "stages")
    except InvalidInput as error:
        raise BrokenPlugin(error.message, fix=error.fix) from error
    if paths is None:
        return []
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise BrokenPlugin(
            "quant.yml: `stages` is not a list of module:NAME",
            fix='write it as stages: ["mystages:STAGES"]',
        )
    return paths


def _checked(stages: Any, path: str) -> tuple[StageSpec, ...]:
    if not isinstance(stages, tuple) or not all(isinstance(spec, StageSpec) for spec in stages):
        raise BrokenPlugin(
            f"{path} is not a tuple of StageSpec", fix="declare STAGES = (StageSpec(...), ...)"
        )
    return stages
