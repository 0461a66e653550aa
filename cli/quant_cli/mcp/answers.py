"""Output schemas of the tools: the published contracts where there is one, else what is promised.

An answer may carry more than its schema names, as a file of the contract may after an upgrade.
"""

from __future__ import annotations

from typing import Any

from quant_sdk import read_schema

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number"}
FREE: Schema = {"type": "object"}
TEXTS: Schema = {"type": "array", "items": TEXT}


def promised(properties: dict[str, Schema], *optional: str) -> Schema:
    """Return the schema of an object that carries these properties, and maybe others."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def contract(name: str, *required: str, **more: Schema) -> Schema:
    """Return a published schema with `more` properties, of which `required` are always there."""
    published: Schema = _portable(read_schema(name)["properties"])
    properties = {**published, **more}
    return {"type": "object", "properties": properties, "required": [*required, *more]}


def _portable(schema: Any) -> Any:
    """Write ``type: [a, null]`` as ``anyOf``: clients of some model vendors know one type only."""
    if isinstance(schema, list):
        return [_portable(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _portable(value) for key, value in schema.items()}
    kinds = found.get("type")
    if not isinstance(kinds, list):
        return found
    words = {key: found.pop(key) for key in ("description", "default") if key in found}
    return {
        "anyOf": [{**found, "type": kind} for kind in kinds if kind != "null"] + [{"type": "null"}],
        **words,
    }


def nullable(schema: Schema) -> Schema:
    """Return the schema of the same or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def page(name: str, item: Schema, cursor: Schema | None = None) -> Schema:
    """Return the schema of ``{name: [...], truncated, next_cursor}``."""
    return promised(
        {
            name: {"type": "array", "items": item},
            "truncated": {**FLAG, "description": "Whether there is more than this."},
            "next_cursor": nullable(cursor or TEXT),
        }
    )


def error() -> Schema:
    """Return the schema of an error."""
    return promised({"code": TEXT, "message": TEXT, "fix": TEXT, "retryable": FLAG})


def stages() -> Schema:
    """Return the schema of a list of stages."""
    found = page("stages", _stage())
    broken = promised({"origin": TEXT, **error()["properties"]})
    found["properties"]["broken"] = {"type": "array", "items": broken}
    return found


def description() -> Schema:
    """Return the schema of a stage's description."""
    found = _stage()
    return promised({**found["properties"], "params_schema": FREE})


def _stage() -> Schema:
    effects = promised({"network": FLAG, "idempotent": FLAG, "destructive": FLAG})
    return promised(
        {
            "id": TEXT,
            "category": TEXT,
            "tags": TEXTS,
            "version": TEXT,
            "title": TEXT,
            "lock": nullable(TEXT),
            "effects": effects,
        }
    )


def validation() -> Schema:
    """Return the schema of a validation."""
    check = promised({"name": TEXT, "status": TEXT, "detail": TEXT, "fix": nullable(TEXT)}, "fix")
    factor = promised({"name": TEXT, "value": NUMBER, "evidence": TEXT})
    return promised(
        {
            "stage_id": TEXT,
            "ok": {**FLAG, "description": "Whether a run could start."},
            "checks": {"type": "array", "items": check},
            "plan": FREE,
            "plan_hash": {
                **TEXT,
                "description": "run_stage refuses a plan that has drifted.",
            },
            "success_probability": {**NUMBER, "minimum": 0, "maximum": 1},
            "factors": {"type": "array", "items": factor},
            "rehearsal": nullable(FREE),
        }
    )


def handle() -> Schema:
    """Return the schema of a run that was started, attached to or found."""
    return contract(
        "run",
        "run_id",
        "stage_id",
        "state",
        "params",
        exit_code=nullable(COUNT),
        next_actions=TEXTS,
        result=nullable(FREE),
    )


def statuses() -> Schema:
    """Return the schema of where runs stand."""
    unchanged = {**FLAG, "description": "Nothing has happened since since_seq."}
    item = contract("status", "run_id")
    item["properties"]["unchanged"] = unchanged
    return page("runs", item)


def waited() -> Schema:
    """Return the schema of what a wait came to."""
    return promised(
        {
            "run_id": TEXT,
            "stage_id": TEXT,
            "until": TEXT,
            "met": {**FLAG, "description": "False where time ran out, or it cannot come any more."},
            "state": TEXT,
            "phase": nullable(TEXT),
            "progress": nullable(FREE),
            "seq": nullable(COUNT),
            "evidence": {**TEXT, "description": "Why it cannot come any more."},
            "error": nullable(error()),
            "exit_code": nullable(COUNT),
        }
    )


def steered() -> Schema:
    """Return the schema of what came of a directive."""
    run = promised({"run_id": TEXT, "stage_id": TEXT, "outcome": TEXT})
    return promised(
        {
            "action": TEXT,
            "scope": TEXT,
            "outcome": {**TEXT, "description": "not_running where no run is concerned."},
            "runs": {"type": "array", "items": run},
        }
    )


def events() -> Schema:
    """Return the schema of audit events."""
    item = contract("audit", "timestamp", "event", "run_id", "seq")
    return page("events", item, COUNT)


def explanation() -> Schema:
    """Return the schema of an explanation."""
    return promised(
        {"run_id": TEXT, "state": TEXT, "sentence": TEXT, "evidence": TEXTS, "commands": TEXTS}
    )


def bars() -> Schema:
    """Return the schema of bars."""
    price = nullable(NUMBER)
    bar = promised(
        {
            "ts": {**TEXT, "format": "date-time", "description": "The bar's opening, UTC."},
            **dict.fromkeys(("open", "high", "low", "close", "volume"), price),
            "source": nullable(TEXT),
        }
    )
    found = page("bars", bar)
    found["properties"] |= {"symbol": TEXT, "timeframe": TEXT, "rows": COUNT}
    return found
