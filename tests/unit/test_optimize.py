from __future__ import annotations

import os
import shutil
import threading
import time
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from _lake import FIRST, HOUR, SYMBOL, Lake, file
from deltalake import DeltaTable

from quant_registry.errors import Conflict, Corrupted, OwnershipLost
from quant_sdk.lakehouse import optimize
from quant_sdk.lakehouse.optimize import crowds, exchange, rewritten, vacuum, vacuumable
from quant_sdk.lakehouse.parts import live_parts
from quant_sdk.lakehouse.specs import BARS, FEATURES
from quant_sdk.lakehouse.table import Table


@pytest.fixture
def lake(tmp_path):
    return Lake(tmp_path)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    root = tmp_path_factory.mktemp("filled")
    fill(Lake(root))
    return root


@pytest.fixture
def filled(template, tmp_path):
    """A lake with ten files of two series in one partition."""
    return Lake(Path(shutil.copytree(template, tmp_path / "copy")))


def fill(lake, files=10, symbols=("X:ADABTC", "X:ETHBTC")):
    """Publish `files` batches of one bar a symbol, into one partition."""
    for hour in range(files):
        lake.publish(
            f"r{hour}",
            *(file(f"{s}{hour}", {hour: 1.0 + hour}, symbol=s) for s in reversed(symbols)),
        )


def compact(lake, table=None, **rest):
    table = table or lake.bars
    for crowd in crowds(table, **rest):
        swap = rewritten(table, crowd)
        with lake.writing():
            exchange(table, swap, lake.commit("opt"))


def files(table):
    return [table.path / part.path for part in live_parts(table.delta())]


def make_old(paths, days=31):
    past = time.time() - timedelta(days=days).total_seconds()
    for path in paths:
        os.utime(path, (past, past))


def test_many_small_files_become_one_sorted_one_and_no_row_changes(filled):
    before = filled.report()["content_hash"]
    compact(filled)
    (only,) = files(filled.bars)
    assert (
        pl.read_parquet(only)
        .select("symbol", "ts")
        .equals(filled.bars.scan().select("symbol", "ts").sort("symbol", "ts").collect())
    )
    assert filled.report()["content_hash"] == before
    assert filled.is_proven


def test_compacting_again_makes_no_version(filled):
    compact(filled)
    before = filled.versions()
    assert crowds(filled.bars) == []
    compact(filled)
    assert filled.versions() == before


def test_few_files_are_left_alone(lake):
    fill(lake, files=8)
    assert crowds(lake.bars) == []
    assert len(crowds(lake.bars, most_small=7)) == 1


def test_a_partition_is_cut_into_files_of_whole_series(lake, monkeypatch):
    fill(lake, symbols=("X:AAA", "X:BBB", "X:CCC", "X:DDD"))
    monkeypatch.setattr(optimize, "_FILE_ROWS", 20)
    compact(lake)
    held = [pl.read_parquet(path)["symbol"].unique().sort().to_list() for path in files(lake.bars)]
    assert sorted(held) == [["X:AAA", "X:BBB"], ["X:CCC", "X:DDD"]]
    assert lake.is_proven


def test_of_a_large_partition_only_the_small_files_are_rewritten(filled, monkeypatch):
    filled.bring("r", "first", dict.fromkeys(range(20), 1.0), symbol="X:BIG")
    large = max(files(filled.bars), key=lambda path: path.stat().st_size)
    monkeypatch.setattr(optimize, "_SMALL_BYTES", large.stat().st_size)
    monkeypatch.setattr(optimize, "_WHOLE_BYTES", 1)
    compact(filled)
    assert len(files(filled.bars)) == 2
    assert large in files(filled.bars)


def test_the_new_file_tells_what_it_holds(filled):
    compact(filled)
    (part,) = live_parts(filled.bars.delta())
    assert part.rows == 20
    assert part.stats["minValues"]["symbol"] == "X:ADABTC"
    assert part.may_hold("ts", FIRST, FIRST)
    assert not part.may_hold("ts", FIRST + 10 * HOUR, FIRST + 11 * HOUR)
    assert not part.may_hold("symbol", "X:FOO", "X:GOO")


