from __future__ import annotations

import os
import threading
from datetime import timedelta

import pytest
from _stages import BY_ID

from quant_registry.audit_reader import tail
from quant_registry.clock import SystemClock
from quant_registry.control_file import ControlFile
from quant_registry.record import read_record, records
from quant_registry.request import RunRequest
from quant_registry.runner import run_stage
from quant_sdk import QuantSDK, doctor, probes
from quant_sdk.chains import verify_chains
from quant_sdk.doctor import PROBES, examine
from quant_sdk.errors import UnknownRun
from quant_sdk.probes import Patient


@pytest.fixture
def ask(workspace, registry):
    """Examine the workspace; return the answers by name."""

    def ask(*, bury=False, clock=None):
        patient = Patient(
            workspace=workspace,
            registry=registry,
            clock=clock or SystemClock(),
            actor="oncall",
            bury=bury,
        )
        return {item.name: item for item in examine(patient)}

    return ask


@pytest.fixture
def done(workspace):
    return run_stage(workspace, BY_ID["test.count"], RunRequest())


@pytest.fixture
def dead(workspace, child, wait_until):
    """A run whose process was killed."""
    process = child("test.hang")
    wait_until(lambda: any(event["event"] == "at_work" for event in tail(workspace.audit)))
    process.kill()
    process.wait()
    return next(iter(records(workspace)))


def test_a_fresh_workspace_is_well_and_stays_as_it_was(workspace, ask):
    found = ask()
    assert {item.status for item in found.values()} <= {"ok", "not_applicable"}
    assert found["tables"].status == "not_applicable"
    assert not list(workspace.root.iterdir())


def test_a_workspace_with_history_is_well(ask, done):
    assert {item.status for item in ask().values()} == {"ok", "not_applicable"}
    assert "1 chains are whole" in ask()["audit"].message


def test_every_probe_is_asked_and_a_crash_is_a_failure(ask, monkeypatch):
    def crash(patient):
        raise RuntimeError("the probe broke")

    monkeypatch.setattr(doctor, "PROBES", (("first", crash), *PROBES))
    found = ask()
    assert list(found) == ["first", *(name for name, _ in PROBES)]
    assert found["first"].status == "fail"
    assert "RuntimeError: the probe broke" in found["first"].message
    assert found["first"].fix


def test_a_folder_that_cannot_be_written_fails(workspace, ask, done, monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(probes, "_write_probe", refuse)
    found = ask()["workspace"]
    assert (found.status, "make " in found.fix) == ("fail", True)


@pytest.mark.parametrize(("free", "status"), [(1, "fail"), (2**28, "warn"), (2**40, "ok")])
def test_the_room_that_is_left_is_weighed(ask, monkeypatch, free, status):
    class Usage:
        pass

    Usage.free = free
    monkeypatch.setattr(probes.shutil, "disk_usage", lambda _: Usage)
    assert ask()["disk"].status == status


def test_a_clock_before_the_last_event_fails(ask, done):
    class Slow(SystemClock):
        def now(self):
            return super().now() - timedelta(hours=1)

    found = ask(clock=Slow())["clock"]
    assert found.status in {"warn", "fail"}
    assert "set the clock" in found.fix


def test_an_event_from_the_future_fails(workspace, ask, done):
    text = workspace.audit.read_text().replace('"timestamp":"20', '"timestamp":"21')
    workspace.audit.write_text(text)
    assert "in the future" in ask()["clock"].message
    assert ask()["clock"].status == "fail"


def test_a_frozen_owner_is_a_warning_with_the_command(workspace, ask, child, wait_until):
    import signal

    process = child("test.hang")
    wait_until(lambda: any(event["event"] == "at_work" for event in tail(workspace.audit)))
    assert "1 alive" in ask()["locks"].message
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: ask()["locks"].status == "warn")
    lock_id = read_record(workspace, next(iter(records(workspace))).run_id).lock_id
    assert ask()["locks"].fix == f"quant lock recover test.hang {lock_id}"


