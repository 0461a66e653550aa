"""Input schemas and descriptions of tools, read from the SDK's own signatures and docstrings."""

from __future__ import annotations

import inspect
import re
from functools import cache
from typing import TYPE_CHECKING, Any

from quant_cli import durations
from quant_sdk import QuantSDK

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping

Schema = dict[str, Any]

_NULLABLE = re.compile(r" \| None$")
_ENTRY = re.compile(r"(\w+): (.*)")
# Every kind of parameter that the SDK's methods take and JSON can carry.
_KINDS: Mapping[str, Schema] = {
    "str": {"type": "string"},
    "bool": {"type": "boolean"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "datetime | str": {"type": "string"},
    "timedelta": {"type": "string", "pattern": "^[1-9][0-9]{0,7}[smhd]$", "examples": ["30m"]},
    "Mapping[str, Any]": {"type": "object"},
}


def method(name: str) -> Callable[..., Any]:
    """Return the plain function behind a method of the SDK."""
    found: Callable[..., Any] = inspect.unwrap(vars(QuantSDK)[name])
    return found


def description(name: str) -> str:
    """Return what a method does: its docstring up to the first section."""
    text, _, _ = _documentation(name).partition("\nArgs:")
    text, _, _ = text.partition("\nRaises:")
    text, _, _ = text.partition("\nReturns:")
    return " ".join(text.split())


def input_schema(
    name: str, *, leave_out: Container[str] = (), more: Mapping[str, Schema] | None = None
) -> Schema:
    """Return the JSON Schema of a method's arguments.

    Args:
        name: the method of `QuantSDK`.
        leave_out: parameters that no caller from outside can give.
        more: what to add to a parameter's schema, or further parameters.
    """
    more = more or {}
    own = {
        parameter.name: parameter
        for parameter in inspect.signature(method(name)).parameters.values()
        if parameter.name != "self" and parameter.name not in leave_out
    }
    properties = {key: {**_property(name, parameter)} for key, parameter in own.items()}
    for key, extra in more.items():
        properties[key] = {**properties.get(key, {}), **extra}
    return {
        "type": "object",
        "properties": properties,
        "required": [key for key, item in own.items() if item.default is inspect.Parameter.empty],
        "additionalProperties": False,
    }


def native(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return checked arguments as the method takes them: durations are spans of time."""
    parameters = inspect.signature(method(name)).parameters
    return {
        key: durations.parse(value) if _kind(parameters.get(key)) == "timedelta" else value
        for key, value in arguments.items()
    }


def _property(name: str, parameter: inspect.Parameter) -> Schema:
    schema = dict(_KINDS[_kind(parameter)])
    words = _words(name).get(parameter.name) or _words_of_all().get(parameter.name)
    if words is not None:
        schema["description"] = words
    if parameter.default not in {None, inspect.Parameter.empty}:
        schema["default"] = parameter.default
    return schema


def _kind(parameter: inspect.Parameter | None) -> str:
    return "" if parameter is None else _NULLABLE.sub("", str(parameter.annotation))


@cache
def _words(name: str) -> Mapping[str, str]:
    """Return what the docstring's ``Args:`` say of each parameter."""
    _, _, rest = _documentation(name).partition("\nArgs:\n")
    section, _, _ = rest.partition("\n\n")
    found: dict[str, str] = {}
    current = ""
    for line in section.splitlines():
        entry = _ENTRY.fullmatch(line.strip())
        if entry is not None and line.startswith("    ") and line[4:5] != " ":
            current = entry[1]
            found[current] = entry[2]
        elif current:
            found[current] += f" {line.strip()}"
    return found


@cache
def _words_of_all() -> Mapping[str, str]:
    """Return what any method says of a parameter; the first one to say it is believed."""
    found: dict[str, str] = {}
    for name, member in vars(QuantSDK).items():
        if not name.startswith("_") and hasattr(member, "__wrapped__"):
            found = {**_words(name), **found}
    return found


def _documentation(name: str) -> str:
    return (inspect.getdoc(method(name)) or "").replace("``", "`")
