from __future__ import annotations

import threading
from dataclasses import replace

import polars as pl
import pytest
from _lake import SYMBOL, Lake, answer, file
from _stages import BY_ID
from filelock import FileLock

from quant_registry.errors import Conflict, InvalidInput, LiveRun, NoData, StageLocked
from quant_registry.owner import this_process
from quant_registry.record import RunRecord, write_record
from quant_registry.request import RunRequest
from quant_registry.runner import run_stage
from quant_sdk.lakehouse.ledger import Ledger
from quant_sdk.lakehouse.optimize import crowds, exchange, rewritten, vacuum, vacuumable
from quant_sdk.lakehouse.restore import alone, restore, way_back
from quant_sdk.lakehouse.specs import SYMBOLS
from quant_sdk.lakehouse.table import Table
from quant_sdk.lakehouse.versions import versions

OTHER = "X:ETHBTC"


@pytest.fixture
def lake(workspace):
    return Lake(workspace.root)


@pytest.fixture
def go_back(lake, workspace):
    def go(version, run="up"):
        with lake.writing():
            way = way_back(lake.bars, version)
            return restore(workspace, way, lake.commit(run), lake.clock.now())

    return go


def compact(lake):
    with lake.writing():
        for crowd in crowds(lake.bars, 1):
            exchange(lake.bars, rewritten(lake.bars, crowd), lake.commit("opt"))


def test_the_table_is_again_what_it_was(lake, go_back):
    version = lake.bring("r1", "first", {0: 1.0, 1: 2.0, 30: 3.0}).version
    before = lake.report()["content_hash"]
    lake.bring("r2", "first", {0: 9.0, 1: 2.0, 2: 4.0, 31: 5.0}, sha="new")
    newest = lake.bars.version()
    done = go_back(version)
    assert (done.withdrawn, done.corrected, done.brought) == (2, 1, 0)
    assert done.version == lake.bars.version() == newest + 1
    assert lake.report()["content_hash"] == before
    assert lake.is_proven


def test_rows_that_go_are_kept_and_changes_are_recorded(lake, go_back):
    version = lake.bring("r1", "first", {0: 1.0}).version
    lake.bring("r2", "first", {0: 9.0, 1: 4.0}, sha="new")
    go_back(version, "mender")
    assert lake.withdrawn() == {1: 4.0}
    rows = lake.corrections.scan().collect().to_dicts()
    (back,) = [row for row in rows if row["source"] == "restore:mender"]
    assert (back["old_close"], back["new_close"]) == (9.0, 1.0)
    assert f"version {version}" in lake.quarantine.scan().collect()["reason"][0]


def test_going_forward_again_brings_the_rows_back(lake, go_back):
    version = lake.bring("r1", "first", {0: 1.0}).version
    newest = lake.bring("r2", "first", {0: 9.0, 1: 4.0}, sha="new").version
    go_back(version, "up1")
    done = go_back(newest, "up2")
    assert (done.brought, done.corrected, done.marked) == (1, 1, 1)
    assert lake.held() == {0: 9.0, 1: 4.0}
    assert lake.withdrawn() == {}
    assert lake.is_proven


def test_rows_that_come_do_not_hide_that_others_went(lake, go_back):
    first = lake.bring("r1", "first", {10: 1.0}).version
    lake.bring("r2", "second", {11: 1.0})
    go_back(first, "up1")
    lake.bring("r3", "second", {12: 1.0}, sha="n")
    go_back(first + 1, "up2")
    assert lake.held() == {10: 1.0, 11: 1.0}
    assert lake.is_proven


def test_everything_can_go_and_come_back(lake, go_back):
    newest = lake.bring("r1", "first", {0: 1.0, 40: 2.0}).version
    go_back(0, "up1")
    assert lake.held() == {}
    assert lake.is_proven
    go_back(newest, "up2")
    assert lake.held() == {0: 1.0, 40: 2.0}
    assert lake.is_proven


