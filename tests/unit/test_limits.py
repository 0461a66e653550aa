from __future__ import annotations

import math
import signal
import subprocess
import sys
import threading
import time

import orjson
import pytest

from quant_registry.clock import SystemClock
from quant_registry.errors import (
    Conflict,
    InvalidIdentifier,
    InvalidInput,
    RunCancelled,
    VenueBusy,
)
from quant_registry.owner import boot_id
from quant_sdk.sources.limits import MOST_SECONDS, VenueLimit
from quant_sdk.testing import FakeClock

_CHILD = """
import sys, threading, time
from pathlib import Path
from quant_registry.clock import SystemClock
from quant_sdk.sources.limits import VenueLimit

limit = VenueLimit(Path(sys.argv[1]), "BINANCE", lambda: float(sys.argv[2]), SystemClock())
gone = []
def go():
    for _ in range(int(sys.argv[3])):
        limit.acquire(lambda seconds: time.sleep(seconds) or True)
        gone.append(time.monotonic())
threads = [threading.Thread(target=go) for _ in range(2)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(*gone)
"""


class Waiter:
    """Rests by moving a clock that does not move by itself."""

    def __init__(self, clock) -> None:
        self.clock = clock
        self.rested: list[float] = []

    def __call__(self, seconds: float) -> bool:
        self.rested.append(seconds)
        self.clock.advance(seconds)
        return True


