"""Announcing stages in a workspace's ``quant.yml``; its text stays and is added to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import yaml

from quant_registry.errors import Conflict, InvalidInput
from quant_registry.files import read_bounded, write_atomic
from quant_registry.settings import NAME, parse_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quant_registry.workspace import Workspace

_KEY: Final = "stages"


def announce(workspace: Workspace, path: str) -> bool:
    """Add ``module:NAME`` to `stages` of ``quant.yml``; tell whether the file was changed.

    Raises:
        InvalidInput: the file is no YAML of its form.
        Conflict: it is written in a way that cannot be added to safely, or changes meanwhile.
    """
    before = _content(workspace)
    after = announced(_decoded(before), path).encode()
    if after == before:
        return False
    if not write_atomic(workspace.settings, after, guard=lambda: _content(workspace) == before):
        raise Conflict(f"{NAME} changed meanwhile", fix="try again")
    return True


def check_announceable(workspace: Workspace, path: str) -> None:
    """Raise what `announce` would raise; writes nothing."""
    announced(_decoded(_content(workspace)), path)


def announced(text: str, path: str) -> str:
    """Return the text of a ``quant.yml`` with `path` among its stages.

    Comments, order and quotes stay. Each way to write it is tried, and only one that reads back
    as the old settings and `path` behind the old stages is taken.
    """
    old = parse_settings(text)
    stages = old.get(_KEY) or []
    if not isinstance(stages, list):
        raise InvalidInput(
            f"{NAME}: `{_KEY}` is not a list of module:NAME",
            fix=f'write it as {_KEY}: ["{path}"]',
        )
    if path in stages:
        return text
    wanted = {**old, _KEY: [*stages, path]}
    for candidate in _candidates(text, json.dumps(path)):
        if _reads_as(candidate, wanted):
            return candidate
    raise Conflict(
        f"{NAME} is written in a way that cannot be added to safely",
        fix=f"add {json.dumps(path)} to its list of {_KEY}, then try again",
    )


def _candidates(text: str, item: str) -> Iterator[str]:
    """Yield ways to add `item`, from the position of what stands there already."""
    eol = "\r\n" if "\r\n" in text else "\n"
    node = _stages_node(text)
    if node is None or not _is_list(node):
        yield f"{_ended(text, eol)}{_KEY}:{eol}  - {item}{eol}"
        if node is not None:  # `stages:` without a value
            at = _line_end(text, node.start_mark.index)
            yield f"{_ended(text[:at], eol)}  - {item}{eol}{text[at:].removeprefix(eol)}"
    elif node.flow_style:
        at = node.end_mark.index - 1
        head = text[:at].rstrip() if node.end_mark.line == node.start_mark.line else text[:at]
        for separator in (", ", " ") if node.value else ("",):
            yield f"{head}{separator}{item}{text[at:]}"
    else:
        at = _line_end(text, node.value[-1].end_mark.index)
        indent = " " * node.start_mark.column
        yield f"{_ended(text[:at], eol)}{indent}- {item}{eol}{text[at:].removeprefix(eol)}"


def _stages_node(text: str) -> Any:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    return next((value for key, value in pairs if key.value == _KEY), None)


def _is_list(node: Any) -> bool:
    return isinstance(node, yaml.SequenceNode) and bool(node.value or node.flow_style)


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    if end < 0:
        return len(text)
    return end - 1 if text[end - 1] == "\r" else end


def _ended(text: str, eol: str) -> str:
    return text if not text or text.endswith("\n") else f"{text}{eol}"


def _reads_as(text: str, wanted: dict[str, Any]) -> bool:
    try:
        return bool(yaml.safe_load(text) == wanted)
    except yaml.YAMLError:
        return False


def _content(workspace: Workspace) -> bytes:
    try:
        return read_bounded(workspace.settings)
    except FileNotFoundError:
        return b""


def _decoded(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{NAME} is not UTF-8: {error}", fix=f"save {NAME} as UTF-8") from error
