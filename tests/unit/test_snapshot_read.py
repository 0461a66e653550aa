from __future__ import annotations

import os
import shutil
import threading
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest
from _lake import SYMBOL, Lake

from quant_registry.errors import Corrupted, InvalidIdentifier, InvalidInput, NoData, UnknownName
from quant_registry.workspace import Workspace
from quant_sdk.lakehouse import snapshot
from quant_sdk.lakehouse.optimize import crowds, exchange, rewritten, vacuum, vacuumable
from quant_sdk.lakehouse.restore import restore, way_back
from quant_sdk.lakehouse.snapshot import (
    create_snapshot,
    find_snapshot,
    list_snapshots,
    read_snapshot,
    remove_snapshot,
    scan_snapshot,
    verify_snapshot,
)
from quant_sdk.lakehouse.specs import BARS, CORRECTIONS, QUARANTINE, TABLES
from quant_sdk.lakehouse.table import Table


def tables(workspace):
    return [Table(workspace.lakehouse, spec) for spec in TABLES.values()]


def taken(workspace, name="snap"):
    lake = Lake(workspace.root)
    for hour in range(4):
        lake.bring(f"r{hour}", f"s{hour}", {hour: 1.0 + hour, 30 + hour: 2.0, 40 + hour: -1.0})
    create_snapshot(workspace, name, tables(workspace), now=lake.clock.now())
    return lake


def rows(workspace, table="bars", name="snap"):
    frame = scan_snapshot(workspace, name, table).collect()
    return frame.sort(frame.columns)


def file_of(workspace, table="bars"):
    return min((workspace.snapshots / "snap" / table).rglob("*.parquet"))


def test_a_snapshot_reads_as_its_tables(workspace):
    lake = taken(workspace)
    for table in (lake.bars, lake.quarantine):
        held = table.scan().collect()
        found = rows(workspace, table.spec.name)
        assert found.schema == held.schema
        assert found.equals(held.sort(held.columns))


def test_it_reads_the_same_after_all_that_may_come(workspace):
    lake = taken(workspace)
    before = {name: rows(workspace, name) for name in ("bars", "quarantine", "corrections")}
    version = lake.bars.version()
    lake.bring("later", "s0", {0: 9.0, 5: 7.0, 60: -1.0}, sha="new")
    with lake.writing():
        for table in (lake.bars, lake.quarantine):
            for crowd in crowds(table, 1):
                exchange(table, rewritten(table, crowd), lake.commit("opt"))
        restore(workspace, way_back(lake.bars, version), lake.commit("back"), lake.clock.now())
    for table in (lake.bars, lake.quarantine):
        assert vacuum(vacuumable(table, 0)) > 0
    assert all(rows(workspace, name).equals(frame) for name, frame in before.items())
    shutil.rmtree(lake.path)
    assert all(rows(workspace, name).equals(frame) for name, frame in before.items())


def test_a_filter_leaves_out_the_folders_of_other_partitions(workspace):
    taken(workspace)
    part = (workspace.snapshots / "snap" / "bars").rglob("bucket=2024-02/*.parquet")
    for path in part:
        size = path.stat().st_size
        path.unlink()
        path.write_bytes(b"x" * size)
    january = scan_snapshot(workspace, "snap", "bars").filter(pl.col("bucket") == "2024-01")
    assert january.collect().height == 4


@pytest.mark.parametrize("folder", ["my data", "a=b"])
def test_any_folder_may_hold_the_workspace(tmp_path, folder):
    (tmp_path / folder).mkdir()
    workspace = Workspace.resolve(tmp_path / folder)
    lake = taken(workspace)
    assert rows(workspace).height == lake.bars.scan().collect().height == 8
    assert rows(workspace)["timeframe"].unique().to_list() == ["1h"]


@pytest.mark.parametrize("column", ["timeframe", "source", "symbol", "open"])
def test_a_folder_that_looks_like_a_column_is_refused(column, tmp_path):
    (tmp_path / f"{column}=5" / "ws").mkdir(parents=True)
    with pytest.raises(InvalidInput, match=f"{column}="):
        taken(Workspace.resolve(tmp_path / f"{column}=5" / "ws"))


