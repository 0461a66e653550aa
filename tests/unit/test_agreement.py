"""What a power cut tore and a killed run left undone, mended before a stage works."""

from __future__ import annotations

import os

import polars as pl
import pytest
from _lake import SYMBOL, Lake
from _stages import stage_of

from quant_sdk.errors import Corrupted
from quant_sdk.lakehouse import amend
from quant_sdk.lakehouse.agreement import mend_tables
from quant_sdk.lakehouse.locks import writing
from quant_sdk.lakehouse.restore import restore, way_back
from quant_sdk.lakehouse.specs import SYMBOLS, TABLES, UNFILLED, VERIFIED_EMPTY
from quant_sdk.lakehouse.table import Table
from quant_sdk.lakehouse.undo import of_runs, undo, undoing
from quant_sdk.testing import StageRunner
from quant_stages.tables import make_whole
from quant_stages.upkeep import STAGES

CHECKPOINTED = 49


@pytest.fixture
def lake(tmp_path):
    return Lake(tmp_path)


def log(table):
    return table.path / "_delta_log"


def entry(table):
    """Return the newest entry of the log."""
    return max(log(table).glob("*.json"))


def newest_file(table):
    return max(
        (path for path in table.path.rglob("*.parquet") if path.parent != log(table)),
        key=lambda path: path.stat().st_mtime_ns,
    )


def forgotten(lake, act):
    """Act, and forget the ledger's lines of it, as if a power cut came before them."""
    ledger = lake.path / "ledger.jsonl"
    before = ledger.read_bytes()
    act()
    ledger.write_bytes(before)


def write(lake, spec, run):
    values = {
        pl.String: SYMBOL,
        pl.Boolean: True,
        pl.Float64: 1.0,
        pl.Int64: 1,
    }
    row = {
        name: pl.lit(values.get(kind, lake.clock.now()), dtype=kind)
        for name, kind in spec.columns.items()
    }
    table = Table(lake.path, spec)
    table.append(spec.empty.clear(1).with_columns(**row), lake.commit(run), {})
    return table


@pytest.mark.parametrize("torn", ["entry", "data", "lost"])
def test_a_torn_commit_with_a_checkpoint_is_taken_back_with_it(lake, torn):
    for hour in range(CHECKPOINTED - 1):
        lake.bring(f"r{hour}", "first", {hour: 1.0})
    before = lake.held()
    forgotten(lake, lambda: lake.bring("torn", "first", {100: 9.0}))
    assert list(log(lake.bars).glob("*.checkpoint.parquet"))
    match torn:
        case "entry":
            os.truncate(entry(lake.bars), 100)
        case "data":
            os.truncate(newest_file(lake.bars), 100)
        case "lost":
            entry(lake.bars).unlink()
    assert f"bars/{CHECKPOINTED:020d}.checkpoint.parquet" in mend_tables(lake.path, lake.locks)
    assert (lake.bars.version(), lake.held()) == (CHECKPOINTED - 1, before)
    assert mend_tables(lake.path, lake.locks) == []
    lake.bring("torn", "first", {100: 9.0})
    assert lake.held() == before | {100: 9.0}
    assert lake.bars.version() == CHECKPOINTED
    assert lake.is_proven


def test_a_checkpoint_of_what_was_told_is_left_alone(lake):
    for hour in range(CHECKPOINTED):
        lake.bring(f"r{hour}", "first", {hour: 1.0})
    forgotten(lake, lambda: lake.bring("torn", "first", {100: 9.0}))
    torn = entry(lake.bars)
    os.truncate(torn, 0)
    assert mend_tables(lake.path, lake.locks) == [f"bars/{torn.name}"]
    assert (log(lake.bars) / f"{CHECKPOINTED:020d}.checkpoint.parquet").exists()


@pytest.mark.parametrize("name", sorted(TABLES))
def test_every_table_is_mended(lake, name):
    table = Table(lake.path, TABLES[name])
    write(lake, table.spec, "r1")
    write(lake, table.spec, "r2")
    torn = entry(table)
    os.truncate(torn, 100)
    assert mend_tables(lake.path, lake.locks) == [f"{name}/{torn.name}"]
    assert table.scan().collect().height == 1


def test_nobody_waits_for_a_writer_while_all_is_whole(lake):
    lake.bring("r1", "first", {0: 1.0})
    for spec in (SYMBOLS, VERIFIED_EMPTY, UNFILLED):
        write(lake, spec, "r1")
    with writing(lake.locks, "bars"), writing(lake.locks, "unfilled"):
        assert mend_tables(lake.path, lake.locks) == []


