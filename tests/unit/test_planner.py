from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from quant_registry.run import Commit
from quant_registry.workspace import Workspace
from quant_sdk.lakehouse.calendars import calendar_for
from quant_sdk.lakehouse.lakehouse import Lakehouse
from quant_sdk.lakehouse.specs import BARS
from quant_sdk.lakehouse.timeframe import from_micros, to_micros
from quant_sdk.seamless import Holes, Planner, Wanted
from quant_sdk.seamless.holes import ASKED, intervals_of

MONDAY = datetime(2026, 2, 2, 10, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
COMMIT = Commit(batch_id="b", run_id="r", stage_id="data.ingest", epoch=0, lock_id=None)


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    return Workspace(tmp_path)


def hold(workspace: Workspace, symbol: str, first: datetime, last: datetime) -> None:
    """Put hourly bars with the openings [first, last] into the lakehouse."""
    opens = pl.datetime_range(first, last, "1h", time_zone="UTC", eager=True)
    prices = dict.fromkeys(("open", "high", "low", "close", "volume"), 1.0)
    frame = pl.DataFrame({"ts": opens}).with_columns(
        symbol=pl.lit(symbol),
        timeframe=pl.lit("1h"),
        bucket=pl.col("ts").dt.strftime("%Y-%m"),
        source=pl.lit("s"),
        **{name: pl.lit(value) for name, value in prices.items()},
    )
    Lakehouse(workspace).table("bars").append(frame.select(list(BARS.columns)), COMMIT, {})


def planner(workspace: Workspace, now: datetime = MONDAY) -> Planner:
    holes = Holes(workspace.lakehouse, workspace.locks)
    return Planner(Lakehouse(workspace), holes, calendar_for, now)


def shown(shards) -> list[tuple[str, datetime, datetime, bool]]:
    return [(s.symbol, from_micros(s.start), from_micros(s.end), s.follows) for s in shards]


def at(day: int, hour: int = 0, month: int = 2) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


def wanted(symbol: str, days: int, now: datetime = MONDAY) -> list[Wanted]:
    return [Wanted.last_days(symbol, "1h", days, now)]


def test_a_new_series_is_wanted_whole_up_to_the_last_closed_bar(workspace):
    found = planner(workspace).edges(wanted("X:A", 3))
    assert shown(found) == [("X:A", at(30, 10, month=1), at(2, 10), False)]


def test_a_held_series_is_wanted_before_and_after_its_bars(workspace):
    hold(workspace, "X:A", at(1), at(2, 6))
    found = planner(workspace).edges(wanted("X:A", 3))
    assert shown(found) == [
        ("X:A", at(30, 10, month=1), at(1), False),
        ("X:A", at(2, 7), at(2, 10), True),
    ]


def test_gaps_between_the_bars_are_left_to_repair(workspace):
    hold(workspace, "X:A", at(30, 10, month=1), at(1, 3))
    hold(workspace, "X:A", at(1, 9), at(2, 9))
    assert planner(workspace).edges(wanted("X:A", 3)) == []
    gaps = planner(workspace).gaps(wanted("X:A", 3))
    assert shown(gaps) == [("X:A", at(1, 4), at(1, 9), True)]


def note(workspace: Workspace, start: datetime, end: datetime, cause: str, now=MONDAY) -> None:
    """Let a visit say of the hours [start, end) of X:A why they did not come."""
    span = {"symbol": "X:A", "timeframe": "1h", "start": to_micros(start), "end": to_micros(end)}
    asked = pl.DataFrame([span], schema=ASKED)
    said = intervals_of([{**span, "cause": cause, "detail": "", "source": "s"}])
    Holes(workspace.lakehouse, workspace.locks).record(asked, said, COMMIT, now)


@pytest.mark.parametrize("cause", ["fetch_failed", "no_progress"])
def test_what_failed_between_the_bars_is_wanted_again_by_the_next_ingest(workspace, cause):
    hold(workspace, "X:A", at(30, 10, month=1), at(1, 3))
    hold(workspace, "X:A", at(1, 9), at(2, 6))
    note(workspace, at(1, 4), at(1, 7), cause)
    assert shown(planner(workspace).edges(wanted("X:A", 3))) == [
        ("X:A", at(1, 4), at(1, 7), True),
        ("X:A", at(2, 7), at(2, 10), True),
    ]


def test_a_failure_is_wanted_again_where_it_is_still_missing_and_only_there(workspace):
    hold(workspace, "X:A", at(1), at(1, 3))
    hold(workspace, "X:A", at(1, 6), at(2, 6))
    note(workspace, at(30, month=1), at(1, 6), "fetch_failed")
    hold(workspace, "X:A", at(1, 4), at(1, 4))
    assert shown(planner(workspace).edges(wanted("X:A", 3))) == [
        ("X:A", at(30, 10, month=1), at(1), False),
        ("X:A", at(1, 5), at(1, 6), True),
        ("X:A", at(2, 7), at(2, 10), True),
    ]


@pytest.mark.parametrize("cause", ["verified_empty", "unknown_symbol", "quarantined"])
def test_what_was_answered_between_the_bars_is_left_to_repair(workspace, cause):
    hold(workspace, "X:A", at(30, 10, month=1), at(1, 3))
    hold(workspace, "X:A", at(1, 9), at(2, 9))
    note(workspace, at(1, 4), at(1, 9), cause)
    assert planner(workspace).edges(wanted("X:A", 3)) == []
    later = MONDAY + timedelta(days=90)
    assert len(planner(workspace, later).edges(wanted("X:A", 93, later))) == 1


def test_a_symbol_that_is_not_listed_yet_is_wanted_again_within_the_hour(workspace):
    note(workspace, at(30, 10, month=1), at(2, 10), "unknown_symbol")
    soon = MONDAY + timedelta(minutes=25)
    assert planner(workspace, soon).edges(wanted("X:A", 3, soon)) == []
    later = MONDAY + timedelta(hours=1)
    for choose in (Planner.edges, Planner.gaps):
        (shard,) = choose(planner(workspace, later), wanted("X:A", 3, later))
        assert shard.bars == 72


def test_a_bar_of_the_future_does_not_make_a_series_fresh(workspace):
    hold(workspace, "X:A", at(30, 10, month=1), at(2, 6))
    hold(workspace, "X:A", at(1, month=8), at(1, month=8))
    found = planner(workspace).edges(wanted("X:A", 3))
    assert shown(found) == [("X:A", at(2, 7), at(2, 10), True)]


def test_bars_of_the_future_alone_are_none(workspace):
    hold(workspace, "X:A", at(2, 10), at(2, 12))  # the first of them is still open
    found = planner(workspace).edges(wanted("X:A", 3))
    assert shown(found) == [("X:A", at(30, 10, month=1), at(2, 10), False)]


def test_a_market_that_was_closed_since_is_not_asked(workspace):
    hold(workspace, "FXCM:EURUSD", at(28, month=1), at(30, 21, month=1))  # to Friday's close
    saturday = at(31, 12, month=1)
    assert planner(workspace, saturday).edges(wanted("FXCM:EURUSD", 2, saturday)) == []
    monday = planner(workspace).edges(wanted("FXCM:EURUSD", 4))
    assert shown(monday) == [("FXCM:EURUSD", at(1, 22), at(2, 10), True)]


def test_what_was_vouched_empty_is_not_asked_until_it_expires(workspace):
    hold(workspace, "X:A", at(1), at(2, 9))
    start, end = to_micros(at(30, 10, month=1)), to_micros(at(1))
    span = {"symbol": "X:A", "timeframe": "1h", "start": start, "end": end}
    said = {"cause": "not_listed_yet", "detail": "", "source": "s"}
    asked = pl.DataFrame([span], schema=ASKED)
    Holes(workspace.lakehouse, workspace.locks).record(
        asked, intervals_of([{**span, **said}]), COMMIT, MONDAY
    )
    assert planner(workspace).edges(wanted("X:A", 3)) == []
    later = MONDAY + timedelta(days=2)
    found = planner(workspace, later).edges(wanted("X:A", 5, later))
    assert shown(found)[0] == ("X:A", at(30, 10, month=1), at(1), False)


def test_long_histories_are_cut_so_that_a_crash_costs_little(workspace):
    found = planner(workspace).edges(wanted("X:A", 30), shard_bars=100)
    assert len(found) >= 7
    assert sum(shard.bars for shard in found) == 30 * 24
    assert len({shard.id for shard in found}) == len(found)