@pytest.mark.parametrize("folder", ["source=a", "a%20b", "a\\b"])
def test_a_workspace_that_was_moved_to_such_a_folder_is_not_called_damaged(folder, tmp_path):
    before = tmp_path / "before"
    before.mkdir()
    lake = taken(Workspace.resolve(before))
    held = lake.held()
    moved = Workspace.resolve(before.rename(tmp_path / folder))
    table = Table(moved.lakehouse, BARS)
    for look in (table.scan, table.version, table.facts, lambda: rows(moved)):
        with pytest.raises(InvalidInput) as caught:
            look()
        assert caught.value.fix.startswith("move the workspace")
    moved.root.rename(before)
    assert lake.held() == held


@pytest.mark.parametrize(
    ("folder", "shown"), [("a\nb", r"a\n"), ("a\tb", r"\t"), ("\udcff", r"\udcff")]
)
def test_a_folder_with_what_no_terminal_shows_is_refused_in_plain_text(folder, shown, tmp_path):
    with pytest.raises(InvalidInput) as caught:
        Table(tmp_path / folder, BARS).delta()
    assert shown in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_table_without_rows_yet_is_empty(workspace):
    taken(workspace)
    assert rows(workspace, "corrections").equals(CORRECTIONS.empty)


def test_an_unknown_table_names_the_known_ones(workspace):
    taken(workspace)
    with pytest.raises(UnknownName) as caught:
        scan_snapshot(workspace, "snap", "bar")
    assert "bars" in caught.value.fix


def test_an_unknown_snapshot_names_the_newest(workspace):
    taken(workspace)
    with pytest.raises(NoData) as caught:
        scan_snapshot(workspace, "snip", "bars")
    assert "snap" in caught.value.fix


def test_a_hostile_id_is_refused(workspace):
    with pytest.raises(InvalidIdentifier):
        scan_snapshot(workspace, "../x", "bars")


def test_a_file_that_is_gone_is_named_before_anything_is_read(workspace):
    taken(workspace)
    gone = file_of(workspace)
    gone.unlink()
    with pytest.raises(Corrupted, match=gone.name):
        scan_snapshot(workspace, "snap", "bars")


def test_a_file_cut_short_is_named_before_anything_is_read(workspace):
    taken(workspace)
    torn = file_of(workspace, "quarantine")
    whole = torn.read_bytes()
    torn.unlink()
    torn.write_bytes(whole[:-1])
    with pytest.raises(Corrupted, match=torn.name):
        scan_snapshot(workspace, "snap", "quarantine")
    assert rows(workspace).height == 8


def test_a_column_that_is_newer_than_the_snapshot_is_null(workspace):
    lake = taken(workspace)
    path = file_of(workspace, "quarantine")
    older = pl.read_parquet(path).drop("replayed_by")
    path.unlink()
    older.write_parquet(path)
    manifest = workspace.snapshots / "snap" / "manifest.json"
    import orjson

    document = orjson.loads(manifest.read_bytes())
    for table in document["tables"]:
        for file in table["files"]:
            file["bytes"] = (manifest.parent / table["name"] / file["path"]).stat().st_size
    manifest.write_bytes(orjson.dumps(document))
    found = rows(workspace, "quarantine")
    assert found.schema == lake.quarantine.scan().collect_schema() == dict(QUARANTINE.columns)
    assert found["replayed_by"].null_count() == found.height


def test_bars_and_quarantine_of_a_snapshot_are_of_one_instant(workspace):
    lake = Lake(workspace.root)
    lake.bring("r", "s", {0: 1.0, 1: -1.0})
    stop = threading.Event()

    def ingest():
        hour = 2
        while not stop.is_set():
            lake.bring(f"r{hour}", f"s{hour}", {hour: 1.0, 1000 + hour: -1.0})
            hour += 1

    writer = threading.Thread(target=ingest)
    writer.start()
    try:
        names = [f"snap{number}" for number in range(5)]
        for name in names:
            create_snapshot(workspace, name, tables(workspace), now=lake.clock.now())
    finally:
        stop.set()
        writer.join()
    for name in names:
        bars, refused = (rows(workspace, table, name) for table in ("bars", "quarantine"))
        assert bars["source"].to_list() == refused["source"].to_list()


