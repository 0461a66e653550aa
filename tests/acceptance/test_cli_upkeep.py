"""Upkeep as a user runs it, on the committed demo after one migration."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from _quant import Quant
from test_cli_data import STAGE, fresh_clone

SYMBOL = "BINANCE:ADABTC"


@pytest.fixture(scope="module")
def migrated(tmp_path_factory) -> Quant:
    quant = fresh_clone(tmp_path_factory.mktemp("migrated"))
    assert quant("stage", "run", STAGE).returncode == 0
    return quant


@pytest.fixture
def copied(migrated, tmp_path) -> Quant:
    """The migrated workspace, free to be changed."""
    return Quant(Path(shutil.copytree(migrated.root, tmp_path / "copy")))


def bars(quant: Quant) -> int:
    tables = quant.json("lakehouse", "tables")["tables"]
    return next(table["rows"] for table in tables if table["name"] == "bars")


def newest(quant: Quant) -> dict:
    return quant.json("lakehouse", "history", "--limit", "1")["versions"][0]


def test_history_lists_versions_newest_first(migrated):
    answer = migrated.json("lakehouse", "history")
    numbers = [item["version"] for item in answer["versions"]]
    assert numbers == sorted(numbers, reverse=True)
    assert answer["versions"][0]["rows"] == bars(migrated)
    assert answer["versions"][0]["stage_id"] == STAGE
    assert answer["truncated"] is False
    assert "restorable" in migrated("lakehouse", "history").stdout.lower()
    assert migrated.json("lakehouse", "history", "--table", "features")["versions"] == []
    error = migrated.json("lakehouse", "history", "--table", "bar", exits=2)["error"]
    assert "bars" in error["fix"]


def test_a_dry_run_tells_and_writes_nothing(copied):
    run_id = copied.json("run", "list")["runs"][0]["run_id"]
    before = sorted(copied.root.rglob("*"))
    for args, key in (
        (("lakehouse", "optimize"), "partitions"),
        (("lakehouse", "restore", "--version", "0"), "withdrawn"),
        (("lakehouse", "undo", run_id), "withdrawn"),
        (("quarantine", "replay"), "published"),
    ):
        answer = copied.json(*args, "--dry-run")
        assert answer["ok"] is True
        assert key in answer["rehearsal"]
    assert "nothing was written" in copied("quarantine", "replay", "--dry-run").stdout
    assert copied.json("snapshot", "create", "--dry-run")["ok"] is True
    assert sorted(copied.root.rglob("*")) == before


def test_optimize_makes_fewer_files_and_answers_as_its_stage(copied):
    rows = bars(copied)
    answer = copied.json("lakehouse", "optimize", "--small-files", "1", "--actor", "me")
    assert (answer["state"], answer["stage_id"]) == ("succeeded", "lakehouse.optimize")
    assert answer["result"]["files_after"] <= answer["result"]["files_before"]
    assert bars(copied) == rows
    again = copied("lakehouse", "optimize", "--small-files", "1", "--no-vacuum")
    assert "nothing to do" in again.stdout
    assert copied.json("lakehouse", "optimize", "--retention-hours", "1", exits=2)["error"]["fix"]


def test_undo_and_replay_go_there_and_back(copied):
    rows = bars(copied)
    run_id = copied.json("run", "list")["runs"][0]["run_id"]
    undone = copied.json("lakehouse", "undo", run_id)["result"]
    assert undone["withdrawn"] == rows
    assert bars(copied) == 0
    rules = {item["rule"] for item in copied.json("quarantine", "list")["quarantine"]}
    assert "withdrawn" in rules
    assert copied.json("quarantine", "replay")["result"]["published"] == 0
    back = copied.json("quarantine", "replay", "--rule", "withdrawn", "--symbol", SYMBOL)["result"]
    assert back["published"] == bars(copied) > 0
    assert copied.json("stage", "run", STAGE)["result"]["health_check"] in {"passed", "degraded"}
    assert copied.json("lakehouse", "undo", "nobody", exits=2)["error"]["code"] == "unknown_run"


def test_restore_goes_back_and_forth(copied):
    there = newest(copied)["version"]
    rows = bars(copied)
    answer = copied.json("lakehouse", "restore", "--version", "0")
    assert answer["result"]["withdrawn"] == rows
    last = newest(copied)
    assert (last["operation"], last["rows"]) == ("restore", 0)
    assert copied.json("lakehouse", "restore", "--version", str(there))["result"]["brought"] == rows
    assert bars(copied) == rows
    assert copied.json("stage", "run", STAGE)["state"] == "succeeded"
    error = copied.json("lakehouse", "restore", "--version", "99", exits=2)["error"]
    assert "lakehouse history" in error["fix"]


def test_a_snapshot_reads_as_it_was_whatever_comes(copied):
    made = copied.json("snapshot", "create")["result"]
    assert made["reused"] is True  # the migration made one of this state
    before = copied.json("snapshot", "read", made["snapshot"], "--symbol", SYMBOL, "--limit", "5")
    assert len(before["rows"]) == 5
    assert before["truncated"] is True
    run_id = copied.json("run", "list", "--stage", STAGE)["runs"][0]["run_id"]
    copied.json("lakehouse", "undo", run_id)
    args = ("snapshot", "read", made["snapshot"], "--symbol", SYMBOL, "--limit", "5")
    assert copied.json(*args) == before
    assert copied.json("snapshot", "create")["result"]["reused"] is False
    assert len(copied.json("snapshot", "list")["snapshots"]) == 2
    assert copied.json("snapshot", "verify")["ok"] is True


def test_a_table_of_a_snapshot_is_read_by_name(migrated):
    [listed] = migrated.json("snapshot", "list")["snapshots"]
    rows = migrated.json("snapshot", "read", listed["id"], "--table", "quarantine")["rows"]
    assert all(row["rule"] for row in rows)
    assert rows
    assert (
        "rule" in migrated("snapshot", "read", listed["id"], "--table", "quarantine").stdout.lower()
    )
    args = ("snapshot", "read", listed["id"], "--timeframe", "3w")
    assert migrated.json(*args)["rows"] == []
    unknown = ("snapshot", "read", listed["id"], "--table", "bar")
    assert "bars" in migrated.json(*unknown, exits=2)["error"]["fix"]
    error = migrated.json("snapshot", "read", "nothing", exits=3)["error"]
    assert listed["id"] in error["fix"]
    exchanges = ("snapshot", "read", listed["id"], "--table", "exchanges", "--symbol", SYMBOL)
    assert migrated.json(*exchanges, exits=2)["error"]["code"] == "invalid_input"


def test_a_damaged_snapshot_is_not_read(copied):
    [listed] = copied.json("snapshot", "list")["snapshots"]
    part = next((copied.root / "data" / "snapshots").rglob("bars/**/*.parquet"))
    part.write_bytes(part.read_bytes()[:-1])
    error = copied.json("snapshot", "read", listed["id"], exits=1)["error"]
    assert error["code"] == "corrupted"
    assert part.name in json.dumps(error)


def test_an_empty_lakehouse_is_a_missing_prerequisite(quant):
    for args in (("lakehouse", "undo", "r"), ("quarantine", "replay"), ("snapshot", "create")):
        error = quant.json(*args, exits=3)["error"]
        assert error["code"] == "prerequisites_not_met"
        assert "make" in error["fix"]
