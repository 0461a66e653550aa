"""A stage's options, made from the JSON Schema of its params model: nothing is written twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

    from click.core import ParameterSource

# Names that every stage command has already; a field of that name gets a prefix.
_TAKEN = frozenset(
    {"help", "workspace", "json", "actor", "dry-run", "fresh", "lock-id", "detach"}
    | {"idempotency-key", "plan-hash"}
)
_PLAIN: Mapping[str, click.ParamType[Any]] = {
    "integer": click.INT,
    "number": click.FLOAT,
    "string": click.STRING,
}
# A value that no flat option can carry, written as JSON.
_JSON = click.UNPROCESSED


class StageOptions:
    """The options of one params model.

    Args:
        schema: its JSON Schema.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._definitions: Mapping[str, Any] = schema.get("$defs", {})
        self._fields = dict(enumerate(schema.get("properties", {})))
        required = schema.get("required", [])
        self.options: list[click.Parameter] = [
            self._option(index, name, schema["properties"][name], required=name in required)
            for index, name in self._fields.items()
        ]
        """One option a field, in the model's order."""

    def given(self, ctx: click.Context) -> dict[str, Any]:
        """Return the fields that the caller wrote; the model fills in the others."""
        return {
            name: _value(ctx.params[_destination(index)])
            for index, name in self._fields.items()
            if _is_written(ctx.get_parameter_source(_destination(index)))
        }

    def _option(
        self, index: int, name: str, field: Mapping[str, Any], *, required: bool
    ) -> click.Option:
        field = self._resolved(field)
        flag = flag_of(name)
        kind = self._kind(field)
        default = field.get("default")
        return click.Option(
            [f"{flag}/--no-{flag[2:]}" if kind is click.BOOL else flag, _destination(index)],
            type=kind,
            is_flag=kind is click.BOOL,
            multiple=self._is_list(field),
            callback=_from_json if kind is _JSON else None,
            default=default,
            show_default=default not in (None, "", [], {}),
            required=required,
            metavar=_metavar(field, kind),
            help=_sentence(field),
        )

    def _kind(self, field: Mapping[str, Any]) -> click.ParamType[Any]:
        if self._is_list(field):
            return self._kind(self._resolved(field["items"]))
        if "enum" in field or "const" in field:
            choices = field.get("enum") or [field["const"]]
            if all(isinstance(choice, str) for choice in choices):
                return click.Choice(choices)
        if field.get("type") == "boolean":
            return click.BOOL
        return _PLAIN.get(str(field.get("type")), _JSON)

    def _is_list(self, field: Mapping[str, Any]) -> bool:
        """Tell whether the field is a list of what one option can carry."""
        if field.get("type") != "array" or "items" not in field:
            return False
        item = self._resolved(field["items"])
        return item.get("type") in _PLAIN or "enum" in item

    def _resolved(self, field: Mapping[str, Any]) -> Mapping[str, Any]:
        """Follow a reference, and look through an optional type; what stands outside wins."""
        if "$ref" in field:
            target = self._definitions[field["$ref"].rpartition("/")[2]]
            return self._resolved({**target, **_without(field, "$ref")})
        kinds = [kind for kind in field.get("anyOf", ()) if kind.get("type") != "null"]
        if len(kinds) == 1:
            return self._resolved({**kinds[0], **_without(field, "anyOf")})
        if kinds and all(kind.get("type") in _PLAIN for kind in kinds):
            return {**_without(field, "anyOf"), "type": "string"}
        return field


def flag_of(name: str) -> str:
    """Return the option of a field: ``--lock-name``; ``--stage-json`` where ``--json`` is taken."""
    text = name.replace("_", "-")
    return f"--stage-{text}" if text in _TAKEN else f"--{text}"


def _from_json(_: click.Context, __: click.Parameter, value: Any) -> Any:
    import json

    texts = value if isinstance(value, tuple) else (value,)
    try:
        parsed = [json.loads(text) if isinstance(text, str) else text for text in texts]
    except json.JSONDecodeError as error:
        raise click.BadParameter(f"not JSON: {error}") from error
    return parsed if isinstance(value, tuple) else parsed[0]


def _destination(index: int) -> str:
    return f"field_{index}"


def _value(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _is_written(source: ParameterSource | None) -> bool:
    return source is not None and source.name in {"COMMANDLINE", "ENVIRONMENT", "PROMPT"}


def _metavar(field: Mapping[str, Any], kind: click.ParamType[Any]) -> str | None:
    if kind is click.STRING:
        names = {"path": "PATH", "file-path": "PATH", "directory-path": "PATH"}
        return names.get(field.get("format", ""), "TEXT")
    return "JSON" if kind is _JSON else None


def _sentence(field: Mapping[str, Any]) -> str:
    return " ".join(str(field.get("description", "")).split())


def _without(field: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in field.items() if name != key}
