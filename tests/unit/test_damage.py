"""What is said of a table whose files are gone or damaged, and what is not said of it."""

from __future__ import annotations

import os
import re
import shutil

import click
import pytest
from _lake import SYMBOL, Lake
from _rows import bars, commit

from quant_cli.main import root as quant
from quant_registry.errors import Corrupted, DiskFull, NoData
from quant_sdk import QuantSDK
from quant_sdk.lakehouse.damage import NO_LOG, PUT_BACK
from quant_sdk.lakehouse.parts import commit_parts
from quant_sdk.lakehouse.restore import way_back
from quant_sdk.lakehouse.specs import BARS
from quant_sdk.lakehouse.table import Table
from quant_sdk.lakehouse.versions import versions, versions_of

READS = {
    "bars": lambda house: house.bars(SYMBOL, "1h"),
    "cross_section": lambda house: house.cross_section("1h", "2024-01-31"),
    "coverage": lambda house: house.coverage(),
    "content_hash": lambda house: house.content_hash(),
    "restore": lambda house: way_back(house.table("bars"), 1),
}


@pytest.fixture
def lake(tmp_path):
    made = Lake(tmp_path)
    made.bring("r1", "first", {0: 1.0})
    made.bring("r2", "first", {1: 2.0}, sha="b")
    return made


@pytest.fixture
def table(tmp_path):
    made = Table(tmp_path, BARS)
    made.append(bars(4), commit(), {})
    return made


def newest_file(lake):
    return lake.bars.path / commit_parts(lake.bars, lake.bars.version())[0][0].path


@pytest.mark.parametrize("read", READS.values(), ids=READS)
@pytest.mark.parametrize("size", [None, 0, 50])
def test_a_damaged_file_is_named(read, size, lake, tmp_path):
    damaged = newest_file(lake)
    if size is None:
        damaged.unlink()
    else:
        os.truncate(damaged, size)
    with pytest.raises(Corrupted, match=damaged.name) as caught:
        read(QuantSDK(tmp_path).lakehouse)
    assert caught.value.fix == PUT_BACK


def test_a_batch_beside_a_damaged_file_is_refused_and_the_file_named(lake):
    os.truncate(newest_file(lake), 50)
    with pytest.raises(Corrupted, match=newest_file(lake).name):
        lake.bring("r3", "first", {1: 3.0}, sha="c")


def test_a_file_whose_bytes_have_changed_is_damage(lake, tmp_path):
    path = newest_file(lake)
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(Corrupted, match="bars"):
        QuantSDK(tmp_path).lakehouse.bars(SYMBOL, "1h")


def test_a_file_put_back_from_a_snapshot_mends_the_table(lake, tmp_path):
    from quant_sdk.lakehouse.snapshot import create_snapshot

    sdk = QuantSDK(tmp_path)
    create_snapshot(sdk.workspace, "kept", [lake.bars], now=lake.clock.now())
    held = lake.held()
    path = newest_file(lake)
    path.unlink()
    shutil.copy(sdk.workspace.snapshots / "kept" / path.relative_to(lake.path), path)
    assert lake.held() == held


def test_files_that_go_while_they_are_read_are_looked_up_again(table):
    looks: list[int] = []

    def ask(rows):
        if not looks:
            old = list(table.path.rglob("part-*.parquet"))
            Table(table.path.parent, BARS).overwrite(bars(7), commit(), {})
            for path in old:
                path.unlink()
        looks.append(1)
        return rows.collect().height

    assert table.read(ask) == 7


def test_a_table_that_is_wiped_while_it_is_read_is_empty(table):
    def ask(rows):
        shutil.rmtree(table.path, ignore_errors=True)
        return rows.collect().height

    assert table.read(ask) == 0
    assert table.version() == -1
    with pytest.raises(NoData):
        table.delta()


def test_what_a_machine_refuses_is_no_damage(table):
    def ask(rows):
        raise OSError("Too many open files (os error 24)")

    with pytest.raises(OSError, match="Too many"):
        table.read(ask)


def test_a_disk_too_full_to_sort_on_is_no_damage(table):
    def ask(rows):
        raise OSError("No space left on device (os error 28)")

    with pytest.raises(DiskFull):
        table.read(ask)


@pytest.mark.parametrize("keep", [70, 10])
def test_a_torn_entry_of_the_log_is_named(keep, lake):
    entry = max((lake.bars.path / "_delta_log").glob("*.json"))
    looks = (
        lambda: list(lake.bars.history()),
        lambda: versions_of(lake.bars, {"r1"}),
        lambda: commit_parts(lake.bars, 2),
        lambda: versions(lake.bars),
    )
    os.truncate(entry, keep)
    for look in looks:
        with pytest.raises(Corrupted, match="bars") as caught:
            look()
        assert caught.value.fix == NO_LOG
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("fix", [PUT_BACK, NO_LOG])
def test_every_command_that_a_fix_names_exists(fix):
    named = re.findall(r"quant ([a-z]+) ([a-z]+)", fix)
    assert named
    for group, leaf in named:
        context = click.Context(quant)
        found = quant.get_command(context, group)
        assert isinstance(found, click.Group)
        assert leaf in found.list_commands(context)
