from __future__ import annotations

import shutil
import threading

import orjson
import pytest

from quant_registry import files
from quant_registry.errors import Corrupted
from quant_registry.files import (
    dump_json,
    make_folder,
    read_json,
    write_atomic,
    write_atomic_by,
)


def test_a_reader_never_sees_half_of_a_file(tmp_path):  # req: status-atomic
    path = tmp_path / "x.json"
    write_atomic(path, dump_json({"n": 0, "fill": "x" * 20_000}))
    done = threading.Event()
    seen: list[object] = []

    def read() -> None:
        while not done.is_set():
            try:
                seen.append(read_json(path)["n"])
            except Exception as error:
                seen.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for n in range(1, 200):
        write_atomic(path, dump_json({"n": n, "fill": str(n % 10) * 20_000}))
    done.set()
    reader.join()
    assert seen
    assert all(isinstance(item, int) for item in seen)
    assert seen == sorted(seen)


def test_a_guard_that_says_no_leaves_the_file_and_no_other(tmp_path):
    path = tmp_path / "x"
    write_atomic(path, b"old")
    assert not write_atomic(path, b"new", guard=lambda: False)
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("call", ["fsync", "replace", "write"])
def test_a_failed_write_leaves_the_old_file_and_no_temporary_one(tmp_path, monkeypatch, call):
    path = tmp_path / "x"
    write_atomic(path, b"old")

    def full(*_args, **_more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, call, full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["x"]


def test_a_missing_folder_is_made(tmp_path):
    path = tmp_path / "a" / "b" / "x"
    write_atomic(path, b"1")
    assert path.read_bytes() == b"1"


def test_a_folder_that_vanishes_before_the_rename_is_made_again(tmp_path):
    path = tmp_path / "a" / "x"
    answers = iter([True, True])

    def vanish() -> bool:
        if next(answers, None):
            shutil.rmtree(path.parent)
        return True

    assert write_atomic(path, b"1", guard=vanish)
    assert path.read_bytes() == b"1"


def test_make_folder_may_be_raced(tmp_path):
    folder = tmp_path / "a" / "b" / "c"
    threads = [threading.Thread(target=make_folder, args=(folder,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert folder.is_dir()


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"\xff"])
def test_what_is_no_json_object_is_corrupted_and_says_which_file(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(Corrupted, match=r"x\.json"):
        read_json(path)


def test_a_file_beyond_the_bound_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_JSON_BYTES", 10)
    (tmp_path / "x.json").write_bytes(b'{"a": "12345678"}')
    with pytest.raises(Corrupted, match="larger"):
        read_json(tmp_path / "x.json")


@pytest.mark.parametrize(
    "value", ["\udcff.csv", 1 << 70, {1: 2}, {("a", 1): "\ud800"}, object, [{2: [1 << 65]}]]
)
def test_json_is_written_whatever_a_record_holds(value):
    assert orjson.loads(dump_json({"value": value}))


def test_a_value_that_holds_itself_is_written_too():
    circle: list[object] = []
    circle.append(circle)
    assert orjson.loads(dump_json({"value": circle}))


def test_a_file_that_is_made_by_others_replaces_whole_or_not_at_all(tmp_path):
    path = tmp_path / "made" / "x.bin"
    seen = []

    def write(at):
        seen.append(at)
        at.write_bytes(b"whole")
        assert not path.exists()

    write_atomic_by(path, write)
    assert path.read_bytes() == b"whole"
    assert seen[0].parent == path.parent

    def fail(at):
        at.write_bytes(b"half")
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        write_atomic_by(path, fail)
    assert path.read_bytes() == b"whole"
    assert [item.name for item in path.parent.iterdir()] == ["x.bin"]