def test_a_source_of_many_series_stays_accounted_for(lake, go_back):
    version = lake.publish("r1", answer("venue", {SYMBOL: {0: 1.0}, OTHER: {0: 5.0}})).version
    lake.publish("r2", answer("venue", {SYMBOL: {0: 1.5, 1: 1.0}, OTHER: {1: 5.0}}, "n"))
    go_back(version)
    assert (lake.held(), lake.held(OTHER)) == ({0: 1.0}, {0: 5.0})
    assert lake.is_proven


def test_restoring_what_stands_makes_no_version(lake, go_back):
    version = lake.bring("r1", "first", {0: 1.0}).version
    before = lake.versions()
    assert go_back(version).version == -1
    assert lake.versions() == before


def test_a_version_before_a_compaction_holds_the_same_rows(lake, go_back):
    lake.bring("r1", "first", {0: 1.0})
    version = lake.bring("r2", "second", {1: 1.0}).version
    compact(lake)
    before = lake.versions()
    assert go_back(version).version == -1
    assert lake.versions() == before


def test_a_version_whose_files_are_gone_is_refused_and_nothing_changes(lake, go_back):
    lake.bring("r1", "first", {0: 1.0})
    version = lake.bring("r2", "second", {1: 1.0}).version
    compact(lake)
    lake.bring("r3", "third", {2: 1.0})
    vacuum(vacuumable(lake.bars, 0))
    before = lake.versions()
    with pytest.raises(NoData, match="2 of its 2 files are gone") as caught:
        go_back(version)
    assert "quant lakehouse history" in caught.value.fix
    assert lake.versions() == before
    assert lake.is_proven


@pytest.mark.parametrize("version", [-1, 7])
def test_a_version_that_never_was_is_refused(lake, go_back, version):
    lake.bring("r1", "first", {0: 1.0})
    with pytest.raises(InvalidInput, match="no version") as caught:
        go_back(version)
    assert "0 to 1" in caught.value.fix


def test_a_table_that_was_never_written_has_no_versions(lake, go_back):
    with pytest.raises(InvalidInput, match="no version"):
        go_back(0)
    assert versions(lake.bars) == []


def test_records_are_not_taken_back(lake):
    lake.bring("r1", "first", {0: -1.0})
    with pytest.raises(InvalidInput, match="is a record"):
        way_back(lake.quarantine, 0)


def test_other_tables_go_back_without_a_ledger(lake, workspace):
    table = Table(lake.path, SYMBOLS)
    row = {"symbol": SYMBOL, "exchange": "X", "source": "s"}
    times = {"valid_from": lake.clock.now()}
    for run in ("r1", "r2"):
        frame = SYMBOLS.empty.clear(1).with_columns(
            **{name: pl.lit(value) for name, value in (row | times).items()}
        )
        table.append(frame, lake.commit(run), {})
    done = restore(workspace, way_back(table, 1), lake.commit("up"), lake.clock.now())
    assert done.version == 3
    assert table.scan().collect().height == 1
    assert lake.bars.version() == -1


def test_a_writer_between_the_look_and_the_commit_is_noticed(lake, workspace):
    version = lake.bring("r1", "first", {0: 1.0}).version
    lake.bring("r2", "second", {1: 1.0})
    way = way_back(lake.bars, version)
    lake.bring("r3", "third", {2: 1.0})
    with pytest.raises(Conflict, match="meanwhile"):
        restore(workspace, way, lake.commit(), lake.clock.now())
    assert lake.held() == {0: 1.0, 1: 1.0, 2: 1.0}
    assert lake.withdrawn() == {}


def test_going_back_to_the_other_sign_of_a_zero_keeps_the_ledger_in_step(lake, go_back):
    def zero(volume, sha):
        item = file("first", {0: 1.0, 1: 2.0}, sha=sha)
        bars = item.bars.with_columns(volume=pl.lit(volume))
        return replace(item, bars=bars)

    version = lake.publish("r1", zero(-0.0, "a")).version
    go_back(0, "up1")
    lake.publish("r2", zero(0.0, "b"))
    assert lake.is_proven
    done = go_back(version, "up2")
    assert done.corrected == 2
    assert lake.is_proven


