from __future__ import annotations

import threading
from pathlib import Path

import pytest
from _legacy import STAGE, bars, make_workspace, write_flat, write_manifest

from quant_registry.record import write_record
from quant_sdk import QuantSDK
from quant_sdk.errors import (
    InvalidIdentifier,
    InvalidInput,
    LiveRun,
    NoData,
    PrerequisitesNotMet,
    QuantError,
)
from quant_sdk.lakehouse.ledger import Ledger
from quant_sdk.lakehouse.snapshot import create_snapshot, list_snapshots, verify_snapshot


@pytest.fixture(scope="module")
def sdk(tmp_path_factory):
    made = QuantSDK(make_workspace(tmp_path_factory.mktemp("lakehouse"), 4))
    assert made.run_stage(STAGE).state == "succeeded"
    return made


@pytest.fixture
def own(tmp_path):
    made = QuantSDK(make_workspace(tmp_path, 2))
    made.run_stage(STAGE)
    return made


def test_an_interval_is_half_open(sdk):
    frame = sdk.bars("BINANCE:S01USDT", "1h", "2024-01-31T10:00:00Z", "2024-01-31T12:00:00Z")
    assert [ts.hour for ts in frame["ts"]] == [10, 11]


def test_a_plain_date_is_a_utc_midnight(sdk):
    frame = sdk.bars("BINANCE:S01USDT", "1h", "2024-01-31", "2024-02-01")
    assert frame.height == 24
    assert str(frame["ts"].dtype) == "Datetime(time_unit='us', time_zone='UTC')"


def test_an_interval_without_bars_is_an_empty_frame(sdk):
    assert sdk.bars("BINANCE:S01USDT", "1h", "2030-01-01").height == 0


def test_an_unknown_series_names_the_nearest(sdk):
    with pytest.raises(NoData) as caught:
        sdk.bars("BINANCE:S01USD", "1h")
    assert "BINANCE:S01USDT 1h" in caught.value.fix


@pytest.mark.parametrize("symbol", ["../../etc/x", "A'B; DROP", "X:" + "A" * 10_000, "X:A\0", ""])
def test_a_hostile_symbol_is_refused_before_it_comes_near_a_predicate(sdk, symbol):
    with pytest.raises(InvalidIdentifier) as caught:
        sdk.bars(symbol, "1h")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("start", ["yesterday", "2024-13-01", "1' OR 1=1"])
def test_a_malformed_time_is_refused(sdk, start):
    with pytest.raises(InvalidInput):
        sdk.bars("BINANCE:S01USDT", "1h", start)


def test_a_naive_datetime_is_refused(sdk):
    from datetime import datetime

    with pytest.raises(InvalidInput, match="naive"):
        sdk.bars("BINANCE:S01USDT", "1h", datetime(2024, 1, 1))  # noqa: DTZ001 - that is the point


def test_an_empty_lakehouse_answers_with_nothing(tmp_path):
    lakehouse = QuantSDK(tmp_path).lakehouse
    assert lakehouse.tables() == []
    assert lakehouse.coverage() == []
    assert lakehouse.quarantine_summary() == []
    assert lakehouse.quarantine().height == 0
    with pytest.raises(NoData):
        lakehouse.bars("X:ADABTC", "1h")


def test_an_unknown_table_names_the_known_ones(sdk):
    with pytest.raises(QuantError) as caught:
        sdk.lakehouse.table("bar")
    assert "bars" in caught.value.fix


def test_coverage_reports_a_gap_as_a_half_open_interval(sdk):
    (item,) = sdk.lakehouse.coverage("BINANCE:S00USDT", "1h")
    (gap,) = item.gaps
    assert gap.missing == 5
    assert (gap.end - gap.start).total_seconds() == 5 * 3600


def test_the_quarantine_keeps_the_row_as_it_was(sdk):
    frame = sdk.lakehouse.quarantine("BINANCE:S00USDT")
    assert frame["close"].to_list() == [-1.0]
    assert frame["rule"].to_list() == ["non_positive_price"]
    assert frame["source"].to_list() == ["old/BINANCE_S00USDT_1h.parquet"]


def test_wiping_leaves_audit_runs_and_epochs(own):
    assert own.lakehouse.wipe()["removed"]
    assert not own.workspace.lakehouse.exists()
    assert own.runs()
    assert own.lock(STAGE).epoch == 1
    assert not own.lakehouse.wipe()["removed"]


