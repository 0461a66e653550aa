"""Every rule against its pair in tests/conformance/rules/<id>: what goes in, what is found."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from pathlib import Path

import polars as pl
import pytest

from quant_sdk.conformance import PRESETS, Asked, ConformancePipeline, Rule, RuleRegistry
from quant_sdk.conformance import rule_registry as module
from quant_sdk.conformance.rules import BUILT_IN
from quant_sdk.errors import Conflict, UnknownName
from quant_sdk.schemas import FileSchemaRegistry
from quant_sdk.schemas.dtypes import polars_schema

PAIRS = Path(__file__).parents[1] / "conformance" / "rules"
BY_ID = {rule.id: rule for rule in BUILT_IN}


def frame_of(kind: str, rows: list[dict]) -> pl.DataFrame:
    schema = FileSchemaRegistry().get(kind)
    types = polars_schema(schema, schema.required)
    text = {name: pl.String if name == "ts" else dtype for name, dtype in types.items()}
    plain = [
        {name: float(value) if value in ("NaN", "inf") else value for name, value in row.items()}
        for row in rows
    ]
    ts = pl.col("ts").str.to_datetime(time_unit="us", time_zone="UTC")
    return pl.DataFrame(plain, schema=text, orient="row").with_columns(ts)


def outcome(given: dict) -> dict:
    pipeline = ConformancePipeline.partial_ok(
        True, kind=given["kind"], thresholds=given.get("thresholds")
    )
    frame = frame_of(given["kind"], given["rows"])
    result = pipeline.run(frame, node="pair", **given.get("window", {}))
    return {
        "verdict": result.report.verdict,
        "counts": {each.rule: each.count for each in result.report.rules if each.count},
        "quarantined": [list(row) for row in result.quarantined["row", "rule", "reason"].rows()],
    }


@pytest.mark.parametrize("rule", BY_ID)
def test_each_rule_finds_what_its_pair_says_and_nothing_else(rule):
    given = json.loads((PAIRS / rule / "input.json").read_text())
    expected = json.loads((PAIRS / rule / "expected.json").read_text())
    assert outcome(given) == expected
    assert expected["counts"][rule] > 0
    assert given["kind"] == BY_ID[rule].kind


def test_every_pair_belongs_to_a_rule():
    assert {path.name for path in PAIRS.iterdir()} == set(BY_ID)


def test_a_rule_stands_in_a_file_of_its_name_with_a_function_of_its_name():
    for rule in BUILT_IN:
        found = __import__(f"quant_sdk.conformance.rules.{rule.id}", fromlist=["RULE"])
        assert rule is found.RULE
        if rule.id != "return_after_gap":  # return_spike, on the other side of a gap
            assert hasattr(found, rule.id)
        assert rule.measures
        assert rule.source


def test_presets_give_every_threshold_and_name_rules_that_there_are():
    limits = {name for rule in BUILT_IN for name in rule.thresholds}
    codes = {"unexpected_column"}
    for preset in PRESETS.values():
        assert preset.thresholds.keys() == limits
        assert preset.severities.keys() <= BY_ID.keys() | codes


def test_the_strict_preset_is_what_the_rules_declare():
    strict = PRESETS["strict-blocking"]
    limits = {name: value for rule in BUILT_IN for name, value in rule.thresholds.items()}
    assert strict.thresholds == limits
    assert not strict.severities


OWN = Rule(
    id="round_close",
    kind="bars",
    severity="warn",
    measures="closes that are whole numbers",
    source="this test",
    bad=lambda asked: pl.col("close") % asked.limit("roundness") == 0,
    thresholds={"roundness": 5.0},
)
PLUGIN = (OWN,)


@pytest.fixture
def plugins(monkeypatch):
    """Announce rules as an installed package would."""

    def announce(*values: str) -> None:
        points = [
            EntryPoint(f"p{place}", value, module.GROUP) for place, value in enumerate(values)
        ]
        monkeypatch.setattr(module, "entry_points", lambda group: points)

    return announce


def test_a_plugins_rule_is_asked_with_its_own_threshold(plugins):
    plugins(f"{__name__}:PLUGIN")
    rows = json.loads((PAIRS / "off_grid" / "input.json").read_text())["rows"][:2]
    rows[1]["close"] = 10.0
    report = ConformancePipeline().run(frame_of("bars", rows), node="n").report
    assert report.flagged == {"round_close": 1}
    assert report.verdict == "warn"
    assert ConformancePipeline(thresholds={"roundness": 1}).run(
        frame_of("bars", rows), node="n"
    ).report.flagged == {"round_close": 2}


def test_a_plugin_that_cannot_be_imported_is_named_and_blocks(plugins):
    plugins("no_such_module_at_all:RULES")
    registry = RuleRegistry.discover()
    assert "no_such_module_at_all" in registry.broken["entry point p0"].message
    rows = json.loads((PAIRS / "off_grid" / "input.json").read_text())["rows"][:2]
    report = ConformancePipeline.shadow().run(frame_of("bars", rows), node="n").report
    assert report.verdict == "block"
    assert report.flagged == {"entry point p0": 1}


def test_an_id_that_is_taken_is_refused_and_none_of_its_tuple_comes_in(plugins):
    registry = RuleRegistry()
    with pytest.raises(Conflict, match="declared twice"):
        registry.register((OWN, BUILT_IN[0]))
    assert "round_close" not in registry
    registry.register((OWN,))
    assert registry["round_close"] is OWN
    assert len(registry) == len(BUILT_IN) + 1
    assert repr(registry) == f"<RuleRegistry: {len(registry)} rules, 0 broken plugins>"


def test_an_unknown_rule_answers_with_the_nearest():
    with pytest.raises(UnknownName) as error:
        ConformancePipeline(rules=["ohlc_ordr"])
    assert error.value.near[0] == "ohlc_order"


def test_named_rules_are_asked_beside_those_that_part_bars():
    asked = [rule.id for rule in ConformancePipeline(rules=["ohlc_order"]).setting.rules]
    assert asked == ["timestamp_missing", "off_grid", "ohlc_order", "duplicate_conflict"]


def test_a_rule_without_the_threshold_it_needs_says_so():
    with pytest.raises(ValueError, match="max_return has no value"):
        Asked(thresholds={"max_return": None}).limit("max_return")