def test_dead_runs_are_a_warning_and_buried_on_request(workspace, ask, dead):
    found = ask()["abandoned"]
    assert found.status == "warn"
    assert dead.run_id in found.message
    assert "quant doctor --bury" in found.fix
    assert not read_record(workspace, dead.run_id).is_terminal
    assert ask(bury=True)["abandoned"].status == "ok"
    buried = read_record(workspace, dead.run_id)
    assert buried.state == "abandoned"
    assert ask()["abandoned"].message == "every run has its end, or lives"
    last = list(tail(workspace.audit, run_id=dead.run_id))[-1]
    assert (last["event"], last["actor"]) == ("run_abandoned", "oncall")
    assert ask()["audit"].status == "ok"


def test_two_doctors_bury_a_run_once(workspace, ask, dead):
    doctors = [threading.Thread(target=ask, kwargs={"bury": True}) for _ in range(4)]
    for one in doctors:
        one.start()
    for one in doctors:
        one.join()
    names = [event["event"] for event in tail(workspace.audit, run_id=dead.run_id)]
    assert names.count("run_abandoned") == 1
    assert ask()["audit"].status == "ok"


@pytest.mark.parametrize(
    ("damage", "seq", "reason"),
    [
        (lambda lines: [lines[0], lines[1].replace(b"S0", b"S9"), *lines[2:]], 2, "altered"),
        (lambda lines: [lines[0], *lines[2:]], 2, "missing"),
        (lambda lines: lines[:-1], 5, "the log ends at event 4, 5 were written"),
        (lambda _: [], 1, "the log ends at event 0"),
    ],
)
def test_a_chain_that_is_altered_or_cut_short_fails(workspace, ask, done, *, damage, seq, reason):
    lines = workspace.audit.read_bytes().splitlines(keepends=True)
    workspace.audit.write_bytes(b"".join(damage(lines)))
    [report] = verify_chains(workspace)
    assert (report.ok, report.first_bad_seq) == (False, seq)
    assert reason in report.reason
    assert ask()["audit"].status == "fail"
    assert done.run_id in ask()["audit"].message


def test_a_record_that_cannot_be_read_is_a_broken_chain(workspace, ask, done):
    (workspace.run_dir(done.run_id) / "run.json").write_text("{")
    [report] = verify_chains(workspace, done.run_id)
    assert not report.ok
    assert "its record cannot be read" in report.reason
    assert ask()["audit"].status == "fail"
    assert ask()["abandoned"].status == "ok"


def test_a_chain_nobody_knows_is_refused(workspace, done):
    with pytest.raises(UnknownRun) as caught:
        verify_chains(workspace, done.run_id[:-1])
    assert done.run_id in caught.value.fix


def test_an_unreadable_control_file_fails(workspace, ask, done):
    workspace.control.write_text("{")
    found = ask()["control"]
    assert (found.status, "quant resume" in found.fix) == ("fail", True)


def test_a_standing_pause_is_a_warning(workspace, registry, ask, done):
    QuantSDK(workspace.root, registry=registry, actor="ann").pause("test.noop", reason="quota")
    found = ask()["control"]
    assert (found.status, found.fix) == ("warn", "quant resume --scope test.noop")
    assert "by ann (quota)" in found.message
    ControlFile(workspace).change(lambda _: ())
    assert ask()["control"].status == "ok"


def test_a_table_that_cannot_be_read_fails(workspace, ask):
    log = workspace.lakehouse / "bars" / "_delta_log"
    log.mkdir(parents=True)
    (log / f"{0:020}.json").write_text("{")
    assert ask()["tables"].status == "fail"


def test_old_drafts_are_a_warning_and_new_ones_are_not(workspace, ask, done):
    old = workspace.lakehouse / "status" / ".x.json.7.abc.tmp"
    old.write_text("")
    assert ask()["leftovers"].status == "ok"
    hours_ago = SystemClock().now().timestamp() - 7200
    os.utime(old, (hours_ago, hours_ago))
    found = ask()["leftovers"]
    assert found.status == "warn"
    assert "status/.x.json.7.abc.tmp" in found.message


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("sources: {market: embedded}", "ok"),
        ("{", "fail"),
        ("source: {market: embedded}", "fail"),
        ("sources: {market: embeded}", "fail"),
        ("seamless: {conformance: {mode: lax}}", "fail"),
        ('stages: ["nowhere:STAGES"]', "fail"),
    ],
)
def test_settings_that_nobody_could_work_with_are_found(ask, workspace, text, status):
    workspace.settings.write_text(text)
    found = ask()["settings"]
    assert found.status == status
    assert bool(found.fix) is (status == "fail")
