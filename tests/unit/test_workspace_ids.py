from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from _stages import BY_ID, stage_of
from hypothesis import given
from hypothesis import strategies as st

from quant_registry.errors import InvalidIdentifier, InvalidInput, OutsideWorkspace
from quant_registry.ids import check_label, check_run_id, check_stage_id, new_run_id
from quant_registry.ids import stage_of_run_id as stage_part
from quant_registry.spec import StageSpec
from quant_registry.workspace import Workspace

HOSTILE = ["", ".", "..", "a/..", "../x", "/etc", "a\x00b", "a\nb", "a" * 129, "-rf", "a..b", "ä"]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_no_identifier(text, workspace):
    for check in (check_run_id, check_stage_id, lambda text: check_label(text, "actor")):
        with pytest.raises(InvalidIdentifier):
            check(text)
    with pytest.raises(InvalidIdentifier):
        workspace.run_dir(text)


@given(st.text())
def test_a_run_id_that_passes_names_one_folder_below(text):
    root = Path("/runs")
    try:
        folder = root / check_run_id(text)
    except InvalidIdentifier:
        return
    assert folder.parent == root
    assert folder.resolve() == folder


def test_run_ids_sort_by_time_within_a_second_and_name_their_stage():
    now = datetime(2026, 2, 3, 10, tzinfo=UTC)
    ids = [new_run_id("a.b", now + timedelta(microseconds=n)) for n in range(50)]
    assert ids == sorted(ids)
    assert all(check_run_id(name) and stage_part(name) == "a.b" for name in ids)


def test_a_workspace_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="not a folder"):
        Workspace.resolve(tmp_path / "none")


def test_the_root_comes_from_the_caller_then_the_environment_then_the_folder(tmp_path, monkeypatch):
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "c")
    environ = {"QUANT_WORKSPACE": str(tmp_path / "b")}
    assert Workspace.resolve(tmp_path / "a", environ).root.name == "a"
    assert Workspace.resolve(None, environ).root.name == "b"
    assert Workspace.resolve(None, {}).root.name == "c"


def test_the_files_stand_where_the_seed_has_them(workspace):
    # req: seed-audit-path
    # req: seed-status-path
    # req: seed-control-path
    spec = stage_of(lambda run, params: None, "ops.migration.dataops_v2")
    named = StageSpec(
        id=spec.id, category="ops", title="t", body="x:y", status_file="migration_status.json"
    )
    show = workspace.display
    assert show(workspace.audit) == "data/artifacts/audit.jsonl"
    assert show(workspace.control) == "data/lakehouse/migration_control.json"
    assert show(workspace.status_file(named, "r")) == "data/lakehouse/migration_status.json"
    assert show(workspace.status_file(BY_ID["test.noop"], "r")) == (
        "data/lakehouse/status/test.noop.json"
    )
    assert show(workspace.status_file(BY_ID["test.free"], "r1")) == (
        "data/artifacts/runs/r1/status.json"
    )


@pytest.mark.parametrize("path", ["..", "../x", "data/../../x", "/etc/passwd"])
def test_a_path_out_of_the_workspace_is_refused(workspace, path):
    with pytest.raises(OutsideWorkspace):
        workspace.inside(Path(path))


def test_a_symbolic_link_out_of_the_workspace_is_refused(workspace, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (workspace.root / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutsideWorkspace):
        workspace.inside(workspace.root / "link" / "x.json")


@pytest.mark.parametrize(
    "name", ["", "x", "a/b.json", "../x.json", ".json", "migration_control.json"]
)
def test_a_status_file_that_is_no_plain_name_of_its_own_is_refused(name):
    with pytest.raises(InvalidInput, match="status_file"):
        StageSpec(id="a.b", category="a", title="t", body="x:y", status_file=name)
