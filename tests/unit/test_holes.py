from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_registry.run import Commit
from quant_sdk.lakehouse.specs import UNFILLED, VERIFIED_EMPTY
from quant_sdk.lakehouse.table import Table
from quant_sdk.seamless.holes import ASKED, Holes, expiry, intervals_of

NOW = datetime(2026, 2, 3, 10, tzinfo=UTC)
HOUR = 3_600_000_000
BASE = 1_760_000_400_000_000 // HOUR * HOUR


@pytest.fixture
def holes(tmp_path) -> Holes:
    return Holes(tmp_path / "lakehouse", tmp_path / "locks")


def commit(run: str = "run") -> Commit:
    return Commit(batch_id="b", run_id=run, stage_id="data.ingest", epoch=0, lock_id=None)


def asked(*spans: tuple[str, int, int]) -> pl.DataFrame:
    rows = [(s, "1h", BASE + a * HOUR, BASE + b * HOUR) for s, a, b in spans]
    return pl.DataFrame(rows, schema=ASKED, orient="row")


def found(*spans: tuple[str, int, int, str]) -> pl.DataFrame:
    return intervals_of(
        {
            "symbol": symbol,
            "timeframe": "1h",
            "start": BASE + start * HOUR,
            "end": BASE + end * HOUR,
            "cause": cause,
            "detail": "",
            "source": "ccxt:x",
        }
        for symbol, start, end, cause in spans
    )


def believed(holes: Holes, now: datetime = NOW) -> list[tuple[str, int, int]]:
    return sorted(
        (symbol, (start - BASE) // HOUR, (end - BASE) // HOUR)
        for symbol, start, end in holes.believed("1h", now).iter_rows()
    )


def test_an_empty_interval_is_believed_until_it_expires(holes):
    holes.record(asked(("A:A", 0, 9)), found(("A:A", 2, 4, "verified_empty")), commit(), NOW)
    assert believed(holes) == [("A:A", 2, 4)]
    assert believed(holes, NOW + timedelta(days=29)) == [("A:A", 2, 4)]
    assert believed(holes, NOW + timedelta(days=31)) == []


def test_what_failed_for_a_passing_reason_is_noted_and_asked_again_at_once(holes, tmp_path):
    holes.record(asked(("A:A", 0, 9)), found(("A:A", 2, 4, "fetch_failed")), commit(), NOW)
    assert believed(holes) == []
    noted = Table(tmp_path / "lakehouse", UNFILLED).scan().collect()
    assert noted.select("symbol", "cause", "run_id").rows() == [("A:A", "fetch_failed", "run")]
    assert not Table(tmp_path / "lakehouse", VERIFIED_EMPTY).exists()


def test_a_later_visit_takes_back_what_it_asked_for_and_leaves_the_rest(holes):
    holes.record(asked(("A:A", 0, 9)), found(("A:A", 0, 9, "verified_empty")), commit(), NOW)
    holes.record(asked(("A:A", 3, 5)), found(), commit("later"), NOW)
    assert believed(holes) == [("A:A", 0, 3), ("A:A", 5, 9)]


def test_a_visit_without_news_makes_no_version(holes, tmp_path):
    holes.record(asked(("A:A", 0, 9)), found(("A:A", 2, 4, "verified_empty")), commit(), NOW)
    table = Table(tmp_path / "lakehouse", VERIFIED_EMPTY)
    version = table.version()
    holes.record(asked(("A:A", 5, 9), ("A:B", 0, 9)), found(), commit(), NOW)
    assert table.version() == version


def test_a_hole_changes_its_cause_when_the_source_says_so(holes):
    holes.record(asked(("A:A", 0, 9)), found(("A:A", 2, 4, "verified_empty")), commit(), NOW)
    holes.record(asked(("A:A", 2, 4)), found(("A:A", 2, 4, "unknown_symbol")), commit(), NOW)
    assert believed(holes) == [("A:A", 2, 4)]


@pytest.mark.parametrize(
    ("age", "lasts"),
    [
        (timedelta(0), timedelta(hours=1)),
        (timedelta(days=3), timedelta(days=3)),
        (timedelta(days=900), timedelta(days=30)),
    ],
)
def test_the_older_a_hole_the_longer_it_is_believed(age, lasts):
    assert expiry(NOW - age, NOW, "verified_empty") - NOW == lasts


@pytest.mark.parametrize("age", [timedelta(0), timedelta(days=3), timedelta(days=900)])
def test_a_symbol_that_is_not_listed_may_be_listed_within_the_hour_however_old_the_hole(age):
    assert expiry(NOW - age, NOW, "unknown_symbol") - NOW == timedelta(hours=1)


spans = st.lists(st.tuples(st.integers(0, 20), st.integers(1, 8)), max_size=3)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 8), spans), min_size=1, max_size=4))
def test_after_any_visits_each_hour_says_what_the_last_visit_to_it_said(tmp_path_factory, visits):
    folder = tmp_path_factory.mktemp("holes")
    holes = Holes(folder / "lakehouse", folder / "locks")
    wanted: set[int] = set()
    for start, length, empties in visits:
        window = set(range(start, start + length))
        empty = {h for a, n in empties for h in range(a, a + n)} & window
        runs = [("A:A", hour, hour + 1, "verified_empty") for hour in sorted(empty)]
        holes.record(asked(("A:A", start, start + length)), found(*runs), commit(), NOW)
        wanted = (wanted - window) | empty
    held = [hour for _, a, b in believed(holes) for hour in range(a, b)]
    assert sorted(held) == sorted(wanted)
