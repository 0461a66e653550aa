from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_registry.errors import (
    InvalidInput,
    RunCancelled,
    SourceError,
    SourceRefused,
    UnknownSymbol,
    VenueBusy,
)
from quant_sdk.lakehouse.timeframe import Timeframe
from quant_sdk.sources.fetch import COLUMNS, fetch_bars
from quant_sdk.sources.protocol import BarQuery, Capabilities

SYMBOL = "BINANCE:ADABTC"
HOUR = Timeframe.parse("1h")
BASE = HOUR.slot_of(1_704_067_200_000_000)
FAR = 10_000


def us(slot, timeframe=HOUR):
    """The opening of a bar, counted from BASE."""
    return timeframe.open_of(timeframe.slot_of(HOUR.open_of(BASE)) + slot)


def rows_of(instants):
    ts = pl.Series("ts", list(instants), pl.Int64).cast(pl.Datetime("us", "UTC"))
    values = {name: pl.lit(1.5) for name in ("open", "high", "low", "close", "volume")}
    return ts.to_frame().with_columns(**values)


class Scripted:
    """A venue in memory: it holds bars at `instants`, and what a request meets is scripted.

    Asked since t it gives the next bars from t on; with `window`, only those within so many slots
    of t. `script` maps the ordinal of a request to an error, or to a function of the answer.
    """

    id = "scripted"
    venue = "BINANCE"

    def __init__(self, instants, *, timeframe=HOUR, page=4, inclusive=True, window=None) -> None:
        self.instants = sorted(instants)
        self.timeframe = timeframe
        self.window = window
        self.script: dict = {}
        self.asked: list[int] = []
        self.capabilities = Capabilities(
            page_size=page,
            since_inclusive=inclusive,
            lookback=2,
            max_requests_per_second=10.0,
            timeframes=(timeframe.text,),
        )

    def can(self, **capabilities):
        self.capabilities = replace(self.capabilities, **capabilities)

    def transform_query(self, query):
        if query.timeframe not in self.capabilities.timeframes:
            raise InvalidInput(f"no {query.timeframe}", fix="")
        slots = self.timeframe.grid(query.start, query.end)
        return {"since": query.start, "limit": min(max(len(slots), 1), self.capabilities.page_size)}

    def extract(self, request):
        ordinal = len(self.asked)
        self.asked.append(request["since"])
        fault = self.script.get(ordinal)
        if isinstance(fault, BaseException):
            raise fault
        since = request["since"] + (not self.capabilities.since_inclusive)
        found = [at for at in self.instants if at >= since]
        if self.window:
            last = self.timeframe.slot_of(since - 1) + min(request["limit"], self.window)
            found = [at for at in found if self.timeframe.slot_of(at) <= last]
        answer = found[: request["limit"]]
        return fault(answer) if fault is not None else answer

    def transform_data(self, answer):
        if not isinstance(answer, list):
            raise SourceError("no bars")
        return rows_of(answer)


def fetch(source, *, start=0, end=10, now=FAR, timeframe=HOUR, caller=lambda call: call()):
    query = BarQuery(
        symbol=SYMBOL, timeframe=timeframe.text, start=us(start, timeframe), end=us(end, timeframe)
    )
    return fetch_bars(source, query, now_us=us(now, timeframe), caller=caller)


def holes(fetched, timeframe=HOUR):
    zero = timeframe.slot_of(us(0, timeframe))
    assert all(hole.symbol == SYMBOL for hole in fetched.holes)
    assert all(hole.timeframe == timeframe.text for hole in fetched.holes)
    return [
        (timeframe.slot_of(hole.start) - zero, timeframe.slot_of(hole.end) - zero, hole.cause)
        for hole in fetched.holes
    ]


def slots(fetched):
    return [HOUR.slot_of(at) - BASE for at in fetched.bars["ts"].to_physical()]


def test_a_whole_range_comes_in_pages_without_holes():
    source = Scripted(map(us, range(-20, 40)))
    fetched = fetch(source)
    assert slots(fetched) == list(range(10))
    assert fetched.holes == ()
    assert source.asked == [us(0), us(4), us(8)]
    assert fetched.requests == 3


def test_bars_have_the_columns_of_the_protocol():
    for fetched in (fetch(Scripted([us(1)])), fetch(Scripted([]), end=0)):
        assert dict(fetched.bars.schema) == COLUMNS


