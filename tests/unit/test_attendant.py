from __future__ import annotations

import threading

import pytest
import watchdog.observers

from quant_registry import attendant
from quant_registry.attendant import Attendant


@pytest.fixture
def failures():
    return []


@pytest.fixture
def attend(tmp_path, failures, monkeypatch):
    monkeypatch.setattr(attendant, "_WATCH_AFTER_TICKS", 1)
    started = []

    def start(tick, folder=tmp_path):
        started.append(Attendant(folder, tick, failures.append))
        started[-1].start()
        return started[-1]

    yield start
    for item in started:
        item.stop()


def test_a_change_of_the_control_file_is_noticed_between_polls(
    attend, tmp_path, monkeypatch, wait_until
):
    ticked = threading.Event()
    helper = attend(ticked.set)
    wait_until(lambda: helper._observer is not None)
    monkeypatch.setattr(attendant, "POLL_SECONDS", 1000.0)
    helper._poke.set()  # leave the short poll
    wait_until(lambda: not helper._poke.is_set())
    ticked.clear()
    (tmp_path / "migration_control.json").write_text("{}")
    assert ticked.wait(30)


def test_a_machine_without_inotify_instances_polls(attend, failures, monkeypatch, wait_until):
    refused = []

    def refuse():
        refused.append(1)
        raise OSError(24, "inotify instance limit reached")

    monkeypatch.setattr(watchdog.observers, "Observer", refuse)
    ticks = []
    attend(lambda: ticks.append(1))
    wait_until(lambda: refused and len(ticks) > 3)
    assert failures == []


def test_a_folder_that_is_gone_is_polled_and_leaves_no_thread(attend, tmp_path, wait_until):
    before = threading.active_count()
    ticks = []
    helper = attend(lambda: ticks.append(1), tmp_path / "none")
    wait_until(lambda: len(ticks) > 3)
    helper.stop()
    wait_until(lambda: threading.active_count() <= before)


def test_an_exception_in_a_tick_is_handed_over_and_ends_the_thread(attend, failures, wait_until):
    def fail():
        raise OSError(28, "No space left on device")

    helper = attend(fail)
    wait_until(lambda: failures)
    helper.stop()
    assert not helper._thread.is_alive()
    assert "No space" in str(failures[0])


def test_an_observer_that_never_stops_does_not_hold_up_a_run(attend, monkeypatch, wait_until):
    monkeypatch.setattr(attendant, "_UNWATCH_SECONDS", 0.05)
    never = threading.Event()

    class Stuck:
        def stop(self):
            never.wait(30)

    monkeypatch.setattr(attendant, "_watch", lambda folder, notify: Stuck())
    helper = attend(lambda: None)
    wait_until(lambda: helper._observer is not None)
    helper.stop()
    assert not helper._thread.is_alive()
    never.set()