def test_a_wipe_that_was_killed_is_finished_by_the_next(own):
    folder = own.workspace.lakehouse
    folder.rename(folder.with_name(".lakehouse.wiped"))
    assert own.lakehouse.wipe() == {"removed": True, "path": "data/lakehouse"}
    assert not folder.with_name(".lakehouse.wiped").exists()
    assert not own.lakehouse.wipe()["removed"]


def test_a_lakehouse_that_is_a_symbolic_link_is_not_wiped(own, tmp_path):
    folder = own.workspace.lakehouse
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PrerequisitesNotMet, match="symbolic link") as caught:
        own.lakehouse.wipe()
    assert str(tmp_path / "elsewhere") in caught.value.fix
    assert own.lakehouse.tables()


def test_a_wipe_of_what_cannot_be_written_names_the_folder(own, monkeypatch):
    def refuse(self, target):
        raise OSError(30, "Read-only file system", str(self))

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(PrerequisitesNotMet, match="Read-only") as caught:
        own.lakehouse.wipe()
    assert "writable" in caught.value.fix
    assert own.lakehouse.tables()


def test_wiping_is_refused_beside_a_live_run(own):
    record = own.runs()[0]
    from quant_registry.owner import this_process

    write_record(
        own.workspace,
        record.changed(
            run_id="20990101T000000Z-t.other-000000",
            state="running",
            owner=this_process("me").to_dict(),
            result=None,
        ),
    )
    with pytest.raises(LiveRun):
        own.lakehouse.wipe()
    assert own.lakehouse.tables()


def test_wiping_is_refused_while_a_stage_lock_is_held(own):
    from filelock import FileLock

    held, done = threading.Event(), threading.Event()

    def hold():
        with FileLock(own.workspace.locks / f"{STAGE}.lock"):
            held.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(60)
    try:
        with pytest.raises(LiveRun):
            own.lakehouse.wipe()
    finally:
        done.set()
        thread.join()


def test_a_torn_ledger_line_is_recovered_from_the_tables(own):
    path = own.workspace.lakehouse / "ledger.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    assert own.run_stage(STAGE).state == "succeeded"
    assert len(Ledger(own.workspace.lakehouse).entries()) == 2


def test_a_lost_ledger_is_rebuilt_from_the_tables(own):
    (own.workspace.lakehouse / "ledger.jsonl").unlink()
    record = own.run_stage(STAGE)
    assert record.state == "succeeded"
    assert not record.result["committed"]


def test_a_snapshot_shares_its_files_and_outlives_the_tables(own):
    (made,) = list_snapshots(own.workspace)
    folder = own.workspace.snapshots / made["id"]
    assert all(path.stat().st_nlink == 2 for path in folder.rglob("*.parquet"))
    own.lakehouse.wipe()
    assert verify_snapshot(own.workspace, made["id"])["ok"]


def test_a_missing_file_of_a_snapshot_is_named(own):
    (made,) = list_snapshots(own.workspace)
    file = next((own.workspace.snapshots / made["id"]).rglob("*.parquet"))
    file.unlink()
    found = verify_snapshot(own.workspace, made["id"])
    assert file.name in found["problems"][0]


def test_creating_a_snapshot_that_stands_changes_nothing(own):
    (made,) = list_snapshots(own.workspace)
    before = sorted((own.workspace.snapshots / made["id"]).rglob("*"))
    again = create_snapshot(own.workspace, made["id"], [], now=own.clock.now())
    assert again["created_at"] == made["created_at"]
    assert sorted((own.workspace.snapshots / made["id"]).rglob("*")) == before


def test_an_unknown_snapshot_names_the_newest(own):
    with pytest.raises(NoData) as caught:
        verify_snapshot(own.workspace, "none")
    assert list_snapshots(own.workspace)[0]["id"] in caught.value.fix


def test_overlapping_sources_in_one_manifest_are_told_apart(tmp_path):
    frame = bars(50)
    write_flat(tmp_path / "data/new", "AUSDT", frame[10:].with_columns(volume=frame["volume"][10:]))
    write_flat(tmp_path / "data/old", "AUSDT", frame[:20].with_columns(volume=0.5))
    write_manifest(
        tmp_path,
        [{"path": "new", "layout": "flat_v1"}, {"path": "old", "layout": "flat_v1"}],
    )
    sdk = QuantSDK(tmp_path)
    rows = sdk.run_stage(STAGE).result["rows"]
    assert (rows["read"], rows["bars"], rows["quarantined"]) == (60, 50, 10)
    assert sdk.lakehouse.quarantine_summary()[0]["rule"] == "overlap_conflict"
    assert not sdk.run_stage(STAGE).result["committed"]
