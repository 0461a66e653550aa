from __future__ import annotations

import sys
from importlib.metadata import EntryPoint

import pytest
from _stages import BY_ID, STAGES, stage_of

from quant_registry import discovery
from quant_registry.errors import BrokenPlugin, DuplicateStage, InvalidIdentifier, UnknownStage
from quant_registry.registry import StageRegistry
from quant_registry.spec import StageSpec


def _announce(monkeypatch, *points: EntryPoint) -> None:
    monkeypatch.setattr(discovery, "entry_points", lambda group: list(points))


def _point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name=name, value=value, group=discovery.GROUP)


def test_a_registry_is_an_ordinary_container(registry):
    assert "test.count" in registry
    assert "test.none" not in registry
    assert [spec.id for spec in registry] == sorted(spec.id for spec in STAGES)
    assert len(registry) == len(STAGES)
    assert f"{len(STAGES)} stages" in repr(registry)


def test_stages_are_found_by_category_and_tag(registry):
    assert [spec.id for spec in registry.find(tag="counting")] == ["test.count"]
    assert {spec.id for spec in registry.find(category="other")} == {"test.boom", "test.free"}
    assert registry.find(category="none") == []


def test_a_duplicate_is_refused_and_nothing_of_its_tuple_is_added(registry):
    new = stage_of(lambda run, params: None, "test.new")
    with pytest.raises(DuplicateStage):
        registry.register((new, BY_ID["test.noop"]))
    assert "test.new" not in registry


def test_an_unknown_stage_answers_with_the_nearest(registry):
    with pytest.raises(UnknownStage, match=r"test\.cuont") as caught:
        registry["test.cuont"]
    assert "test.count" in caught.value.fix


def test_stage_ids_are_dotted_words():
    with pytest.raises(InvalidIdentifier):
        StageSpec(id="Nope", category="a", title="t", body="x:y")


def test_a_part_that_cannot_be_imported_is_a_broken_plugin():
    spec = StageSpec(id="a.b", category="a", title="t", body="no_such_module:x")
    with pytest.raises(BrokenPlugin, match=r"body of a\.b"):
        spec.load("body")
    assert spec.load("params") is None


def test_declaring_and_listing_imports_no_body(registry):
    assert all(spec.to_dict()["id"] for spec in registry)
    spec = StageSpec(id="a.b", category="a", title="t", body="no_such_module:x")
    assert spec.to_dict()["id"] == "a.b"


def test_plugins_come_in_by_entry_points_and_a_broken_one_is_listed(monkeypatch):
    _announce(monkeypatch, _point("good", "_stages:STAGES"), _point("bad", "no_such:STAGES"))
    registry = StageRegistry.discover()
    assert "test.count" in registry
    assert isinstance(registry.broken["entry point bad"], BrokenPlugin)
    assert "1 broken" in repr(registry)


def test_what_is_no_tuple_of_stages_is_broken(monkeypatch):
    _announce(monkeypatch, _point("bad", "_stages:BY_ID"))
    assert "not a tuple" in StageRegistry.discover().broken["entry point bad"].message


def test_a_plugin_that_exits_on_import_is_listed(monkeypatch, tmp_path):
    (tmp_path / "exiting_plugin.py").write_text("import sys\nsys.exit(3)\n")
    monkeypatch.syspath_prepend(tmp_path)
    _announce(monkeypatch, _point("bad", "exiting_plugin:STAGES"))
    assert "SystemExit" in StageRegistry.discover().broken["entry point bad"].message


def test_two_plugins_with_one_id_keep_the_first_and_list_the_second(monkeypatch):
    _announce(monkeypatch, _point("a", "_stages:STAGES"), _point("b", "_stages:STAGES"))
    registry = StageRegistry.discover()
    assert len(registry) == len(STAGES)
    assert isinstance(registry.broken["entry point b"], DuplicateStage)


def test_a_workspace_adds_its_own_stages(monkeypatch, workspace):
    _announce(monkeypatch)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (workspace.root / "own_stages_of_a_test.py").write_text(
        "from quant_registry.spec import StageSpec\n"
        "STAGES = (StageSpec(id='own.stage', category='own', title='t', body='x:y'),)\n"
    )
    workspace.settings.write_text('stages: ["own_stages_of_a_test:STAGES", "none:STAGES"]\n')
    registry = StageRegistry.discover(workspace)
    assert "own.stage" in registry
    assert list(registry.broken) == ["quant.yml none:STAGES"]


@pytest.mark.parametrize("text", ["stages: [", "stages: x", "- a", "stages: [1]", "\x00"])
def test_a_malformed_quant_yml_is_listed_as_broken(monkeypatch, workspace, text):
    _announce(monkeypatch)
    workspace.settings.write_text(text)
    assert list(StageRegistry.discover(workspace).broken) == ["quant.yml"]


def test_an_empty_quant_yml_adds_nothing(monkeypatch, workspace):
    _announce(monkeypatch)
    workspace.settings.write_text("")
    registry = StageRegistry.discover(workspace)
    assert len(registry) == 0
    assert not registry.broken
