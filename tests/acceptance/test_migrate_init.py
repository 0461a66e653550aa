"""``quant migrate init``: a folder of old files becomes a manifest that a run moves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from _quant import Quant

STAGE = "ops.migration.dataops_v2"
ROOT = Path(__file__).parents[2]
MEASURED = Path(__file__).parents[3] / "shared/data/legacy"
EXCHANGES = (
    *("--exchange", "eurusd*=FXCM"),
    *("--exchange", "okx*=OKX"),
    *("--exchange", "BINANCE"),
)


@pytest.fixture
def demo(tmp_path):
    """``quant`` beside a copy of the demo's files, without its manifest."""
    shutil.copytree(ROOT / "data" / "demo", tmp_path / "data" / "demo")
    return Quant(tmp_path)


def manifest(quant, name="data/manifest.json"):
    return json.loads((quant.root / name).read_bytes())


def test_the_demo_is_understood_and_moved_as_its_own_manifest_moves_it(demo):
    made = demo.json("migrate", "init", "data/demo", *EXCHANGES)
    assert made["manifest"] == "data/manifest.json"
    assert made["counts"]["files"] == 11
    assert {item["path"] for item in made["left_out"]} == {
        "demo/expected.json",
        "demo/lakehouse_v1/BINANCE_XRPUSDT_1h.parquet",
    }
    expected = json.loads((demo.root / "data/demo/expected.json").read_bytes())
    sources = expected["sources"]
    whole = {name: facts for name, facts in sources.items() if not facts.get("torn")}
    assert {item["path"]: (item["symbol"], item["timeframe"]) for item in made["files"]} == {
        name: (facts["symbol"], facts["timeframe"]) for name, facts in whole.items()
    }
    for command in made["next"]:
        assert demo(*command.split()[1:]).returncode == 0
    record = demo.json("stage", "run", STAGE)
    assert record["result"]["message"].startswith("nothing to do")
    coverage = demo.json("lakehouse", "coverage")["series"]
    assert sum(series["present"] for series in coverage) == sum(
        facts["bars"] for facts in whole.values()
    )


def test_what_it_wrote_validates_without_a_finding(demo):
    demo.json("migrate", "init", "data/demo", "--manifest", "data/mine.json", *EXCHANGES)
    answer = demo.json("stage", "validate", STAGE, "--manifest", "data/mine.json")
    assert answer["ok"]
    demo.json("stage", "run", STAGE, "--manifest", "data/mine.json")
    (report,) = (demo.root / "data/artifacts/runs").glob("*/profiles.json")
    text = report.read_text()
    assert json.loads(text)
    assert '"severity": "error"' not in text
    assert '"severity": "warning"' not in text


def test_an_epochs_unit_is_written_with_the_row_that_shows_it(demo):
    demo.json("migrate", "init", "data/demo/csv", *EXCHANGES)
    entries = manifest(demo)["profiles"]["legacy"]["discovery"]["legacy"]
    entry = next(entry for entry in entries if "okx" in entry["path"])
    assert entry["timestamp_unit"] == "ms"
    assert "row 0 of okx-solbtc-m15.csv, 1709251200000, is 2024-03-01" in entry["note"]


def test_people_read_what_was_understood_and_what_was_not(demo):
    done = demo("migrate", "init", "data/demo", "--exchange", "okx*=OKX")
    assert done.returncode == 0
    assert "BINANCE:BTCUSDT" in done.stdout
    assert "okx-solbtc-m15.csv: row 0, 1709251200000, is 2024-03-01T00:00:00" in done.stdout
    assert "left out: demo/pairs/ADA_BTC-5m.feather: its name does not say" in done.stdout
    assert "fix: say whose bars they are" in done.stdout
    assert "wrote profile legacy into data/manifest.json" in done.stdout


def test_a_manifest_that_stands_is_only_added_to(demo):
    demo.json("migrate", "init", "data/demo/lakehouse_v1")
    before = (demo.root / "data/manifest.json").read_text()
    error = demo.json("migrate", "init", "data/demo/pairs", *EXCHANGES, exits=4)["error"]
    assert "--profile" in error["fix"]
    assert (demo.root / "data/manifest.json").read_text() == before
    pairs = ("migrate", "init", "data/demo/pairs", "--profile", "pairs", *EXCHANGES)
    demo.json(*pairs)
    after = manifest(demo)
    assert list(after["profiles"]) == ["legacy", "pairs"]
    assert after["profiles"]["legacy"] == json.loads(before)["profiles"]["legacy"]
    assert demo.json(*pairs, exits=4)["error"]["code"] == "conflict"
    assert demo.json("stage", "validate", STAGE)["plan"]["candidates"] == 10


def test_a_dry_run_and_a_folder_of_nothing_write_nothing(demo):
    looked = demo.json("migrate", "init", "data/demo", "--dry-run", "--limit", "2")
    assert (looked["manifest"], looked["truncated"], len(looked["files"])) == (None, True, 2)
    (demo.root / "none").mkdir()
    nothing = demo.json("migrate", "init", "none", exits=3)
    assert (nothing["manifest"], nothing["entries"]) == (None, [])
    assert not (demo.root / "data/manifest.json").exists()


@pytest.mark.parametrize(
    ("args", "exits"),
    [
        (("nowhere",), 2),
        (("data/demo", "--manifest", "../manifest.json"), 2),
        (("data/demo", "--timezone", "Mars/Base"), 2),
        (("data/demo", "--manifest", "data/demo"), 2),
    ],
)
def test_what_cannot_be_done_is_refused(demo, args, exits):
    error = demo.json("migrate", "init", *args, exits=exits)["error"]
    assert error["fix"]


def test_its_own_tables_are_no_legacy_files(demo):
    demo.json("migrate", "init", "data/demo/lakehouse_v1")
    demo.json("stage", "run", STAGE)
    found = demo.json("migrate", "init", ".", "--dry-run", "--profile", "again")
    assert all("demo/" in item["path"] for item in (*found["files"], *found["left_out"]))


@pytest.mark.skipif(not MEASURED.is_dir(), reason="the measured bars are not here")
def test_measured_bars_are_understood_and_moved_whole(tmp_path):
    quant = Quant(tmp_path)
    exchanges = ("--exchange", "gbpusd*=FXCM", "--exchange", "BINANCE")
    made = quant.json("migrate", "init", str(MEASURED), *exchanges)
    assert made["counts"] == {
        "entries": 7,
        "files": 7,
        "left_out": 0,
        "notes": 0,
        "series": 7,
        "ignored": 0,
    }
    record = quant.json("stage", "run", STAGE)
    assert record["result"]["health_check"] == "passed"
    assert record["result"]["rows"]["bars"] == 5720 + 5758 + 5759 + 3 * 5760 + 30117