_KILLED = """
import os, signal, sys
from pathlib import Path
from quant_registry.clock import SystemClock
from quant_sdk.sources.limits import VenueLimit

limit = VenueLimit(Path(sys.argv[1]), "BINANCE", lambda: 5.0, SystemClock())
limit.acquire(lambda seconds: True)
with limit._exclusive():
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def rest(clock):
    return Waiter(clock)


def limit_of(tmp_path, clock, rate=10.0, venue="BINANCE"):
    return VenueLimit(tmp_path / "limits", venue, rate if callable(rate) else lambda: rate, clock)


def go(limit, rest, clock, times):
    gone = []
    for _ in range(times):
        limit.acquire(rest)
        gone.append(clock.monotonic())
    return gone


def test_requests_go_at_the_rate(tmp_path, clock, rest):
    gone = go(limit_of(tmp_path, clock, rate=4.0), rest, clock, 5)
    assert [at - gone[0] for at in gone] == pytest.approx([0, 0.25, 0.5, 0.75, 1.0])


def test_a_pause_of_the_caller_is_no_credit_for_a_burst(tmp_path, clock, rest):
    limit = limit_of(tmp_path, clock, rate=4.0)
    go(limit, rest, clock, 1)
    clock.advance(60)
    gone = go(limit, rest, clock, 3)
    assert [at - gone[0] for at in gone] == pytest.approx([0, 0.25, 0.5])


def test_two_limiters_of_one_venue_share_its_rate(tmp_path, clock, rest):
    one, other = limit_of(tmp_path, clock), limit_of(tmp_path, clock)
    first, second, third = (go(limit, rest, clock, 1)[0] for limit in (one, other, one))
    assert second - first == pytest.approx(0.1)
    assert third - second == pytest.approx(0.1)


def test_venues_do_not_wait_for_each_other(tmp_path, clock, rest):
    for venue in ("BINANCE", "KRAKEN", "embedded-BINANCE"):
        limit_of(tmp_path, clock, venue=venue).acquire(rest)
    assert rest.rested == []


def test_a_silence_holds_for_every_limiter_of_the_venue(tmp_path, clock, rest):
    limit_of(tmp_path, clock).penalise(1.5)
    began = clock.monotonic()
    (gone,) = go(limit_of(tmp_path, clock), rest, clock, 1)
    assert gone - began == pytest.approx(1.5)


def test_a_silence_holds_where_there_is_no_rate_limit(tmp_path, clock, rest):
    limit = limit_of(tmp_path, clock, rate=math.inf)
    limit.acquire(rest)
    assert not (tmp_path / "limits").exists()
    limit.penalise(1.5)
    began = clock.monotonic()
    (gone,) = go(limit, rest, clock, 1)
    assert gone - began == pytest.approx(1.5)


def test_a_shorter_silence_does_not_end_a_longer_one(tmp_path, clock):
    limit = limit_of(tmp_path, clock)
    for seconds in (30.0, 1.0, 0.0, -5.0, math.nan):
        limit.penalise(seconds)
    assert limit.silence() == pytest.approx(30.0)


def test_a_silence_is_never_kept_for_more_than_an_hour(tmp_path, clock):
    limit = limit_of(tmp_path, clock)
    limit.penalise(math.inf)
    assert limit.silence() == pytest.approx(MOST_SECONDS)


@pytest.mark.parametrize("rate", [5.0, math.inf])
def test_a_silence_beyond_patience_is_told_at_once(tmp_path, clock, rest, rate):
    limit = limit_of(tmp_path, clock, rate=rate)
    limit.penalise(600.0)
    with pytest.raises(VenueBusy) as caught:
        limit.acquire(rest, patience=300.0)
    assert caught.value.retry_after == pytest.approx(600.0)
    assert rest.rested == []


def test_a_cancelled_run_stops_waiting(tmp_path, clock):
    limit = limit_of(tmp_path, clock)
    limit.penalise(30.0)
    with pytest.raises(RunCancelled):
        limit.acquire(lambda _: False)


def test_a_lifted_throttle_is_felt_by_who_waits_for_it(tmp_path, clock):
    rates = iter([0.01, 0.01, 0.01])
    limit = limit_of(tmp_path, clock, rate=lambda: next(rates, 100.0))
    rest = Waiter(clock)
    gone = go(limit, rest, clock, 2)
    assert 1.0 <= gone[1] - gone[0] < 5.0


def test_a_throttle_is_felt_by_the_next_request(tmp_path, clock, rest):
    rate = 100.0
    limit = limit_of(tmp_path, clock, rate=lambda: rate)
    go(limit, rest, clock, 5)
    rate = 0.5
    gone = go(limit, rest, clock, 3)
    assert gone[2] - gone[1] == pytest.approx(2.0)


def test_a_throttled_caller_comes_to_its_turn_beside_a_fast_one(tmp_path, clock, rest):
    slow, fast = limit_of(tmp_path, clock, rate=0.2), limit_of(tmp_path, clock, rate=10.0)
    slow.acquire(rest)
    waited = []

    def rest_of_slow(seconds: float) -> bool:
        waited.append(seconds)
        until = clock.monotonic() + seconds
        while clock.monotonic() < until:
            fast.acquire(rest)
        return len(waited) < 50

    began = clock.monotonic()
    slow.acquire(rest_of_slow)
    assert 5.0 <= clock.monotonic() - began + 0.01 < 8.0


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan])
def test_a_rate_that_is_none_is_refused(tmp_path, clock, rest, rate):
    with pytest.raises(InvalidInput, match="is not a rate"):
        limit_of(tmp_path, clock, rate=rate).acquire(rest)


@pytest.mark.parametrize("venue", ["", "../BINANCE", "A/B", "a" * 65, "BINANCE\0", "É"])
def test_a_name_that_is_no_file_name_is_refused(tmp_path, clock, venue):
    with pytest.raises(InvalidIdentifier):
        limit_of(tmp_path, clock, venue=venue)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[1, 2]",
        b'["other boot", 9e9, 1.0, 9e9]',
        orjson.dumps([boot_id(), 9e9, 1.0, 9e9]),
        orjson.dumps([boot_id(), "x", None, {}]),
        orjson.dumps([boot_id(), 0.0, -5.0, 0.0]),
        b"\xff" * 4096,
    ],
)
def test_a_state_beyond_belief_makes_nobody_wait(tmp_path, clock, rest, content):
    (tmp_path / "limits").mkdir()
    (tmp_path / "limits" / "BINANCE.json").write_bytes(content)
    limit = limit_of(tmp_path, clock)
    gone = go(limit, rest, clock, 3)
    assert [at - gone[0] for at in gone] == pytest.approx([0, 0.1, 0.2])
    assert sum(rest.rested) == pytest.approx(0.2)


def test_a_folder_that_is_wiped_is_made_again(tmp_path, clock, rest):
    limit = limit_of(tmp_path, clock)
    limit.acquire(rest)
    for file in (tmp_path / "limits").iterdir():
        file.unlink()
    (tmp_path / "limits").rmdir()
    limit.acquire(rest)
    assert (tmp_path / "limits" / "BINANCE.json").is_file()


def test_a_lock_that_a_stopped_process_holds_is_reported(tmp_path, clock, rest):
    holder, waiting = limit_of(tmp_path, clock), limit_of(tmp_path, clock)
    waiting._processes.timeout = 0.01
    with holder._exclusive(), pytest.raises(Conflict, match="has held the rate limit of BINANCE"):
        waiting.acquire(rest)
    waiting.acquire(rest)


def test_a_process_that_is_killed_with_the_lock_leaves_it_free(tmp_path, child_env):
    command = [sys.executable, "-c", _KILLED, str(tmp_path / "limits")]
    killed = subprocess.run(command, env=child_env, check=False)
    assert killed.returncode == -signal.SIGKILL
    limit = limit_of(tmp_path, SystemClock(), rate=1e6)
    limit._processes.timeout = 5.0
    limit.acquire(lambda _: True)


def test_threads_of_one_limiter_share_its_rate(tmp_path):
    limit = limit_of(tmp_path, SystemClock(), rate=400.0)
    never, gone = threading.Event(), []

    def work() -> None:
        for _ in range(10):
            limit.acquire(lambda seconds: not never.wait(seconds))
            gone.append(time.monotonic())

    began = time.monotonic()
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(gone) == 80
    assert all(at - began >= turn / 400.0 for turn, at in enumerate(sorted(gone)))


def test_four_processes_never_exceed_the_rate(tmp_path, child_env):
    rate, each = 200.0, 20
    command = [sys.executable, "-c", _CHILD, str(tmp_path / "limits"), str(rate), str(each)]
    began = time.monotonic()
    children = [
        subprocess.Popen(command, env=child_env, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    gone = sorted(float(at) for child in children for at in child.communicate()[0].split())
    assert [child.returncode for child in children] == [0] * 4
    assert len(gone) == 4 * 2 * each
    # The n-th request can go no earlier than the n-th slot after the first.
    assert gone[0] > began
    assert all(at >= began + turn / rate for turn, at in enumerate(gone))


def test_a_turn_that_need_not_be_waited_for_is_cheap(tmp_path):
    limit = limit_of(tmp_path, SystemClock(), rate=1e9)
    limit.acquire(lambda _: True)

    def seconds() -> float:
        began = time.perf_counter()
        for _ in range(100):
            limit.acquire(lambda _: True)
        return (time.perf_counter() - began) / 100

    assert min(seconds() for _ in range(10)) < 300e-6
