from __future__ import annotations

import polars as pl
import pytest
from _rows import bars, commit

from quant_registry.errors import InvalidInput, OwnershipLost
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
    with pytest.raises(OwnershipLost):
        table.append(bars(200), commit(epoch=6), {})
    assert table.facts()["rows"] == 1


def test_rows_are_replaced_whatever_is_in_their_names(tmp_path):
    table = Table(tmp_path, BARS)
    names = ["o'neil", "a\\b", 'say "x"', "' OR '1'='1"]
    named = pl.concat(bars(2).with_columns(source=pl.lit(name)) for name in names)
    table.append(named, commit(), {})
    for left, name in reversed(list(enumerate(names))):
        table.replace(BARS.empty, {"source": [name]}, commit(), {})
        assert set(table.scan().collect()["source"]) == set(names[:left])
