from __future__ import annotations

import subprocess
import sys
import threading
from itertools import islice

import pytest

from quant_registry.audit import AuditLog
from quant_registry.audit_reader import tail, verify_chain
from quant_registry.clock import SystemClock
from quant_registry.errors import InvalidInput


@pytest.fixture
def path(tmp_path):
    return tmp_path / "audit.jsonl"


def _log(path, run_id="r1"):
    return AuditLog(path, run_id=run_id, stage_id="a.b", actor="t", clock=SystemClock())


def _filled(path, count=5, run_id="r1"):
    log = _log(path, run_id)
    for n in range(1, count + 1):
        log.append("x", {"rows": n})
    return log


class _Follower:
    """A following tail in a thread."""

    def __init__(self, path, **filters) -> None:
        self.seen: list[dict] = []
        self.stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, args=(path, filters), daemon=True)
        self._thread.start()

    def _follow(self, path, filters) -> None:
        for event in tail(path, follow=True, stop=self.stop, **filters):
            self.seen.append(event)

    def rows(self):
        return [event["rows"] for event in self.seen]

    def end(self) -> None:
        self.stop.set()
        self._thread.join(10)
        assert not self._thread.is_alive()


@pytest.fixture
def follow():
    followers = []

    def start(path, **filters):
        followers.append(_Follower(path, **filters))
        return followers[-1]

    yield start
    for follower in followers:
        follower.end()


def test_a_log_that_does_not_exist_has_no_events(path):
    assert list(tail(path)) == []
    assert verify_chain(path) == []


def test_tail_filters_by_run_stage_and_seq(path):
    _filled(path, 5, "r1")
    _filled(path, 2, "r2")
    assert len(list(tail(path))) == 7
    assert [event["seq"] for event in tail(path, run_id="r1", since_seq=3)] == [4, 5]
    assert list(tail(path, stage_id="a.c")) == []
    assert len(list(tail(path, run_id="r1", until=lambda event: event["seq"] == 2))) == 2


def test_since_seq_needs_a_run(path):
    with pytest.raises(InvalidInput):
        next(tail(path, since_seq=1), None)


def test_a_following_tail_sees_a_log_that_begins_and_its_new_lines(path, follow, wait_until):
    follower = follow(path)
    log = _filled(path, 2)
    wait_until(lambda: follower.rows() == [1, 2])
    log.append("x", {"rows": 3})
    wait_until(lambda: follower.rows() == [1, 2, 3])


def test_half_a_line_is_waited_for(path, follow, wait_until):
    _filled(path, 1)
    follower = follow(path)
    wait_until(lambda: follower.rows() == [1])
    with path.open("ab", buffering=0) as stream:
        stream.write(b'{"rows":')
        stream.write(b'2}\n{"rows":3}\n{"ro')
        wait_until(lambda: follower.rows() == [1, 2, 3])
        stream.write(b'ws":4}\n')
        wait_until(lambda: follower.rows() == [1, 2, 3, 4])


@pytest.mark.parametrize("way", ["replaced", "truncated"])
def test_a_log_that_is_replaced_or_cut_is_read_from_its_beginning(path, follow, wait_until, way):
    _filled(path, 3)
    follower = follow(path)
    wait_until(lambda: follower.rows() == [1, 2, 3])
    if way == "replaced":
        path.with_suffix(".new").write_bytes(b'{"rows":9}\n')
        path.with_suffix(".new").replace(path)
    else:
        path.write_bytes(b'{"rows":9}\n')
    wait_until(lambda: follower.rows() == [1, 2, 3, 9])


def test_lines_that_are_no_events_are_passed_over(path):
    path.write_bytes(b'\n[1]\nnonsense\n\xff\n{"run_id":"r1","seq":"a"}\n{"run_id":"r1","seq":7}\n')
    assert [event["seq"] for event in tail(path, run_id="r1", since_seq=1)] == [7]


def test_an_intact_chain_verifies(path):  # req: chain
    head = _filled(path).head
    (report,) = verify_chain(path, heads={"r1": tuple(head)})
    assert report.ok
    assert (report.events, report.first_bad_seq, report.reason) == (5, None, "")


def _spoiled(path, spoil):
    _filled(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(spoil(lines)))


@pytest.mark.parametrize(
    ("spoil", "first_bad"),
    [
        (lambda ls: [*ls[:2], ls[2].replace(b'"rows":3', b'"rows":4'), *ls[3:]], 3),
        (lambda ls: [*ls[:2], *ls[3:]], 3),
        (lambda ls: [ls[0], ls[2], ls[1], *ls[3:]], 2),
        (lambda ls: ls[1:], 1),
        (lambda ls: [*ls[:3], ls[2], *ls[3:]], 4),
        (lambda ls: [*ls[:3], b"nonsense about r1\n", *ls[4:]], 4),
        (lambda ls: [*ls[:1], ls[1].replace(b'"r1"', b'"r9"'), *ls[2:]], 2),
    ],
    ids=["altered", "removed", "reordered", "beheaded", "repeated", "overwritten", "renamed"],
)
def test_the_first_bad_event_is_named(path, spoil, first_bad):
    _spoiled(path, spoil)
    report = verify_chain(path, run_id="r1")[0]
    assert not report.ok
    assert report.first_bad_seq == first_bad
    assert str(first_bad) in report.reason


def test_a_lost_end_shows_against_the_recorded_head(path):
    head = tuple(_filled(path).head)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:3]))
    assert verify_chain(path)[0].ok
    (report,) = verify_chain(path, heads={"r1": head})
    assert (report.ok, report.first_bad_seq) == (False, 4)
    path.unlink()
    (report,) = verify_chain(path, heads={"r1": head})
    assert (report.ok, report.first_bad_seq, report.events) == (False, 1, 0)


def test_a_chain_that_was_written_anew_shows_against_the_recorded_head(path):
    head = tuple(_filled(path).head)
    path.unlink()
    _filled(path)
    (report,) = verify_chain(path, heads={"r1": head})
    assert (report.ok, report.first_bad_seq) == (False, 5)


def test_a_long_log_is_read_in_pieces(path, monkeypatch):
    monkeypatch.setattr("quant_registry.audit_reader._CHUNK", 37)
    _filled(path, 20)
    assert len(list(tail(path))) == 20
    assert verify_chain(path)[0].ok
    assert len(list(islice(tail(path, follow=True), 20))) == 20


def test_reading_imports_neither_models_nor_locks_nor_tables(child_env):
    code = (
        "import sys, quant_registry.audit_reader, quant_registry.status\n"
        "heavy = {'pydantic', 'filelock', 'watchdog', 'polars', 'pyarrow', 'deltalake', 'httpx'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=child_env, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