def test_other_readers_find_the_rows_of_a_compacted_table(filled):
    compact(filled)
    table = DeltaTable(str(filled.bars.path))
    assert table.to_pyarrow_table().num_rows == 20
    assert (
        pl.scan_delta(str(filled.bars.path)).filter(pl.col("symbol") == SYMBOL).collect().height
        == 10
    )


def test_a_compacted_partition_takes_corrections_and_more_bars(filled):
    compact(filled)
    filled.bring("later", "X:ADABTC3", {3: 9.0, 30: 5.0}, sha="new")
    assert filled.held()[3] == 9.0
    assert filled.held()[30] == 5.0
    assert filled.is_proven


def test_the_commit_names_the_run_and_is_fenced(filled):
    compact(filled)
    *_, newest = filled.bars.history()
    assert '"run_id":"opt"' in newest["quant"]
    filled.bring("more", "first", dict.fromkeys(range(50, 52), 1.0))
    swap = rewritten(
        filled.bars, optimize.Crowd(partition=_partition(filled), parts=_parts(filled))
    )
    filled.bars.append(BARS.empty, filled.commit("newer", epoch=2), {})
    with pytest.raises(OwnershipLost):
        exchange(filled.bars, swap, filled.commit("opt", epoch=1))
    assert not any((filled.bars.path / part.path).exists() for part in swap.adds)


def _parts(lake):
    parts = live_parts(lake.bars.delta())
    return tuple(part for part in parts if part.place == parts[0].place)


def _partition(lake):
    return dict(live_parts(lake.bars.delta())[0].partition)


def test_rows_that_would_change_are_noticed_before_the_commit(filled, monkeypatch):
    before = filled.versions()
    real = optimize.write_part

    def lossy(table, rows, partition):
        return real(table, rows.with_columns(close=pl.col("close") + 1e-9), partition)

    monkeypatch.setattr(optimize, "write_part", lossy)
    on_disk = sorted(filled.bars.path.rglob("*.parquet"))
    with pytest.raises(Corrupted):
        compact(filled)
    assert filled.versions() == before
    assert sorted(filled.bars.path.rglob("*.parquet")) == on_disk
    assert filled.is_proven


def test_a_rewriting_that_fails_leaves_no_file(filled, monkeypatch):
    monkeypatch.setattr(optimize, "_FILE_ROWS", 5)
    write, calls = optimize.write_part, iter(range(9))

    def until_full(*args):
        if next(calls) == 1:
            raise OSError(28, "No space left on device")
        return write(*args)

    monkeypatch.setattr(optimize, "write_part", until_full)
    on_disk = sorted(filled.bars.path.rglob("*.parquet"))
    with pytest.raises(OSError, match="No space"):
        compact(filled)
    assert sorted(filled.bars.path.rglob("*.parquet")) == on_disk


@pytest.mark.parametrize("column", ["source", "symbol"])
def test_columns_beside_the_values_count_too(filled, monkeypatch, column):
    real = optimize.write_part
    monkeypatch.setattr(
        optimize,
        "write_part",
        lambda table, rows, partition: real(
            table, rows.with_columns(pl.col(column).reverse()), partition
        ),
    )
    with pytest.raises(Corrupted):
        compact(filled)


def test_a_file_that_was_replaced_meanwhile_is_not_brought_back(filled):
    (crowd,) = crowds(filled.bars)
    swap = rewritten(filled.bars, crowd)
    filled.bring("correcting", "X:ADABTC3", {3: 9.0}, sha="new")
    with pytest.raises(Conflict), filled.writing():
        exchange(filled.bars, swap, filled.commit("opt"))
    assert filled.held()[3] == 9.0
    assert len(filled.held()) == 10
    assert filled.is_proven