def test_a_venue_that_gives_bars_after_since_only_is_asked_earlier():
    source = Scripted(map(us, range(40)), inclusive=False)
    fetched = fetch(source)
    assert slots(fetched) == list(range(10))
    assert fetched.holes == ()


def test_only_the_unclosed_bar_is_withheld():
    fetched = fetch(Scripted(map(us, range(7))), now=6)
    assert slots(fetched) == list(range(6))
    assert fetched.withheld == 1
    assert fetched.holes == ()


def test_a_bar_that_closes_now_is_closed():
    query = BarQuery(symbol=SYMBOL, timeframe="1h", start=us(0), end=us(4))
    source = Scripted(map(us, range(4)), page=10)
    for now, count in ((us(2) - 1, 1), (us(2), 2)):
        fetched = fetch_bars(source, query, now_us=now, caller=lambda call: call())
        assert fetched.bars.height == count


@pytest.mark.parametrize(("end", "now"), [(0, FAR), (-3, FAR), (5, 0), (5, -3)])
def test_a_range_without_a_closed_bar_asks_for_nothing(end, now):
    source = Scripted(map(us, range(40)))
    fetched = fetch(source, end=end, now=now)
    assert (fetched.requests, source.asked, fetched.holes) == (0, [], ())


def test_bars_outside_the_range_are_dropped():
    source = Scripted(map(us, range(-5, 40)))
    source.script[0] = lambda _: [us(slot) for slot in range(-5, 40)]
    fetched = fetch(source, end=3)
    assert slots(fetched) == [0, 1, 2]


def test_duplicates_and_stray_bars_are_left_to_the_checks():
    source = Scripted(map(us, range(40)), page=10)
    source.script[0] = lambda answer: [*answer[:3], us(2), us(2) + 7, *answer[3:]]
    fetched = fetch(source)
    assert slots(fetched) == [0, 1, 2, 2, 2, *range(3, 10)]
    assert fetched.holes == ()


def test_what_the_venue_lacks_between_its_bars_is_verified_empty():
    fetched = fetch(Scripted(us(slot) for slot in (-1, 0, 1, 4, 5, 9, 10)))
    assert holes(fetched) == [(2, 4, "verified_empty"), (6, 9, "verified_empty")]


def test_what_the_venue_lacks_at_the_end_is_verified_empty():
    fetched = fetch(Scripted(us(slot) for slot in range(7)))
    assert holes(fetched) == [(7, 10, "verified_empty")]


def test_a_venue_that_answers_by_windows_is_asked_for_every_window():
    fetched = fetch(Scripted([us(-1), us(0), us(9)], window=4))
    assert slots(fetched) == [0, 9]
    assert holes(fetched) == [(1, 9, "verified_empty")]


def test_a_venue_that_looks_at_half_of_what_it_declares_loses_no_bar():
    source = Scripted([us(-1), us(6), us(7)], window=2)
    fetched = fetch(source, end=12)
    assert slots(fetched) == [6, 7]
    assert holes(fetched) == [(0, 6, "verified_empty"), (8, 12, "verified_empty")]


def test_a_venue_that_gives_its_next_bars_has_none_left_after_an_empty_answer():
    source = Scripted(us(slot) for slot in range(3))
    source.can(gives_next=True)
    assert holes(fetch(source, end=1000)) == [(3, 1000, "verified_empty")]
    assert len(source.asked) == 2


def test_what_lies_before_the_first_bar_ever_is_not_listed_yet():
    source = Scripted(us(slot) for slot in range(6, 40))
    assert holes(fetch(source)) == [(0, 6, "not_listed_yet")]
    assert source.asked[-1] == 0


def test_a_page_that_fails_before_the_first_bar_ever_does_not_hide_it():
    source = Scripted(us(slot) for slot in range(6, 40))
    source.script[0] = SourceError("away")
    assert holes(fetch(source)) == [(0, 4, "fetch_failed"), (4, 6, "not_listed_yet")]


def test_a_series_listed_after_the_range_is_not_listed_yet():
    assert holes(fetch(Scripted([us(20)]))) == [(0, 10, "not_listed_yet")]


def test_an_empty_beginning_after_older_bars_is_verified_empty():
    assert holes(fetch(Scripted([us(-9), us(6)]))) == [
        (0, 6, "verified_empty"),
        (7, 10, "verified_empty"),
    ]


