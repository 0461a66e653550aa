"""Parameters of a stage: validated by its model, before anything is started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import InvalidParams

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .spec import StageSpec


def resolve_params(spec: StageSpec, given: Mapping[str, Any]) -> Any:
    """Return the stage's params model filled from `given`; None for a stage without one.

    Raises:
        InvalidParams: a parameter is unknown, missing or of the wrong type; all are named.
    """
    model = spec.load("params")
    if model is None:
        if given:
            raise InvalidParams(
                f"{spec.id} takes no parameters, got {', '.join(sorted(given))}",
                fix=f"see: quant stage show {spec.id}",
            )
        return None
    from pydantic import ValidationError

    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        found = [
            f"{'.'.join(map(str, item['loc'])) or 'params'}: {item['msg']}"
            for item in error.errors(include_url=False, include_input=False)
        ]
        raise InvalidParams(
            f"invalid parameters for {spec.id}: {'; '.join(found)}",
            fix=f"see: quant stage show {spec.id}",
            problems=found,
        ) from error


def dump_model(value: Any) -> dict[str, Any]:
    """Return a pydantic model, a mapping or None as a JSON-ready dict."""
    if value is None:
        return {}
    if hasattr(value, "model_dump"):
        dumped: dict[str, Any] = value.model_dump(mode="json")
        return dumped
    return dict(value)


def params_schema(spec: StageSpec) -> dict[str, Any]:
    """Return the JSON Schema of a stage's parameters."""
    model = spec.load("params")
    if model is None:
        return {"type": "object", "properties": {}, "additionalProperties": False}
    schema: dict[str, Any] = model.model_json_schema()
    return schema
