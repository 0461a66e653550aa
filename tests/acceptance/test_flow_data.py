"""The daily cycle as its users run it: by `make`, from a clean slate to production."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import polars as pl
import pytest
from _checkout import Checkout, checkout, without_network
from _legacy import bars, write_flat, write_manifest
from _quant import Quant

if TYPE_CHECKING:
    from pathlib import Path

DAYS = 30
_MADE_ELSEWHERE = "embedded:"


@pytest.fixture(scope="module")
def cycled(tmp_path_factory) -> Path:
    """A clean slate, after one `make flow-data`."""
    demo = checkout(tmp_path_factory.mktemp("demo"))
    done = demo.make("flow-data")
    assert done.returncode == 0, done.stdout + done.stderr
    return demo.root


@pytest.fixture
def demo(cycled, tmp_path) -> Checkout:
    """A copy of it, for one test."""
    shutil.copytree(cycled, tmp_path, dirs_exist_ok=True)
    return Checkout(tmp_path)


def test_a_cycle_leaves_candidates_bars_and_technicals(cycled):
    [path] = (cycled / "data" / "export").glob("*/candidates.json")
    candidates = json.loads(path.read_bytes())
    assert candidates["meta"]["count"] == len(candidates["data"]) > 0
    assert list((cycled / "data" / "lakehouse" / "bars").rglob("*.parquet"))
    assert list((cycled / "data" / "lakehouse" / "features").rglob("*.parquet"))
    features = pl.scan_delta(str(cycled / "data" / "lakehouse" / "features"))
    counts = dict(features.group_by("source").len().collect().iter_rows())
    assert set(counts) == {"talib", "embedded:scanner"}
    technicals = features.filter(pl.col("source") == "embedded:scanner").collect()
    assert technicals["recommend_all"].count() > 0


def test_what_is_invented_says_so(cycled):
    held = pl.scan_delta(str(cycled / "data" / "lakehouse" / "bars"))
    sources = held.select(pl.col("source").unique()).collect()["source"].to_list()
    assert sources
    assert all(source.startswith(_MADE_ELSEWHERE) for source in sources)


def test_every_step_of_the_cycle_is_a_run_of_its_own(cycled):
    [whole] = Quant(cycled).json("run", "list", "--stage", "ops.flow_data")["runs"]
    steps = Quant(cycled).json("run", "show", whole["run_id"])["result"]["steps"]
    assert [step["stage_id"] for step in steps] == [
        "data.discover",
        "data.ingest",
        "data.repair",
        "data.metadata",
        "data.features",
        "lakehouse.optimize",
        "data.verify",
        "data.snapshot",
    ]
    assert {step["state"] for step in steps} == {"succeeded"}


def test_the_second_cycle_of_a_day_finds_the_same_bars(demo):
    before = demo.json("lakehouse", "tables")["tables"]
    done = demo.make("flow-data")
    assert done.returncode == 0, done.stderr
    rows = [{item["name"]: item["rows"] for item in tables} for tables in (before, _tables(demo))]
    # A bar may have closed meanwhile.
    assert rows[0]["bars"] <= rows[1]["bars"] <= rows[0]["bars"] + 2 * _series(demo)
    assert rows[0]["symbols"] == rows[1]["symbols"]


def test_production_passes_with_the_network_cut_off(demo):
    cut = without_network()
    if cut is None:
        pytest.skip("unshare -n is not possible here")
    done = demo.make("flow-production", before=cut)
    assert done.returncode == 0, done.stdout + done.stderr
    [matrix] = (demo.root / "data" / "export").glob("*/returns_matrix.parquet")
    returns = pl.read_parquet(matrix)
    assert returns.width - 1 == _series(demo)
    handed_on = json.loads(matrix.with_name("candidates.json").read_bytes())["data"]
    assert [item["symbol"] for item in handed_on] == returns.columns[1:]
    [run] = demo.json("run", "list", "--stage", "ops.flow_production")["runs"]
    told = demo("run", "tail", run["run_id"], "--json").stdout.splitlines()
    guard = [event for event in map(json.loads, told) if event["event"] == "network_guard"]
    assert [event["attempts"] for event in guard] == [0, 0]


def test_production_without_a_cycle_names_the_command(tmp_path):
    clean = checkout(tmp_path)
    done = clean.make("flow-production")
    assert "make flow-data" in done.stderr
    assert "Error 3" in done.stderr
    assert not (tmp_path / "data" / "export").exists()


def test_stale_data_is_refused_and_used_loudly_where_it_is_allowed(tmp_path):
    demo = checkout(tmp_path)
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    first = int((today - timedelta(days=DAYS + 10)).timestamp())
    write_flat(tmp_path / "data" / "old", "AAUSDT", bars(DAYS, start=first, step=86_400), "1d")
    write_manifest(tmp_path, [{"path": "old", "layout": "flat_v1"}])
    assert demo.make("migrate").returncode == 0
    refused = demo.make("flow-production")
    assert "Error 3" in refused.stderr
    assert "make flow-data" in refused.stderr
    assert not list((tmp_path / "data" / "export").glob("*/returns_matrix.parquet"))
    allowed = demo.make("flow-production", "ARGS=--allow-stale")
    assert allowed.returncode == 0, allowed.stderr
    assert "warning: STALE DATA IS USED" in allowed.stderr


def _tables(demo: Checkout) -> list[dict]:
    return demo.json("lakehouse", "tables")["tables"]


def _series(demo: Checkout) -> int:
    return len(demo.json("lakehouse", "coverage")["series"])