def test_a_venue_that_cannot_tell_its_first_bar_leaves_the_beginning_verified_empty():
    source = Scripted([us(6), us(7), us(8), us(9)], window=4)
    source.script = {4: SourceRefused("since is too long ago")}
    assert holes(fetch(source)) == [(0, 6, "verified_empty")]
    assert source.asked[4] == 0


def test_the_first_bar_ever_is_asked_for_only_where_the_beginning_is_empty():
    source = Scripted(us(slot) for slot in (0, 1, 8))
    fetch(source)
    assert 0 not in source.asked


def test_a_venue_that_gives_its_newest_bars_whatever_it_is_asked_proves_nothing():
    class Newest(Scripted):
        def extract(self, request):
            super().extract(request)
            return self.instants[-request["limit"] :]

    fetched = fetch(Newest(us(slot) for slot in range(6, 10)))
    assert slots(fetched) == [6, 7, 8, 9]
    assert holes(fetched) == [(0, 6, "fetch_failed")]
    assert "out_of_reach" in fetched.holes[0].detail


@pytest.mark.parametrize("end", [6, 9, 10])
def test_a_venue_that_gives_as_many_of_its_newest_bars_as_it_likes_proves_nothing(end):
    class Newest(Scripted):
        def extract(self, request):
            super().extract(request)
            return self.instants[-4:]

    fetched = fetch(Newest(us(slot) for slot in range(10)), end=end)
    assert slots(fetched) == list(range(6, end))
    assert holes(fetched) == [(0, 6, "fetch_failed")]
    assert "out_of_reach" in fetched.holes[0].detail


def test_a_new_listing_shows_by_its_later_pages_that_it_is_heard():
    source = Scripted(us(slot) for slot in range(6, 40))
    fetch(source, end=20)
    assert source.asked.count(0) == 1
    assert source.asked[-1] == 0


@pytest.mark.parametrize("page", [5, 30, 1000])
@pytest.mark.parametrize("newest", [29, 30, 31])
def test_a_newest_bar_in_every_answer_hides_no_bar(page, newest):
    class Appended(Scripted):
        def extract(self, request):
            answer = super().extract(request)[:5]
            return [*answer, *({us(newest)} - set(answer))]

    source = Appended(map(us, range(newest + 1)), page=page)
    fetched = fetch(source, end=30, now=newest)
    assert slots(fetched) == list(range(min(newest, 30)))
    assert fetched.holes == ()
    assert fetched.withheld == (newest == 29)


def test_a_hole_is_no_wider_than_the_answers_of_a_venue_that_looks_at_less_than_it_declares():
    source = Scripted(map(us, [*range(-20, 40), *range(70, 150)]), page=100, window=20)
    fetched = fetch(source, end=150)
    assert slots(fetched) == [*range(40), *range(70, 150)]
    assert holes(fetched) == [(40, 70, "verified_empty")]


def test_what_was_passed_over_before_the_first_bar_is_looked_at_again_with_care():
    source = Scripted(map(us, [-30, 10, 11, *range(70, 90)]), page=100, window=20)
    fetched = fetch(source, end=90)
    assert slots(fetched) == [10, 11, *range(70, 90)]
    assert holes(fetched) == [(0, 10, "verified_empty"), (12, 70, "verified_empty")]


def test_how_far_a_venue_looks_is_measured_once_and_then_a_long_hole_costs_little():
    source = Scripted(map(us, [*range(-500, 3), *range(2000, 2003)]), page=100, window=100)
    fetched = fetch(source, end=2003)
    assert slots(fetched) == [0, 1, 2, 2000, 2001, 2002]
    assert len(source.asked) < 30


def test_a_venue_that_fails_while_it_is_measured_leaves_a_page_that_failed():
    source = Scripted(map(us, [0, 1]), page=4)
    source.script = {2: SourceError("503")}
    fetched = fetch(source, end=9)
    assert holes(fetched) == [(2, 6, "fetch_failed"), (6, 9, "verified_empty")]


def test_a_venue_that_never_gives_old_bars_proves_nothing():
    source = Scripted(us(slot) for slot in (6, 7, 9))
    source.can(recent_only=True)
    assert holes(fetch(source)) == [(0, 6, "fetch_failed"), (8, 9, "verified_empty")]
    assert 0 not in source.asked


