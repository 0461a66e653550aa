from __future__ import annotations

import os

import polars as pl
import pytest
from _legacy import STAGE, bars, make_workspace, write_flat, write_manifest

from quant_sdk import QuantSDK
from quant_sdk.errors import Corrupted
from quant_sdk.lakehouse.durability import mend
from quant_sdk.lakehouse.ledger import Ledger

PARAMS = {"batch_symbols": 1}


@pytest.fixture
def sdk(tmp_path):
    made = QuantSDK(make_workspace(tmp_path, 3))
    assert made.run_stage(STAGE, PARAMS).state == "succeeded"
    return made


def log(sdk):
    return sorted((sdk.workspace.lakehouse / "bars/_delta_log").glob("0*.json"))


def forget(sdk, versions=1):
    """Take the newest commits out of the ledger, as if a power cut came before it."""
    path = sdk.workspace.lakehouse / "ledger.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-versions]))


@pytest.mark.parametrize("keep", [0, 100])
def test_a_torn_commit_that_nobody_was_told_of_is_taken_back_and_made_again(sdk, keep):
    expected = sdk.lakehouse.content_hash()
    forget(sdk)
    os.truncate(log(sdk)[-1], keep)
    record = sdk.run_stage(STAGE, PARAMS)
    assert record.state == "succeeded"
    assert [e for e in sdk.tail(record.run_id) if e["event"] == "table_mended"]
    assert sdk.lakehouse.content_hash() == expected


def test_a_commit_whose_data_a_power_cut_took_is_made_again(sdk):
    expected = sdk.lakehouse.content_hash()
    forget(sdk)
    newest = max(
        (sdk.workspace.lakehouse / "bars").rglob("*.parquet"), key=lambda p: p.stat().st_mtime_ns
    )
    os.truncate(newest, 10)
    assert sdk.run_stage(STAGE, PARAMS).state == "succeeded"
    assert sdk.lakehouse.content_hash() == expected


def test_a_torn_commit_that_was_told_is_an_error_and_is_left_as_it_is(sdk):
    torn = log(sdk)[-1]
    os.truncate(torn, 0)
    record = sdk.run_stage(STAGE, PARAMS)
    assert (record.state, record.error["code"]) == ("failed", Corrupted.code)
    assert torn.exists()


def test_a_data_file_that_is_gone_is_an_error_with_a_fix(sdk):
    next((sdk.workspace.lakehouse / "bars").rglob("*.parquet")).unlink()
    record = sdk.run_stage(STAGE, PARAMS)
    assert (record.state, record.error["code"]) == ("failed", Corrupted.code)
    assert "snapshot" in record.error["fix"]


def test_a_whole_table_is_left_alone(sdk):
    assert mend(sdk.workspace.lakehouse / "bars", -1) == []


def test_a_torn_checkpoint_is_set_aside(sdk):
    expected = sdk.lakehouse.content_hash()
    folder = sdk.workspace.lakehouse / "bars/_delta_log"
    sdk.lakehouse.table("bars").delta().create_checkpoint()
    os.truncate(next(folder.glob("*.checkpoint.parquet")), 20)
    assert len(mend(folder.parent, 99)) == 2
    assert sdk.lakehouse.content_hash() == expected


def test_a_touched_file_is_hashed_once_and_then_known_again(sdk):
    path = sdk.workspace.root / "data/old/BINANCE_S01USDT_1h.parquet"
    os.utime(path, (1, 1))
    again = sdk.run_stage(STAGE, PARAMS)
    assert not again.result["committed"]
    assert again.result["sources"]["unchanged"] == 3
    events = [e["event"] for e in sdk.tail(again.run_id)]
    assert "sources_restamped" in events
    last = sdk.run_stage(STAGE, PARAMS)
    assert "sources_restamped" not in [e["event"] for e in sdk.tail(last.run_id)]
    assert sum(e.bars for e in Ledger(sdk.workspace.lakehouse).entries()) == 400 * 2 + 395


def test_many_files_of_one_series_share_a_commit(tmp_path):
    whole = bars(240)
    folder = tmp_path / "data/days"
    folder.mkdir(parents=True)
    for day in range(10):
        part = whole[day * 24 : (day + 1) * 24]
        part.write_csv(folder / f"BTCUSDT-{day:02d}.csv")
    entry = {
        "path": "days",
        "layout": "csv",
        "exchange": "BINANCE",
        "timeframe": "1h",
        "timestamp_column": "timestamp",
        "timestamp_unit": "s",
    }
    write_manifest(tmp_path, [entry])
    sdk = QuantSDK(tmp_path)
    record = sdk.run_stage(STAGE)
    assert record.result["table_versions"] == {"bars": 1}
    held = sdk.bars("BINANCE:BTCUSDT", "1h")
    assert held["close"].to_list() == whole["close"].to_list()
    assert held["source"].n_unique() == 10


def test_a_source_without_one_good_row_degrades_the_run(tmp_path):
    off = bars(5).with_columns(pl.col("timestamp") + 7)
    write_flat(tmp_path / "data/old", "AUSDT", off)
    write_manifest(tmp_path, [{"path": "old", "layout": "flat_v1"}])
    record = QuantSDK(tmp_path).run_stage(STAGE)
    assert record.result["health_check"] == "degraded"
    assert record.result["rows"]["quarantined"] == 5


def test_bars_of_a_declaration_that_was_corrected_since_are_told_until_they_are_gone(tmp_path):
    bars(50).write_csv(tmp_path / "x.csv")
    entry = {
        "path": "../x.csv",
        "layout": "csv",
        "exchange": "BINANCE",
        "symbol": "AUSDT",
        "timeframe": "1h",
        "timestamp_column": "timestamp",
        "timestamp_unit": "s",
    }
    write_manifest(tmp_path, [entry | {"exchange": "KRAKEN"}])
    sdk = QuantSDK(tmp_path)
    assert sdk.run_stage(STAGE).result["health_check"] == "passed"
    write_manifest(tmp_path, [entry])
    for _ in range(2):
        record = sdk.run_stage(STAGE)
        assert record.result["health_check"] == "degraded"
    told = (tmp_path / record.result["reports"]["parity"]).read_text()
    assert "KRAKEN:AUSDT" in told
    sdk.lakehouse.wipe()
    assert sdk.run_stage(STAGE).result["health_check"] == "passed"


def test_a_dead_runs_draft_of_a_snapshot_is_cleared_away(sdk):
    draft = sdk.workspace.snapshots / ".dead.tmp"
    (draft / "bars").mkdir(parents=True)
    write_flat(sdk.workspace.root / "data/old", "NEWUSDT", bars(10))
    assert sdk.run_stage(STAGE, PARAMS).state == "succeeded"
    assert not draft.exists()
