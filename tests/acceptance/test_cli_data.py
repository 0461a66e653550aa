"""The data commands, on the committed demo after one migration."""

from __future__ import annotations

import json
import shutil
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from _quant import Quant

ROOT = Path(__file__).resolve().parents[2]
STAGE = "ops.migration.dataops_v2"
SERIES = ("BINANCE:ADABTC", "5m")


def fresh_clone(root: Path) -> Quant:
    """A workspace with the committed inputs and nothing else."""
    for name in ("data/demo", "configs"):
        shutil.copytree(ROOT / name, root / name)
    shutil.copy(ROOT / "data" / "manifest.json", root / "data" / "manifest.json")
    if not entry_points(group="quant_sdk.stages"):  # a checkout that is not installed
        (root / "quant.yml").write_text('stages: ["quant_stages:STAGES"]\n')
    return Quant(root)


@pytest.fixture(scope="module")
def migrated(tmp_path_factory) -> Quant:
    quant = fresh_clone(tmp_path_factory.mktemp("migrated"))
    assert quant("stage", "run", STAGE).returncode == 0
    return quant


@pytest.fixture
def copied(migrated, tmp_path) -> Quant:
    """The migrated workspace, free to be damaged."""
    return Quant(Path(shutil.copytree(migrated.root, tmp_path / "copy")))


def test_a_dry_run_succeeds_in_a_fresh_clone_and_writes_nothing(tmp_path):
    quant = fresh_clone(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    answer = quant.json("stage", "run", STAGE, "--dry-run")
    assert answer["ok"] is True
    assert answer["rehearsal"]["rows"] > 0
    assert sorted(tmp_path.rglob("*")) == before


def test_tables_show_versions_and_sizes(migrated):
    tables = {table["name"]: table for table in migrated.json("lakehouse", "tables")["tables"]}
    assert tables["bars"]["rows"] > 0
    assert "quarantine" in migrated("lakehouse", "tables").stdout


def test_bars_come_page_by_page(migrated):
    whole = migrated.json("lakehouse", "bars", *SERIES, "--limit", "100000")
    assert (whole["truncated"], whole["next_cursor"]) == (False, None)
    seen, cursor = [], []
    while cursor is not None:
        page = migrated.json("lakehouse", "bars", *SERIES, "--limit", "250", *cursor)
        seen += page["bars"]
        cursor = ["--start", page["next_cursor"]] if page["truncated"] else None
    assert seen == whole["bars"]
    assert len(migrated.json("lakehouse", "bars", *SERIES)["bars"]) == 100
    assert "more: --start" in migrated("lakehouse", "bars", *SERIES).stdout


def test_an_interval_of_bars_is_half_open(migrated):
    interval = ("--start", "2024-03-01T00:10:00Z", "--end", "2024-03-01T00:20:00Z")
    bars = migrated.json("lakehouse", "bars", *SERIES, *interval)["bars"]
    assert [bar["ts"] for bar in bars] == ["2024-03-01T00:10:00Z", "2024-03-01T00:15:00Z"]


def test_an_unknown_series_answers_with_the_nearest(migrated):
    error = migrated.json("lakehouse", "bars", "BINANCE:ADABTX", "5m", exits=3)["error"]
    assert error["code"] == "no_data"
    assert "BINANCE:ADABTC" in error["fix"]


def test_coverage_counts_every_gap_and_lists_some(migrated):
    [series] = migrated.json("lakehouse", "coverage", "--symbol", SERIES[0], "--gaps", "1")[
        "series"
    ]
    assert series["gap_count"] > len(series["gaps"]) == 1
    assert series["expected"] == series["present"] - series["outside"] + series["missing"]
    cut = migrated.json("lakehouse", "coverage", "--limit", "1")
    assert (len(cut["series"]), cut["truncated"]) == (1, True)
    assert "missing in [2024-" in migrated("lakehouse", "coverage").stdout


def test_quarantine_names_rule_and_reason(migrated):
    [entry, *_] = migrated.json("quarantine", "list")["quarantine"]
    rows = migrated.json("quarantine", "show", "--rule", entry["rule"])["rows"]
    assert {row["rule"] for row in rows} == {entry["rule"]}
    assert all(row["reason"] for row in rows)
    assert migrated.json("quarantine", "show", "--limit", "1")["truncated"] is True


def test_a_rule_that_refused_nothing_is_answered_with_those_that_did(migrated):
    known = {entry["rule"] for entry in migrated.json("quarantine", "list")["quarantine"]}
    said = migrated("quarantine", "show", "--rule", "nope").stdout
    assert said.startswith("no rows of rule nope; there are: ")
    assert all(rule in said for rule in known)
    said = migrated("quarantine", "show", "--symbol", "X:NOBODY").stdout
    assert said.startswith("no rows of symbol X:NOBODY; there are: ")
    replayed = migrated("quarantine", "replay", "--rule", "nope", "--dry-run")
    assert "no rows of rule nope; there are: " in replayed.stderr


def test_quarantined_rows_are_as_wide_as_the_terminal(migrated):
    lines = migrated("quarantine", "show", COLUMNS="100").stdout.splitlines()
    assert lines[0].split() == ["SYMBOL", "TIMEFRAME", "TS", "RULE", "REASON"]
    assert max(map(len, lines)) <= 100


def test_a_snapshot_is_verified_and_damage_is_found(copied):
    [listed] = copied.json("snapshot", "list")["snapshots"]
    assert copied.json("snapshot", "verify")["ok"] is True
    part = next((copied.root / "data" / "snapshots").rglob("*.parquet"))
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    answer = copied.json("snapshot", "verify", listed["id"], exits=1)
    assert answer["ok"] is False
    assert part.name in json.dumps(answer["snapshots"][0]["problems"])
    assert part.name in copied("snapshot", "verify").stdout
    assert copied.json("snapshot", "verify", "nothing", exits=3)["error"]["fix"]


def test_a_wiped_lakehouse_is_empty_and_history_stays(copied):
    assert copied.json("lakehouse", "wipe", "--yes")["removed"] is True
    assert copied.json("lakehouse", "tables")["tables"] == []
    assert copied.json("lakehouse", "coverage")["series"] == []
    assert len(copied.json("run", "list")["runs"]) == 1
    assert copied.json("snapshot", "verify")["ok"] is True
    assert copied.json("stage", "run", STAGE)["state"] == "succeeded"
    assert copied.json("lock", "show", STAGE)["locks"][0]["epoch"] == 2
