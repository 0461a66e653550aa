from __future__ import annotations

import os
import subprocess
import sys
import threading
from datetime import UTC, datetime

import jsonlines
import orjson
import pytest

from quant_registry import audit, files
from quant_registry.audit import MAX_LINE_BYTES, AuditLog
from quant_registry.audit_reader import tail, verify_chain
from quant_registry.clock import SystemClock
from quant_registry.errors import OwnershipLost

_WRITER = """
import sys
from pathlib import Path
from quant_registry.audit import AuditLog
from quant_registry.clock import SystemClock
path, run_id = Path(sys.argv[1]), sys.argv[2]
log = AuditLog(path, run_id=run_id, stage_id="a.b", actor="t", clock=SystemClock())
for n in range(int(sys.argv[3])):
    log.append("x", {"rows": n, "fill": "y" * (n % 700)})
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "artifacts" / "audit.jsonl"


def _log(path, run_id="r1", clock=None):
    return AuditLog(path, run_id=run_id, stage_id="a.b", actor="t", clock=clock or SystemClock())


def _lines(path):
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def test_an_event_carries_the_fields_of_the_seed(path, clock):  # req: seed-audit-fields
    progress = {"current": 45, "total": 150, "percent": 30.0, "eta_seconds": 120}
    fields = {"symbol": "BTCUSDT", "rows": 1500, "status": "success", "progress": progress}
    _log(path, clock=clock).append("ingest_progress", fields)
    (event,) = _lines(path)
    assert {key: event[key] for key in fields} == fields
    assert list(event)[:3] == ["timestamp", "event", "run_id"]
    assert event["timestamp"].endswith("Z")
    moment = datetime.fromisoformat(event["timestamp"])
    assert moment.astimezone(UTC).date() == datetime(2026, 2, 3, tzinfo=UTC).date()


def test_a_line_is_one_write(path, monkeypatch):  # req: one-write-a-line
    log = _log(path)
    writes = []
    real = os.write
    monkeypatch.setattr(files.os, "write", lambda fd, data: writes.append(1) or real(fd, data))
    for n in range(5):
        log.append("x", {"rows": n, "fill": "y" * 5000})
    assert len(writes) == 5


def test_threads_and_processes_append_and_every_chain_verifies(path):
    path.parent.mkdir()
    children = [
        subprocess.Popen([sys.executable, "-c", _WRITER, str(path), f"p{n}", "400"])
        for n in range(3)
    ]
    log = _log(path, "shared")
    threads = [
        threading.Thread(target=lambda: [log.append("x", {"rows": n}) for n in range(200)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [child.wait(60) for child in children] == [0, 0, 0]
    reports = {report.run_id: report for report in verify_chain(path)}
    assert all(report.ok for report in reports.values()), reports
    assert {name: report.events for name, report in reports.items()} == {
        "shared": 800,
        **{f"p{n}": 400 for n in range(3)},
    }
    assert not [event for event in _lines(path) if event["event"] == "audit_torn_tail"]


def test_jsonlines_reads_the_log_back(path):
    log = _log(path)
    for n in range(3):
        log.append("x", {"rows": n, "symbol": "Å\n\u2028"})
    with jsonlines.open(path) as reader:
        assert [event["rows"] for event in reader] == [0, 1, 2]


def test_a_torn_tail_is_closed_off_reported_and_swallows_nothing(path):  # req: torn-tail
    first = _log(path, "r1")
    first.append("x", {"rows": 1})
    with path.open("ab") as stream:
        stream.write(b'{"timestamp":"2026-02-03T10:00:00Z","event":"half')
    second = _log(path, "r2")
    second.append("y", {"rows": 2})
    first.append("x", {"rows": 3})
    events = list(tail(path))
    assert [event["event"] for event in events] == ["x", "audit_torn_tail", "y", "x"]
    assert events[1]["run_id"] == "r2"
    assert all(report.ok for report in verify_chain(path))


def test_of_several_that_see_a_torn_tail_one_closes_it(path):
    logs = [_log(path, f"r{n}") for n in range(6)]
    for log in logs:
        log.append("x", {})
    with path.open("ab") as stream:
        stream.write(b'{"half')
    threads = [threading.Thread(target=log.append, args=("y", {})) for log in logs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = path.read_bytes().split(b"\n")
    assert lines.count(b"") == 1  # the end of the file: no empty line in between
    assert lines.count(b'{"half') == 1
    assert sum(event["event"] == "audit_torn_tail" for event in tail(path)) == 1


def test_a_long_write_in_flight_is_not_taken_for_a_torn_tail(path, monkeypatch):
    log = _log(path)
    log.append("x", {})
    with path.open("ab") as stream:
        stream.write(b'{"first":')
    # The other writer's second half arrives while this one waits.
    monkeypatch.setattr(
        audit.time, "sleep", lambda _s: path.write_bytes(path.read_bytes() + b" 1}\n")
    )
    log.append("y", {})
    assert [event.get("event") for event in tail(path)] == ["x", None, "y"]


@pytest.mark.parametrize("way", ["removed", "renamed"])
def test_a_log_that_is_taken_away_is_begun_again_where_observers_look(path, way):
    log = _log(path)
    log.append("x", {"rows": 1})
    path.unlink() if way == "removed" else path.rename(path.with_suffix(".old"))
    log.append("x", {"rows": 2})
    (event,) = _lines(path)
    assert (event["rows"], event["seq"]) == (2, 2)


def test_a_huge_field_is_left_out_and_named(path):
    _log(path).append("x", {"big": "y" * MAX_LINE_BYTES, "rows": 3})
    (event,) = _lines(path)
    assert event["dropped_fields"] == ["big"]
    assert event["rows"] == 3
    assert verify_chain(path)[0].ok


def test_very_many_fields_stay_within_a_line(path):
    _log(path).append("x", {f"field{n}": "y" * 100 for n in range(5000)})
    assert path.stat().st_size <= MAX_LINE_BYTES
    assert verify_chain(path)[0].ok


def test_no_field_replaces_what_the_log_itself_writes(path):
    forged = dict.fromkeys(
        ("run_id", "timestamp", "event", "seq", "prev_hash", "stage_id", "actor", "schema"), "z"
    )
    _log(path).append("x", forged)
    (event,) = _lines(path)
    assert "z" not in event.values()
    assert verify_chain(path)[0].ok


def test_a_message_that_is_no_unicode_is_written_escaped(path):
    _log(path).append("x", {"error": {"message": "\udcff.csv"}, "n": 1 << 80})
    (event,) = _lines(path)
    assert event["error"]["message"] == "\\udcff.csv"


def test_a_write_that_fails_leaves_the_chain_whole(path, monkeypatch):
    log = _log(path)
    log.append("x", {})
    real = os.write

    def full(fd, data):
        real(fd, bytes(data)[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "write", full)
    with pytest.raises(OSError, match="No space"):
        log.append("x", {})
    monkeypatch.undo()
    log.append("x", {})
    (report,) = verify_chain(path)
    assert report.ok
    assert [event["event"] for event in tail(path)] == ["x", "audit_torn_tail", "x"]


def test_a_forked_child_may_not_write_its_parents_chain(path, monkeypatch):
    log = _log(path)
    log.append("x", {})
    monkeypatch.setattr(audit.os, "getpid", lambda: -1)
    with pytest.raises(OwnershipLost, match="forked"):
        log.append("x", {})


def test_a_closed_log_opens_again(path):
    log = _log(path)
    log.append("x", {})
    log.close()
    log.close()
    log.append("x", {})
    assert log.head.seq == 2
    log.close()