def test_rows_appended_meanwhile_stay(filled):
    (crowd,) = crowds(filled.bars)
    swap = rewritten(filled.bars, crowd)
    filled.bring("appending", "late", {15: 7.0})
    with filled.writing():
        exchange(filled.bars, swap, filled.commit("opt"))
    assert filled.held()[15] == 7.0
    assert len(filled.held()) == 11
    assert filled.is_proven


def test_nothing_is_lost_or_doubled_beside_running_ingests(lake):
    def ingest(symbol):
        for hour in range(12):
            lake.bring(f"{symbol}{hour}", f"{symbol}{hour}", {hour: 2.0}, symbol=symbol)

    symbols = ("X:AAA", "X:BBB")
    threads = [threading.Thread(target=ingest, args=(symbol,)) for symbol in symbols]
    for thread in threads:
        thread.start()
    rounds = 0
    while any(thread.is_alive() for thread in threads) or not rounds:
        try:
            compact(lake, most_small=1)
        except Conflict:
            continue
        rounds += 1
    for thread in threads:
        thread.join()
    assert [len(lake.held(symbol)) for symbol in symbols] == [12, 12]
    assert lake.is_proven


def test_tables_without_partitions_and_with_nulls_are_compacted(lake):
    for hour in range(10):
        lake.bring(f"r{hour}", f"s{hour}", {hour: -1.0})
    before = lake.quarantine.scan().sort("ts").collect()
    compact(lake, lake.quarantine)
    assert len(files(lake.quarantine)) == 1
    assert lake.quarantine.scan().sort("ts").collect().equals(before)
    lake.bring("again", "s3", {3: -1.0})
    assert lake.quarantine.scan().collect().height == 10


def test_values_that_are_no_numbers_get_no_statistics(lake):
    table = Table(lake.path, FEATURES)
    for hour in range(9):
        row = {
            "symbol": "X:ADABTC",
            "timeframe": "1h",
            "bucket": "2024-01",
            "ts": FIRST + hour * HOUR,
            "known_at": FIRST,
            "source": "talib",
            "rsi_14": float("nan"),
            "adx_14": 5.0,
        }
        rows = pl.DataFrame([row], schema=FEATURES.columns)
        table.append(rows, lake.commit(f"f{hour}"), {})
    compact(lake, table)
    (part,) = live_parts(table.delta())
    assert "rsi_14" not in part.stats["minValues"]
    assert part.stats["minValues"]["adx_14"] == 5.0
    assert table.scan().collect()["rsi_14"].is_nan().all()


def test_old_files_stay_for_the_retention_and_then_go(filled):
    old = files(filled.bars)
    compact(filled)
    assert vacuumable(filled.bars) == []
    make_old(old)
    assert vacuumable(filled.bars) == []
    assert sorted(vacuumable(filled.bars, 0)) == sorted(old)
    before = filled.versions()
    assert vacuum(vacuumable(filled.bars, 0)) > 0
    assert not any(path.exists() for path in old)
    assert vacuumable(filled.bars, 0) == []
    assert filled.versions() == before
    assert filled.is_proven


def test_what_a_killed_writer_left_goes_too_once_it_is_old(lake):
    fill(lake, files=1)
    left = files(lake.bars)[0].with_name("part-left.parquet")
    left.write_bytes(b"PAR1")
    assert vacuumable(lake.bars) == []
    make_old([left])
    assert vacuumable(lake.bars) == [left]
    vacuum([left])
    assert len(lake.held()) == 1


def test_a_vacuum_takes_nothing_but_data_files(lake):
    fill(lake, files=1)
    note = lake.bars.path / "README.txt"
    note.write_text("mine")
    make_old([note, *files(lake.bars), *(lake.bars.path / "_delta_log").iterdir()])
    assert vacuumable(lake.bars, 0) == []


def test_a_table_that_does_not_exist_needs_nothing(lake):
    assert crowds(lake.bars) == []
    assert vacuumable(lake.bars) == []
