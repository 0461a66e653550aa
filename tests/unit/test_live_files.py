"""A table that is read again and again knows what others did to it meanwhile."""

from __future__ import annotations

import copy
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
from _rows import bars, commit
from deltalake import DeltaTable

from quant_registry.errors import Corrupted
from quant_sdk.lakehouse.files import LiveFiles
from quant_sdk.lakehouse.specs import BARS
from quant_sdk.lakehouse.table import Table


@pytest.fixture
def writer(tmp_path) -> Table:
    made = Table(tmp_path, BARS)
    made.append(bars(10), commit(), {})
    return made


@pytest.fixture
def reader(tmp_path, writer) -> Table:
    made = Table(tmp_path, BARS)
    assert made.scan().collect().height == 10
    return made


def test_a_reader_sees_what_others_write(writer, reader):
    writer.append(bars(5), commit(), {})
    assert reader.scan().collect().height == 15
    writer.overwrite(bars(3), commit(), {})
    assert reader.scan().collect().height == 3


def test_a_scan_stays_at_the_version_it_was_made_at(writer, reader):
    scan = reader.scan()
    writer.overwrite(bars(3), commit(), {})
    assert scan.collect().height == 10
    assert reader.scan().collect().height == 3


def test_a_table_that_is_made_anew_is_no_old_one(writer, reader):
    newest = writer.version()
    shutil.rmtree(writer.path)
    assert reader.scan().collect().height == 0
    for _ in range(newest + 2):
        writer.append(bars(2), commit(), {})
    assert reader.scan().collect().height == 2 * (newest + 2)
    shutil.rmtree(writer.path)
    writer.append(bars(1), commit(), {})
    assert reader.scan().collect().height == 1


def test_a_commit_that_was_taken_back_is_not_read(writer, reader):
    writer.append(bars(5), commit(), {})
    assert reader.scan().collect().height == 15
    (writer.path / "_delta_log" / f"{2:020d}.json").unlink()
    assert reader.scan().collect().height == 10
    writer.append(bars(7), commit(), {})
    assert reader.scan().collect().height == 17


def test_a_table_whose_log_was_cleaned_up_is_read(writer, reader):
    writer.append(bars(5), commit(), {})
    DeltaTable(str(writer.path)).create_checkpoint()
    for version in range(3):
        (writer.path / "_delta_log" / f"{version:020d}.json").unlink()
        assert reader.scan().collect().height == 15
        assert Table(writer.path.parent, BARS).scan().collect().height == 15


def test_a_torn_log_is_named(writer, reader):
    writer.append(bars(5), commit(), {})
    (writer.path / "_delta_log" / f"{2:020d}.json").write_text('{"add": ')
    with pytest.raises(Corrupted, match="bars"):
        reader.scan()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda item: pickle.loads(pickle.dumps(item))])
def test_a_reader_may_be_copied_after_it_has_read(copied, writer, reader):
    twin = copied(reader)
    writer.append(bars(5), commit(), {})
    assert twin.scan().collect().height == reader.scan().collect().height == 15


class Wiper:
    """A writer that wipes the table, and makes it anew with more versions, at a look of a reader.

    Args:
        name: the method of `LiveFiles` at the end of whose call it does.
    """

    def __init__(self, monkeypatch, writer: Table, name: str) -> None:
        whole = getattr(LiveFiles, name)

        def look(live, *args):
            found = whole(live, *args)
            monkeypatch.setattr(LiveFiles, name, whole)
            shutil.rmtree(writer.path)
            for _ in range(4):
                writer.append(bars(2), commit(), {})
            return found

        monkeypatch.setattr(LiveFiles, name, look)


@pytest.mark.parametrize("look", ["_mark", "_newest"])
def test_a_wipe_between_two_looks_of_a_reader_is_noticed(look, writer, reader, monkeypatch):
    writer.append(bars(5), commit(), {})
    Wiper(monkeypatch, writer, look)
    assert reader.scan().collect().height == 8
    writer.append(bars(1), commit(), {})
    assert reader.scan().collect().height == 9


@pytest.mark.parametrize("look", ["_newest_mark", "_newest"])
def test_a_wipe_between_the_first_looks_of_a_reader_is_noticed(look, writer, monkeypatch):
    Wiper(monkeypatch, writer, look)
    reader = Table(writer.path.parent, BARS)
    assert reader.scan().collect().height == 8
    writer.append(bars(1), commit(), {})
    assert reader.scan().collect().height == 9


def test_a_table_that_is_wiped_as_it_is_looked_at_is_empty(writer, monkeypatch):
    newest = LiveFiles._newest

    def look(live):
        shutil.rmtree(writer.path, ignore_errors=True)
        return newest(live)

    monkeypatch.setattr(LiveFiles, "_newest", look)
    assert Table(writer.path.parent, BARS).scan().collect().height == 0


def test_threads_may_share_a_reader(writer, reader):
    def look(_: int) -> int:
        return reader.scan().collect().height

    with ThreadPoolExecutor(8) as pool:
        for round_ in range(1, 21):
            looks = pool.map(look, range(8))
            writer.append(bars(1), commit(), {})
            assert set(looks) <= {9 + round_, 10 + round_}
    assert reader.scan().collect().height == 30
