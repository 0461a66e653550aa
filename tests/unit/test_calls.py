from __future__ import annotations

import math

import pytest

from quant_registry.errors import (
    RunCancelled,
    SourceError,
    SourceRefused,
    UnknownSymbol,
    VenueBusy,
)
from quant_sdk.sources.calls import BUSY_TRIES, TRIES, Caller
from quant_sdk.sources.limits import VenueLimit
from quant_sdk.testing import FakeClock


class Venue:
    """Answers a call by the next of its script: an error is raised; after the script, 42."""

    def __init__(self, clock, *script) -> None:
        self.clock = clock
        self.script = list(script)
        self.asked: list[float] = []

    def __call__(self) -> int:
        self.asked.append(self.clock.monotonic())
        if self.script:
            raise self.script.pop(0)
        return 42

    @property
    def pauses(self) -> list[float]:
        return [later - sooner for sooner, later in zip(self.asked, self.asked[1:], strict=False)]


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def limit(tmp_path, clock):
    return VenueLimit(tmp_path, "BINANCE", lambda: math.inf, clock)


@pytest.fixture
def caller(limit, clock):
    return caller_of(limit, clock)


def caller_of(limit, clock, **options):
    def rest(seconds: float) -> bool:
        clock.advance(seconds)
        return True

    return Caller(limit, rest, uniform=lambda _least, most: most, **options)


def broken(count=1):
    return [SourceError("the connection broke") for _ in range(count)]


def busy(seconds=None, count=1):
    return [VenueBusy("too many requests", retry_after=seconds) for _ in range(count)]


def test_an_answer_is_returned_after_one_call(caller, clock):
    venue = Venue(clock)
    assert caller(venue) == 42
    assert len(venue.asked) == 1


def test_a_failure_that_may_pass_is_tried_again_after_growing_pauses(caller, clock):
    venue = Venue(clock, *broken(4))
    assert caller(venue) == 42
    assert venue.pauses == pytest.approx([0.5, 1, 2, 4])


def test_pauses_are_jittered_between_half_and_whole(limit, clock):
    asked = []

    def uniform(least: float, most: float) -> float:
        asked.append((least, most))
        return (least + most) / 2

    def rest(seconds: float) -> bool:
        clock.advance(seconds)
        return True

    venue = Venue(clock, *broken(2))
    Caller(limit, rest, uniform=uniform)(venue)
    assert asked == [(0.25, 0.5), (0.5, 1.0)]
    assert venue.pauses == pytest.approx([0.375, 0.75])


def test_tries_are_bounded_and_the_last_failure_is_raised(caller, clock):
    failures = broken(50)
    venue = Venue(clock, *failures)
    with pytest.raises(SourceError) as caught:
        caller(venue)
    assert len(venue.asked) == TRIES
    assert caught.value is failures[TRIES - 1]


@pytest.mark.parametrize(
    "error",
    [
        SourceRefused("denied"),
        UnknownSymbol("not listed"),
        RunCancelled("cancelled"),
        ValueError("a bug"),
        KeyboardInterrupt(),
    ],
)
def test_what_will_not_pass_is_raised_at_once(caller, clock, error):
    venue = Venue(clock, error)
    with pytest.raises(type(error)):
        caller(venue)
    assert len(venue.asked) == 1


def test_a_busy_venue_is_left_alone_for_as_long_as_it_asks(caller, clock):
    venue = Venue(clock, *busy(7.0))
    assert caller(venue) == 42
    assert 7.0 <= venue.pauses[0] <= 7.5


def test_a_busy_venue_is_left_alone_by_the_others_too(limit, clock):
    other = Venue(clock)

    def meanwhile(least: float, most: float) -> float:
        # The jitter is drawn after the refusal, before this caller rests.
        began = clock.monotonic()
        caller_of(limit, clock)(other)
        assert other.asked[0] - began == pytest.approx(7.0)
        return most

    refused = Venue(clock, *busy(7.0))
    Caller(limit, lambda seconds: clock.advance(seconds) or True, uniform=meanwhile)(refused)
    assert len(other.asked) == 1


