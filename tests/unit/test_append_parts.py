from __future__ import annotations

import polars as pl
import pytest
from _rows import bars, commit
from deltalake import DeltaTable
from polars.exceptions import ComputeError

from quant_registry.errors import DiskFull, InvalidInput, OwnershipLost
from quant_sdk.lakehouse import table as tables
from quant_sdk.lakehouse.specs import BARS
from quant_sdk.lakehouse.table import Table


@pytest.fixture
def many(monkeypatch) -> None:
    monkeypatch.setattr(tables, "_MANY_ROWS", 100)


def test_many_rows_are_appended_in_one_commit_partition_by_partition(tmp_path, many):
    table, rows = Table(tmp_path, BARS), bars(1_000)
    assert table.append(rows, commit(), {"entries": []}) == 1
    assert table.scan().collect().sort("ts").equals(rows)
    assert table.facts()["files"] == rows["bucket"].n_unique() == 3
    (made, first) = [*table.history()][::-1]
    assert (made["version"], first["version"]) == (1, 0)
    assert '"run_id":"r"' in made["quant"]


def test_many_rows_and_few_rows_read_alike(tmp_path, many):
    table, rows = Table(tmp_path, BARS), bars(1_000)
    table.append(rows[:50], commit(), {})
    table.append(rows[50:], commit(), {})
    assert table.scan().collect().sort("ts").equals(rows)
    wanted = table.delta().to_pyarrow_table(filters=[("symbol", "=", "BINANCE:ADABTC")])
    assert wanted.num_rows == 1_000


def test_a_null_where_none_may_be_is_refused_and_nothing_is_written(tmp_path, many):
    table = Table(tmp_path, BARS)
    table.append(bars(1), commit(), {})
    broken = bars(200).with_columns(close=pl.lit(None, dtype=pl.Float64))
    with pytest.raises(InvalidInput, match="close"):
        table.append(broken, commit(), {})
    assert table.version() == 1
    assert len(list(tmp_path.rglob("*.parquet"))) == 1


def test_an_overtaken_writer_of_many_rows_is_fenced(tmp_path, many):
    table = Table(tmp_path, BARS)
    table.append(bars(1), commit(epoch=7), {})
    with pytest.raises(OwnershipLost) as caught:
        table.append(bars(200), commit(epoch=6), {})
    assert "copy data/artifacts too" in caught.value.fix
    assert table.facts()["rows"] == 1


def full(*_args, **_more):
    raise ComputeError("No space left on device (os error 28)")


def test_a_full_disk_is_told_and_leaves_no_file(tmp_path, many, monkeypatch):
    table = Table(tmp_path, BARS)
    table.append(bars(1), commit(), {})
    write, calls = pl.DataFrame.write_parquet, iter(range(9))

    def until_full(frame, target, **how):
        write(frame, target, **how)
        if next(calls) == 1:
            full()

    monkeypatch.setattr(pl.DataFrame, "write_parquet", until_full)
    with pytest.raises(DiskFull):
        table.append(bars(1_000), commit(), {})
    assert len(list(tmp_path.rglob("part-*.parquet"))) == 1
    assert table.version() == 1


@pytest.mark.parametrize(
    "error", [OSError("No space left on device (os error 28)"), ValueError("x")]
)
def test_a_commit_that_fails_leaves_no_file(error, tmp_path, many, monkeypatch):
    table = Table(tmp_path, BARS)
    table.append(bars(1), commit(), {})

    def fail(*_args, **_more):
        raise error

    monkeypatch.setattr(DeltaTable, "create_write_transaction", fail)
    with pytest.raises(DiskFull if isinstance(error, OSError) else ValueError):
        table.append(bars(1_000), commit(), {})
    assert len(list(tmp_path.rglob("part-*.parquet"))) == 1


@pytest.mark.parametrize("torn", [False, True])
def test_what_fails_after_a_commit_takes_no_file_of_it_away(torn, tmp_path, many, monkeypatch):
    table = Table(tmp_path, BARS)
    table.append(bars(1), commit(), {})
    entry = table.path / "_delta_log" / f"{2:020d}.json"
    whole: list[bytes] = []

    def fail(*_args):
        whole.append(entry.read_bytes())
        if torn:
            entry.write_bytes(whole[0][:100])
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(tables, "sync_commit", fail)
    with pytest.raises(OSError, match="Input"):
        table.append(bars(1_000), commit(), {})
    entry.write_bytes(whole[0])
    assert Table(tmp_path, BARS).scan().collect().height == 1_001


def test_a_full_disk_of_a_small_append_is_told(tmp_path, monkeypatch):
    def fail(*_args, **_more):
        raise OSError("Generic LocalFileSystem error: No space left on device (os error 28)")

    monkeypatch.setattr(tables, "write_deltalake", fail)
    with pytest.raises(DiskFull, match="bars"):
        Table(tmp_path, BARS).append(bars(1), commit(), {})


def test_rows_are_replaced_whatever_is_in_their_names(tmp_path):
    table = Table(tmp_path, BARS)
    names = ["o'neil", "a\\b", 'say "x"', "' OR '1'='1"]
    named = pl.concat(bars(2).with_columns(source=pl.lit(name)) for name in names)
    table.append(named, commit(), {})
    for left, name in reversed(list(enumerate(names))):
        table.replace(BARS.empty, {"source": [name]}, commit(), {})
        assert set(table.scan().collect()["source"]) == set(names[:left])