@pytest.mark.parametrize(
    "error", [SourceError("503"), VenueBusy("slow down"), SourceRefused("bad request")]
)
def test_a_failed_page_is_a_hole_and_the_next_page_is_asked_for(error):
    source = Scripted(map(us, range(-5, 40)))
    source.script[1] = error
    fetched = fetch(source)
    assert slots(fetched) == [0, 1, 2, 3, 8, 9]
    assert holes(fetched) == [(4, 8, "fetch_failed")]
    assert fetched.holes[0].detail == f"{error.code}: {error.message}"


def test_neighbouring_holes_of_one_cause_are_one():
    source = Scripted(map(us, range(-5, 40)))
    source.script = {1: SourceError("503"), 2: SourceError("503")}
    assert holes(fetch(source, end=20)) == [(4, 12, "fetch_failed")]


def test_an_answer_that_cannot_be_read_fails_within_the_call_so_that_it_is_tried_again():
    source = Scripted(map(us, range(-5, 40)))
    source.script[0] = lambda _: "<html>"

    def twice(call):
        try:
            return call()
        except SourceError:
            return call()

    fetched = fetch(source, caller=twice)
    assert slots(fetched) == list(range(10))
    assert fetched.requests == 4


def test_a_symbol_that_is_delisted_on_the_way_keeps_what_came_before():
    source = Scripted(map(us, range(-5, 40)))
    source.script[1] = UnknownSymbol("BINANCE does not list it")
    fetched = fetch(source, end=20)
    assert slots(fetched) == [0, 1, 2, 3]
    assert holes(fetched) == [(4, 20, "unknown_symbol")]
    assert fetched.requests == 2


def test_a_symbol_that_was_never_listed_is_one_hole_and_no_request():
    class Unlisted(Scripted):
        def transform_query(self, query):
            raise UnknownSymbol(f"BINANCE does not list {query.symbol}")

    fetched = fetch(Unlisted([]))
    assert holes(fetched) == [(0, 10, "unknown_symbol")]
    assert fetched.requests == 0


def test_a_page_that_does_not_move_on_is_recorded_and_passed_over():
    source = Scripted(map(us, range(-5, 40)))
    source.script[1] = lambda _: [us(-5), us(1)]
    fetched = fetch(source)
    assert slots(fetched) == [0, 1, 2, 3, 8, 9]
    assert holes(fetched) == [(4, 8, "no_progress")]


def test_a_venue_that_always_answers_with_the_same_page_comes_to_an_end():
    source = Scripted([us(-2), us(-1)])
    source.script = dict.fromkeys(range(1000), lambda _: [us(-2), us(-1)])
    assert holes(fetch(source, end=100)) == [(0, 100, "no_progress")]
    assert len(source.asked) == 25


def test_a_venue_that_refuses_again_and_again_is_not_asked_for_the_rest():
    source = Scripted(map(us, range(400)))
    source.script = dict.fromkeys(range(1000), SourceRefused("denied"))
    assert holes(fetch(source, end=400)) == [(0, 400, "fetch_failed")]
    assert len(source.asked) == 3


def test_a_venue_that_fails_page_after_page_is_given_up_in_the_end():
    source = Scripted(map(us, range(400)))
    source.script = dict.fromkeys(range(1000), SourceError("503"))
    assert holes(fetch(source, end=400)) == [(0, 400, "fetch_failed")]
    assert len(source.asked) == 20


def test_details_are_short_and_one_line():
    source = Scripted([us(0)])
    source.script[0] = SourceError("a\n  b" + "x" * 5000)
    (hole,) = fetch(source, end=4).holes
    assert hole.detail.startswith("source_error: a bxxx")
    assert len(hole.detail) == 200


@pytest.mark.parametrize("error", [RunCancelled("cancelled"), KeyboardInterrupt(), ValueError("x")])
def test_what_is_no_answer_of_the_venue_goes_through(error):
    source = Scripted(map(us, range(40)))
    source.script[1] = error
    with pytest.raises(type(error)):
        fetch(source)


def test_a_timeframe_that_the_venue_lacks_is_refused():
    with pytest.raises(InvalidInput):
        fetch(Scripted([]), timeframe=Timeframe.parse("5m"))


def test_a_start_between_two_bars_begins_with_the_later_one():
    query = BarQuery(symbol=SYMBOL, timeframe="1h", start=us(0) + 1, end=us(3) + 1)
    source = Scripted(map(us, range(40)))
    fetched = fetch_bars(source, query, now_us=us(FAR), caller=lambda call: call())
    assert slots(fetched) == [1, 2, 3]
    assert fetched.holes == ()


