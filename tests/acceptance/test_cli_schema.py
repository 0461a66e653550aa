"""``quant schema`` as people use it: look, compare, approve, promote, and find drift."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from deltalake import write_deltalake

from quant_registry.workspace import Workspace
from quant_sdk.schemas import FileSchemaRegistry
from quant_sdk.schemas.governance import PAGE
from quant_sdk.testing import FakeClock

SECONDS_OF_A_DAY = 86_400


@pytest.fixture
def canary(quant):
    """Seven days on which a response of bars was checked and found clean, until an hour ago."""
    clock = FakeClock(datetime.now(UTC) - timedelta(days=7, hours=1))
    registry = FileSchemaRegistry(Workspace(quant.root), clock=clock)
    for _ in range(7):
        clock.advance(SECONDS_OF_A_DAY)
        registry.check(registry.get("bars"), (), node="daily", rows=10)


def own_version(quant, **fields):
    """Give the workspace a second version of bars; return its file."""
    schema = FileSchemaRegistry().get("bars").to_dict()
    path = quant.root / "configs" / "schemas" / "bars" / "2.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**schema, "version": 2, **fields}))
    return path


def test_data_and_files_are_listed_with_their_kind(quant):
    schemas = quant.json("schema", "list")["schemas"]
    kinds = {schema["name"]: schema["kind"] for schema in schemas}
    assert kinds["bars"] == "data"
    assert kinds["status"] == "file"
    assert len(kinds) == len(schemas)
    (bars,) = [schema for schema in schemas if schema["name"] == "bars"]
    assert (bars["version"], bars["mode"]) == (1, "canary")
    lines = quant("schema", "list").stdout.splitlines()
    assert lines[0].split() == ["KIND", "NAME", "VERSION", "MODE", "TITLE"]
    assert any(line.split()[:4] == ["data", "bars", "1", "canary"] for line in lines)


def test_a_schema_is_shown_with_its_standing(quant, canary):
    quant("schema", "approve", "bars", "--as", "alice")
    shown = quant.json("schema", "show", "bars/1")
    assert shown["key"] == ["symbol", "timeframe", "ts"]
    assert shown["canary"]["days"] == 7
    assert [each["approver"] for each in shown["approvals"]] == ["alice"]
    text = quant("schema", "show", "bars").stdout
    assert "7 clean checks on 7 days" in text
    assert "approved by alice" in text
    assert "quote currency per base unit" in text


def test_two_versions_are_compared(quant):
    assert quant("schema", "diff", "bars", "bars/1").stdout == "nothing differs\n"
    path = own_version(quant, key=["ts", "symbol"])
    for new in ("bars/2", str(path)):
        found = quant.json("schema", "diff", "bars/1", new)
        assert found["breaking"] is True
        assert [each["code"] for each in found["changes"]] == ["key_changed"]
    assert "key_changed" in quant("schema", "diff", "bars/1", "bars/2").stdout
    assert quant.json("schema", "diff", "bars/1", "gone.json", exits=2)["error"]["fix"]


def test_a_schema_is_approved_by_two_and_promoted(quant, canary):
    first = quant.json("schema", "approve", "bars", "--as", "alice")
    assert first["approvers"] == ["alice"]
    assert "1 of 2 approvals" in first["missing"]
    refused = quant.json("schema", "promote", "bars", exits=3)["error"]
    assert "1 of 2 approvals of bars/1" in refused["message"]
    assert "quant schema approve bars/1 --as NAME" in refused["fix"]
    second = quant.json("schema", "approve", "bars/1", "--as", "bob", "--for", "30d")
    assert second["approvers"] == ["alice", "bob"]
    assert second["missing"] == ""

    done = quant.json("schema", "promote", "bars")
    assert done["state"] == "succeeded"
    assert done["result"]["approvers"] == ["alice", "bob"]
    assert done["result"]["fingerprint"] in (quant.root / PAGE).read_text()
    assert quant.json("schema", "show", "bars")["mode"] == "strict"
    (event,) = [
        event
        for line in quant("run", "tail", done["run_id"], "--json").stdout.splitlines()
        if (event := json.loads(line))["event"] == "schema_promoted"
    ]
    assert event["bundle"] == quant.json("schema", "drift")["bundle"]
    assert "nothing to do" in quant("schema", "promote", "bars").stdout


def test_a_dry_run_of_a_promotion_writes_nothing(quant, canary):
    answer = quant.json("schema", "promote", "bars", "--dry-run", exits=3)
    failed = {check["name"] for check in answer["checks"] if check["status"] == "failed"}
    assert failed == {"approvals"}
    assert not (quant.root / PAGE).exists()


def test_a_shorter_window_may_be_asked_for(quant):
    for name in ("alice", "bob"):
        quant("schema", "approve", "ticks", "--as", name)
    registry = FileSchemaRegistry(Workspace(quant.root))
    registry.check(registry.get("ticks"), (), node="live", rows=1)
    refused = quant.json("schema", "promote", "ticks", exits=3)["error"]
    assert "clean checks on 6 more days" in refused["message"]
    assert quant.json("schema", "promote", "ticks", "--window-checks", "2", exits=3)
    assert quant.json("schema", "promote", "ticks", "--window-checks", "1")["state"] == "succeeded"


def test_drift_of_a_live_table_exits_with_8(quant):
    assert quant.json("schema", "drift")["drift"] == []
    path = quant.root / "data" / "lakehouse" / "bars"
    path.parent.mkdir(parents=True)
    write_deltalake(str(path), pl.DataFrame({"symbol": ["X:ADABTC"], "close": ["1.0"]}))
    found = quant.json("schema", "drift", exits=8)
    assert found["breaking"] is True
    (drift,) = found["drift"]
    assert (drift["subject"], drift["schema"]) == ("table", "bars/1")
    told = quant("schema", "drift")
    assert told.returncode == 8
    assert "dtype_changed" in told.stdout


def test_a_broken_schema_is_named_by_its_path_and_hides_no_other(quant):
    path = quant.root / "configs" / "schemas" / "bars" / "3.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"schema": ')
    for command in ("list", "drift"):
        answer = quant.json("schema", command)
        [broken] = answer["broken"]
        assert "configs/schemas/bars/3.json" in broken["message"]
        assert "configs/schemas/bars/3.json" in quant("schema", command).stderr
    names = {each["name"] for each in quant.json("schema", "list")["schemas"]}
    assert {"bars", "ticks"} <= names


def test_a_promotion_whose_state_was_removed_is_drift(quant, canary):
    for name in ("alice", "bob"):
        quant("schema", "approve", "bars", "--as", name)
    assert quant.json("schema", "promote", "bars")["state"] == "succeeded"
    (quant.root / "data" / "artifacts" / "schemas" / "bars" / "state.json").unlink()
    [found] = quant.json("schema", "drift", exits=8)["drift"]
    assert (found["subject"], found["schema"]) == ("approved", "bars/1")
    assert "was promoted" in found["detail"]


def test_an_approver_and_who_recorded_it_stand_side_by_side(quant):
    quant("schema", "approve", "bars", "--as", "alice", "--actor", "shell-7")
    (line,) = (
        (quant.root / "data" / "artifacts" / "schemas" / "approvals.jsonl").read_text().splitlines()
    )
    assert json.loads(line)["approver"] == "alice"
    assert json.loads(line)["actor"] == "shell-7"