def test_one_callers_refusal_silences_the_venue(caller, limit, clock):
    with pytest.raises(VenueBusy):
        caller_of(limit, clock, tries=1)(Venue(clock, *busy(9.0)))
    assert limit.silence() == pytest.approx(9.0)
    venue = Venue(clock)
    began = clock.monotonic()
    caller(venue)
    assert venue.asked[0] - began == pytest.approx(9.0)


def test_a_busy_venue_that_names_no_time_is_asked_ever_less(caller, clock):
    venue = Venue(clock, *busy(None, 4))
    assert caller(venue) == 42
    assert venue.pauses == sorted(venue.pauses)
    assert venue.pauses[0] >= 0.5
    assert venue.pauses[-1] >= 4.0


def away(seconds, count=1):
    return [SourceError("503", retry_after=seconds) for _ in range(count)]


def test_a_venue_that_is_away_for_a_time_is_left_alone_for_that_time_by_all(caller, limit, clock):
    venue = Venue(clock, *away(12.0))
    assert caller(venue) == 42
    assert venue.pauses == pytest.approx([12.0])
    with pytest.raises(SourceError):
        caller_of(limit, clock, tries=1)(Venue(clock, *away(9.0)))
    assert limit.silence() == pytest.approx(9.0)


def test_a_venue_that_is_away_again_and_again_uses_up_the_tries(caller, clock):
    venue = Venue(clock, *away(0.0, 50))
    with pytest.raises(SourceError):
        caller(venue)
    assert len(venue.asked) == TRIES
    assert venue.pauses == pytest.approx([0.5, 1, 2, 4, 8])


def test_a_venue_that_is_away_for_hours_is_told_at_once(caller, clock):
    venue = Venue(clock, *away(7_000.0))
    with pytest.raises(SourceError):
        caller(venue)
    assert len(venue.asked) == 1


def test_a_storm_of_refusals_does_not_use_up_the_tries_for_failures(caller, clock):
    script = [error for _ in range(TRIES - 1) for error in (*busy(1.0, 2), *broken())]
    venue = Venue(clock, *script)
    assert caller(venue) == 42
    assert len(venue.asked) == len(script) + 1


def test_refusals_are_bounded_too(caller, clock):
    venue = Venue(clock, *busy(1.0, 100))
    with pytest.raises(VenueBusy):
        caller(venue)
    assert len(venue.asked) == BUSY_TRIES


def test_a_ban_of_hours_is_told_at_once_to_this_caller_and_the_next(caller, limit, clock):
    began = clock.monotonic()
    venue = Venue(clock, *busy(7_000.0))
    with pytest.raises(VenueBusy):
        caller(venue)
    with pytest.raises(VenueBusy, match="asked for silence"):
        caller_of(limit, clock)(venue)
    assert len(venue.asked) == 1
    assert clock.monotonic() == began


def test_an_outage_costs_one_try_a_call_until_the_venue_is_back(caller, clock):
    venue = Venue(clock, *broken(3 * TRIES + 5))
    for _ in range(3 + 5):
        with pytest.raises(SourceError):
            caller(venue)
    assert caller.failed_in_a_row == 8
    assert len(venue.asked) == 3 * TRIES + 5
    assert caller(venue) == 42
    assert caller.failed_in_a_row == 0
    venue.script = broken(TRIES - 1)
    assert caller(venue) == 42


def test_an_answer_that_refuses_shows_that_the_venue_is_there(caller, clock):
    venue = Venue(clock, *broken(2 * TRIES), UnknownSymbol("not listed"))
    for error in (SourceError, SourceError, UnknownSymbol):
        with pytest.raises(error):
            caller(venue)
    assert caller.failed_in_a_row == 0


def test_every_try_takes_a_turn_at_the_limit(tmp_path, clock):
    limit = VenueLimit(tmp_path, "BINANCE", lambda: 0.1, clock)
    venue = Venue(clock, *broken(2))
    caller_of(limit, clock)(venue)
    assert venue.pauses == pytest.approx([10, 10])


def test_a_cancelled_run_does_not_wait_to_try_again(limit, clock):
    venue = Venue(clock, *broken(3))
    with pytest.raises(RunCancelled):
        Caller(limit, lambda _: False)(venue)
    assert len(venue.asked) == 1