@pytest.mark.parametrize("name", ["quarantine", "corrections"])
def test_a_lost_record_of_a_batch_that_was_told_is_an_error(lake, name):
    lake.bring("r1", "first", {0: 1.0})
    lake.bring("r2", "first", {0: 2.0, 1: -1.0}, sha="b")
    table = Table(lake.path, TABLES[name])
    lost = newest_file(table)
    content = lost.read_bytes()
    lost.unlink()
    with pytest.raises(Corrupted, match=name) as caught:
        mend_tables(lake.path, lake.locks)
    assert "snapshot" in caught.value.fix
    lost.write_bytes(content)
    assert mend_tables(lake.path, lake.locks) == []


@pytest.mark.parametrize("name", ["quarantine", "corrections"])
def test_a_torn_record_of_a_batch_that_nobody_was_told_of_is_taken_back(lake, name):
    lake.bring("r1", "first", {0: 1.0})
    forgotten(lake, lambda: lake.bring("r2", "first", {0: 2.0, 1: -1.0}, sha="b"))
    entry(lake.bars).unlink()
    table = Table(lake.path, TABLES[name])
    os.truncate(newest_file(table), 10)
    assert mend_tables(lake.path, lake.locks) == [f"{name}/{entry_name(1)}"]
    lake.bring("r2", "first", {0: 2.0, 1: -1.0}, sha="b")
    assert table.scan().collect().height == 1
    assert lake.is_proven


def entry_name(version):
    return f"{version:020d}.json"


def take_back(lake, run, by):
    with lake.writing():
        plan = undoing(lake.path, of_runs(lake.path, run))
        return undo(lake.path, plan, lake.commit(by), lake.clock.now())


def go_back(lake, version, by):
    class Here:
        lakehouse = lake.path

    with lake.writing():
        return restore(Here, way_back(lake.bars, version), lake.commit(by), lake.clock.now())


def test_a_torn_mark_of_a_batch_that_was_told_is_taken_back(lake):
    lake.bring("r1", "first", {0: 1.0})
    take_back(lake, "r1", "u1")
    assert take_back(lake, "u1", "u2").marked == 1
    torn = entry(lake.quarantine)
    os.truncate(newest_file(lake.quarantine), 10)
    assert mend_tables(lake.path, lake.locks) == [f"quarantine/{torn.name}"]
    assert lake.withdrawn() == {0: 1.0}


class Whole(StageRunner):
    """A workspace with a stage that makes the tables whole, and does nothing else."""

    def __init__(self, root):
        super().__init__(root, (*STAGES, stage_of(lambda run, _: make_whole(run), "t.whole")))
        self.lake = Lake(self.root)


@pytest.fixture
def whole(tmp_path):
    with Whole(tmp_path / "ws") as runner:
        yield runner


def cut_off(monkeypatch, act):
    """Act, and be cut off after the commit of bars, before rows are marked."""
    with monkeypatch.context() as patch:
        patch.setattr(amend, "mark_replayed", lambda *_: (_ for _ in ()).throw(OSError("cut")))
        with pytest.raises(OSError, match="cut"):
            act()


@pytest.mark.parametrize("back", ["undo", "restore"])
def test_rows_that_a_killed_run_brought_back_are_marked_once(whole, monkeypatch, back):
    lake = whole.lake
    lake.bring("r1", "first", {0: 1.0, 1: 2.0})
    take_back(lake, "r1", "u1")
    cut_off(
        monkeypatch,
        lambda: take_back(lake, "u1", "u2") if back == "undo" else go_back(lake, 1, "u2"),
    )
    assert lake.withdrawn() == lake.held() == {0: 1.0, 1: 2.0}
    for _ in range(2):
        assert whole.run("t.whole").state == "succeeded"
    assert lake.withdrawn() == {}
    marks = lake.quarantine.scan().collect()["replayed_by"].to_list()
    assert marks == ["u2", "u2"]
    (event,) = whole.events("marks_recovered")
    assert (event["rows"], event["of"]) == (2, "u2")


def test_rows_of_an_undo_that_was_cut_off_before_its_commit_are_not_marked(whole, monkeypatch):
    lake = whole.lake
    lake.bring("r1", "first", {0: 1.0})
    take_back(lake, "r1", "u1")
    take_back(lake, "u1", "u2")
    with monkeypatch.context() as patch:
        patch.setattr(Table, "change", lambda *_: (_ for _ in ()).throw(OSError("cut")))
        with pytest.raises(OSError, match="cut"):
            take_back(lake, "u2", "u3")
    whole.run("t.whole")
    assert lake.withdrawn() == {0: 1.0}
    assert whole.events("marks_recovered") == []


@pytest.mark.parametrize("stage_id", ["lakehouse.optimize", "data.snapshot"])
def test_upkeep_works_after_a_power_cut_in_another_table(whole, stage_id):
    whole.lake.bring("r1", "first", {0: 1.0})
    for run in ("r1", "r2"):
        table = write(whole.lake, VERIFIED_EMPTY, run)
    os.truncate(entry(table), 100)
    record = whole.run(stage_id)
    assert record.state == "succeeded", record.error
    assert len(whole.events("table_mended")) == 1