def test_months_are_walked_on_their_own_grid():
    month = Timeframe.parse("1M")
    instants = [us(slot, month) for slot in (-1, 0, 1, 3, 4)]
    assert datetime.fromtimestamp(instants[2] / 1e6, UTC) == datetime(2024, 2, 1, tzinfo=UTC)
    source = Scripted(instants, timeframe=month, page=2)
    fetched = fetch(source, end=6, timeframe=month)
    assert fetched.bars["ts"].to_physical().to_list() == instants[1:]
    assert holes(fetched, month) == [(2, 3, "verified_empty"), (5, 6, "verified_empty")]


_FAULTS = st.one_of(
    st.sampled_from(
        [
            SourceError("503"),
            VenueBusy("429"),
            SourceRefused("403"),
            UnknownSymbol("gone"),
            lambda _: "torn",
            lambda answer: list(reversed(answer)),
            lambda answer: answer + answer[:1],
            lambda answer: [us(-50), us(-49)],
            lambda answer: [us(-50), *answer, us(300)],
        ]
    )
)


@settings(max_examples=400, deadline=None)
@given(
    text=st.sampled_from(["1h", "1h", "1d", "1w", "1M"]),
    present=st.sets(st.integers(-12, 70), max_size=60),
    bounds=st.tuples(st.integers(-15, 60), st.integers(0, 60), st.integers(-5, 70)),
    off=st.integers(0, 1000),
    page=st.integers(1, 12),
    inclusive=st.booleans(),
    window=st.sampled_from([None, None, 1, 2]),
    script=st.dictionaries(st.integers(0, 12), _FAULTS, max_size=6),
)
def test_every_closed_bar_of_the_range_either_came_or_lies_in_one_hole(
    *, text, present, bounds, off, page, inclusive, window, script
):
    timeframe = Timeframe.parse(text)
    source = Scripted(
        [us(slot, timeframe) for slot in present],
        timeframe=timeframe,
        page=page,
        inclusive=inclusive,
        window=None if window is None else -(-page // window),
    )
    source.can(gives_next=window is None)
    source.script = script
    start, length, now = bounds
    query = BarQuery(
        symbol=SYMBOL,
        timeframe=text,
        start=us(start, timeframe) - off,
        end=us(start + length, timeframe) - off,
    )
    now_us = us(now, timeframe) + off
    fetched = fetch_bars(source, query, now_us=now_us, caller=lambda call: call())

    closed = [
        at
        for at in timeframe.grid(query.start, query.end)
        if timeframe.open_of(timeframe.slot_of(at) + 1) <= now_us
    ]
    came = {timeframe.floor(at) for at in fetched.bars["ts"].to_physical()}
    lost = [at for hole in fetched.holes for at in timeframe.grid(hole.start, hole.end)]
    assert sorted([*came, *lost]) == closed
    assert [hole.start for hole in fetched.holes] == sorted(hole.start for hole in fetched.holes)
    assert fetched.requests == len(source.asked)

    # What came is true, and "empty" is said only of what the venue lacks, unless an answer lied.
    truth = set(source.instants)
    if not any(callable(fault) for fault in script.values()):
        assert came <= truth
        empty = {"verified_empty", "not_listed_yet"}
        for hole in fetched.holes:
            if hole.cause in empty:
                assert not truth & set(timeframe.grid(hole.start, hole.end))
            if hole.cause == "not_listed_yet":
                assert window is None
                assert all(at >= hole.end for at in truth if at >= 0)
    if not script:
        assert came == truth & set(closed)


@settings(max_examples=400, deadline=None)
@given(
    present=st.sets(st.integers(1, 120), max_size=100),
    page=st.integers(1, 50),
    window=st.integers(1, 50),
    newest=st.booleans(),
)
def test_whatever_a_venue_looks_at_all_bars_after_the_first_one_come(present, page, window, newest):
    class Appended(Scripted):
        def extract(self, request):
            answer = super().extract(request)
            return [*answer, *({self.instants[-1]} - set(answer))] if newest else answer

    wanted = [us(0), *map(us, sorted(present))]
    fetched = fetch(Appended([*wanted, us(130)], page=page, window=window), end=121)
    assert fetched.bars["ts"].to_physical().to_list() == wanted
    assert {hole.cause for hole in fetched.holes} <= {"verified_empty"}
