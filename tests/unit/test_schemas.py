from __future__ import annotations

import jsonschema
import pytest

from quant_registry.errors import UnknownSchema
from quant_registry.schemas import read_schema, schema_names

PROMISED = {"audit", "candidates", "checkpoint", "control", "lock", "run", "status"}
SEED_STATUS = {
    "phase": "ingestion",
    "last_update": "2026-02-03T10:00:00Z",
    "health_check": "passed",
    "candidate_count": 150,
    "lock_id": "agent-session-xyz-123",
    "can_resume": True,
}


def test_every_file_of_the_contract_has_a_schema():
    assert set(schema_names()) >= PROMISED


@pytest.mark.parametrize("name", sorted(PROMISED))
def test_every_field_of_a_schema_is_described(name):
    schema = read_schema(name)
    assert schema["description"]
    for field, part in schema["properties"].items():
        assert part.get("description") or part.get("oneOf"), field


@pytest.mark.parametrize("name", schema_names())
def test_a_schema_is_valid_and_named(name):
    schema = read_schema(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$id"].startswith(f"urn:quant-stage-sdk:{name}/")
    assert schema["title"]
    assert schema["title"]


def test_an_unknown_schema_answers_with_the_nearest():
    with pytest.raises(UnknownSchema) as caught:
        read_schema("statsu")
    assert "status" in caught.value.fix


def test_the_status_has_the_seeds_fields_and_values():
    # req: seed-status-fields
    # req: seed-status-phase
    # req: health-check
    properties = read_schema("status")["properties"]
    assert set(SEED_STATUS) <= set(properties)
    for field, value in SEED_STATUS.items():
        jsonschema.validate(value, properties[field])
    assert properties["phase"]["enum"] == ["ingestion", "verification", "complete", None]
    assert properties["health_check"]["enum"] == ["pending", "passed", "degraded", "failed", None]


@pytest.mark.parametrize(
    ("document", "valid"),
    [
        ({"action": "pause"}, True),
        ({"directives": []}, True),
        ({"directives": [{"action": "cancel", "scope": "a.b"}]}, True),
        ({}, False),
        ({"action": "stop"}, False),
        ({"directives": [{"scope": "*"}]}, False),
    ],
)
def test_the_control_schema_takes_both_forms_and_nothing_else(document, valid):
    assert jsonschema.Draft202012Validator(read_schema("control")).is_valid(document) is valid


def test_candidates_need_symbol_exchange_and_asset_type():
    validator = jsonschema.Draft202012Validator(read_schema("candidates"))
    entry = {"symbol": "BINANCE:ADABTC", "exchange": "BINANCE", "asset_type": "crypto"}
    assert validator.is_valid({"meta": {}, "data": [entry, {**entry, "timeframe": "5m"}]})
    for field in entry:
        less = {key: value for key, value in entry.items() if key != field}
        assert not validator.is_valid({"meta": {}, "data": [less]})