def test_a_restore_cut_off_before_its_commit_is_completed(lake, go_back, monkeypatch):
    version = lake.bring("r1", "first", {0: 1.0}).version
    lake.bring("r2", "first", {0: 9.0, 1: 4.0}, sha="new")
    with monkeypatch.context() as patch:
        patch.setattr(Table, "change", lambda *_: (_ for _ in ()).throw(OSError("cut")))
        with pytest.raises(OSError, match="cut"):
            go_back(version, "cut")
    go_back(version, "second")
    assert lake.withdrawn() == {1: 4.0}
    assert lake.quarantine.scan().collect().height == 1
    assert lake.corrections.scan().collect().height == 2
    assert lake.is_proven


def test_a_restore_cut_off_before_the_ledger_is_recovered(lake, go_back, monkeypatch):
    first = lake.bring("r1", "first", {10: 1.0}).version
    lake.bring("r2", "first", {11: 1.0}, sha="n")
    go_back(first, "up1")
    lake.bring("r3", "first", {12: 1.0}, sha="m")
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "add", lambda *_: (_ for _ in ()).throw(OSError("cut")))
        with pytest.raises(OSError, match="cut"):
            go_back(first + 1, "up2")
    assert len(Ledger(lake.path).reconcile((lake.bars, lake.quarantine))) == 2
    assert lake.is_proven


def test_history_names_who_made_a_version_and_what_it_changed(lake, go_back):
    version = lake.bring("r1", "first", {0: 1.0, 1: 1.0}).version
    lake.bring("r2", "second", {2: 1.0})
    compact(lake)
    go_back(version, "up")
    found = [item.to_dict() for item in versions(lake.bars)]
    assert [item["version"] for item in found] == [0, 1, 2, 3, 4]
    assert [(item["rows"], item["change"], item["files"]) for item in found] == [
        (0, 0, 0),
        (2, 2, 1),
        (3, 1, 2),
        (3, 0, 1),
        (2, -1, 1),
    ]
    assert [item["operation"] for item in found][1:] == ["write", "write", "optimize", "restore"]
    assert [item["run_id"] for item in found] == [None, "r1", "r2", "opt", "up"]
    assert found[1]["stage_id"] == "t.ingest"
    assert all(item["restorable"] for item in found)


def test_history_tells_which_versions_can_be_restored(lake):
    lake.bring("r1", "first", {0: 1.0})
    lake.bring("r2", "second", {1: 1.0})
    compact(lake)
    vacuum(vacuumable(lake.bars, 0))
    assert [item.restorable for item in versions(lake.bars)] == [True, False, False, True]


def live(workspace, run_id, **fields):
    record = RunRecord(
        run_id=run_id,
        stage_id="test.count",
        stage_version="1",
        state="running",
        actor="me",
        created_at="2026-02-03T10:00:00.000000Z",
        owner=this_process("me").to_dict(),
        **fields,
    )
    write_record(workspace, record)
    return run_id


def test_nobody_else_may_be_live(workspace):
    mine = live(workspace, "20260203T100000Z-test.count-000001")
    with alone(workspace, mine):
        pass
    live(workspace, "20260203T100000Z-test.count-000002")
    with pytest.raises(LiveRun, match="000002"), alone(workspace, mine):
        pass


def test_the_run_whose_child_asks_may_be_live(workspace):
    parent = live(workspace, "20260203T100000Z-test.count-000001")
    child = live(workspace, "20260203T100000Z-test.count-000002", parent_run_id=parent)
    with alone(workspace, child):
        pass


def test_no_stage_can_begin_meanwhile(workspace):
    run_stage(workspace, BY_ID["test.noop"], RunRequest(actor="me"))
    with alone(workspace, "nobody"), pytest.raises(StageLocked):
        run_stage(workspace, BY_ID["test.noop"], RunRequest(actor="me"))
    assert run_stage(workspace, BY_ID["test.noop"], RunRequest(actor="me")).state == "succeeded"


def test_a_held_stage_lock_is_a_live_run(workspace):
    run_stage(workspace, BY_ID["test.noop"], RunRequest(actor="me"))
    held, done = threading.Event(), threading.Event()

    def hold():
        with FileLock(workspace.locks / "test.noop.lock"):
            held.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(60)
    try:
        with pytest.raises(LiveRun, match=r"test\.noop"), alone(workspace, "nobody"):
            pass
    finally:
        done.set()
        thread.join()