def test_a_snapshot_of_the_same_state_is_found_and_of_another_is_not(workspace):
    lake = taken(workspace)
    assert find_snapshot(workspace, tables(workspace))["id"] == "snap"
    lake.bring("more", "s9", {9: 1.0})
    assert find_snapshot(workspace, tables(workspace)) is None


def test_one_series_is_found_without_reading_the_rest(workspace):
    taken(workspace)
    plan = scan_snapshot(workspace, "snap", "bars").filter(pl.col("symbol") == SYMBOL).explain()
    assert "SELECTION" in plan
    assert set(BARS.columns) == set(rows(workspace).columns)


def test_a_removed_snapshot_is_gone_and_the_tables_read_as_before(workspace):
    lake = taken(workspace)
    held = lake.bars.scan().collect()
    assert remove_snapshot(workspace, "snap")["removed"]
    assert list_snapshots(workspace) == []
    assert list(workspace.snapshots.iterdir()) == []
    assert lake.bars.scan().collect().equals(held)
    with pytest.raises(NoData):
        remove_snapshot(workspace, "snap")


def test_a_snapshot_that_another_removes_meanwhile_is_gone_for_both(workspace, monkeypatch):
    taken(workspace)
    lock = snapshot.writing

    @contextmanager
    def late(*args):
        monkeypatch.setattr(snapshot, "writing", lock)
        remove_snapshot(workspace, "snap")
        with lock(*args):
            yield

    monkeypatch.setattr(snapshot, "writing", late)
    with pytest.raises(NoData, match="snap"):
        remove_snapshot(workspace, "snap")


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"x")])
def test_a_damaged_snapshot_is_not_taken_for_this_state(damage, workspace):
    lake = taken(workspace)
    create_snapshot(workspace, "later", tables(workspace), now=lake.clock.now())
    path = min((workspace.snapshots / "later" / "bars").rglob("*.parquet"))
    whole = path.read_bytes()
    path.unlink()
    path.write_bytes(whole)
    damage(path)
    assert find_snapshot(workspace, tables(workspace))["id"] == "snap"
    file_of(workspace).unlink()
    assert find_snapshot(workspace, tables(workspace)) is None


def test_no_snapshot_is_made_of_a_table_with_a_torn_file(workspace):
    lake = taken(workspace)
    torn = next(lake.bars.path.rglob("*.parquet"))
    os.truncate(torn, 50)
    with pytest.raises(Corrupted, match=torn.name):
        create_snapshot(workspace, "later", tables(workspace), now=lake.clock.now())
    assert [item["id"] for item in list_snapshots(workspace)] == ["snap"]


def test_a_flipped_byte_is_not_taken_into_the_next_snapshot(workspace):
    lake = taken(workspace)
    path = file_of(workspace)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert not verify_snapshot(workspace, "snap")["ok"]
    with pytest.raises(Corrupted, match="has changed since the snapshot snap"):
        create_snapshot(workspace, "next", tables(workspace), now=lake.clock.now())
    assert [item["id"] for item in list_snapshots(workspace)] == ["snap"]


def test_a_changed_file_of_a_snapshot_is_named_when_its_rows_are_read(workspace):
    taken(workspace)
    path = file_of(workspace)
    size = path.stat().st_size
    path.unlink()
    path.write_bytes(b"x" * size)
    with pytest.raises(Corrupted, match="snap") as caught:
        read_snapshot(workspace, "snap", "bars", where={}, limit=5)
    assert "quant snapshot verify snap" in caught.value.fix


def test_snapshots_made_at_once_leave_each_other_whole(workspace):
    lake = taken(workspace, "first")
    lake.bring("more", "s9", {70: 1.0})
    made: list[dict] = []

    def take(name: str) -> None:
        made.append(create_snapshot(workspace, name, tables(workspace), now=lake.clock.now()))

    threads = [threading.Thread(target=take, args=(f"snap-{index}",)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {item["id"] for item in list_snapshots(workspace)} >= {item["id"] for item in made}
    assert len(made) == 4
    assert all(verify_snapshot(workspace, item["id"])["ok"] for item in made)
