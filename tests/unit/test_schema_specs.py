"""The canonical schemas and the tables of the lakehouse say the same, both ways."""

from __future__ import annotations

import pytest

from quant_sdk.lakehouse.catalog import EXCHANGE_VERSIONS, EXECUTION_VERSIONS, SYMBOL_VERSIONS
from quant_sdk.lakehouse.causes import EMPTY
from quant_sdk.lakehouse.specs import TABLES, VERIFIED_EMPTY
from quant_sdk.schemas import FileSchemaRegistry
from quant_sdk.schemas.dtypes import column_of, empty, polars_schema

UNSTORED = {"ticks", "quotes"}
SCHEMAS = FileSchemaRegistry()


@pytest.mark.parametrize("name", sorted(TABLES))
def test_every_table_has_the_columns_of_its_schema(name):
    spec, schema = TABLES[name], SCHEMAS.get(name)
    assert polars_schema(schema) == spec.columns
    assert list(schema.names) == list(spec.columns)
    assert {each.name for each in schema.columns if each.nullable} == set(spec.nullable)
    assert empty(schema).equals(spec.empty)
    assert empty(schema).schema == spec.empty.schema


def test_every_schema_is_a_table_or_is_known_to_be_none():
    assert set(SCHEMAS.names()) == set(TABLES) | UNSTORED


@pytest.mark.parametrize("name", SCHEMAS.names())
def test_the_types_of_a_schema_come_back_from_polars(name):
    for each in SCHEMAS.get(name).columns:
        back = column_of(each.name, polars_schema(SCHEMAS.get(name))[each.name], nullable=True)
        assert (back.dtype, back.timezone) == (each.dtype, each.timezone)


def test_versions_are_named_by_what_the_catalog_closes_them_by():
    for of in (SYMBOL_VERSIONS, EXECUTION_VERSIONS, EXCHANGE_VERSIONS):
        assert SCHEMAS.get(of.spec.name).key == (of.key, "valid_from")


def test_the_causes_of_empty_intervals_are_those_that_holes_writes():
    causes = SCHEMAS.get(VERIFIED_EMPTY.name).column("cause")
    assert set(causes.enumeration) == EMPTY


def test_features_are_keyed_as_their_store_keys_them():
    from quant_sdk.features.store import KEY

    assert SCHEMAS.get("features").key == KEY
