from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_registry.run import Commit
from quant_registry.workspace import Workspace
from quant_sdk.lakehouse.causes import NOTED, known_causes
from quant_sdk.lakehouse.lakehouse import Lakehouse
from quant_sdk.lakehouse.specs import BARS, QUARANTINE, UNFILLED, VERIFIED_EMPTY
from quant_sdk.lakehouse.table import Table

HOUR = timedelta(hours=1)
START = datetime(2026, 1, 5, tzinfo=UTC)
COMMIT = Commit(batch_id="b", run_id="r", stage_id="data.ingest", epoch=0, lock_id=None)


def at(hour: int) -> datetime:
    return START + timedelta(hours=hour)


@pytest.fixture
def lakehouse(tmp_path) -> Lakehouse:
    """BINANCE:ADABTC 1h with the hours 0, 1, 6, 7 of a day."""
    rows = [
        {
            "symbol": "BINANCE:ADABTC",
            "timeframe": "1h",
            "bucket": "2026-01",
            "ts": at(hour),
            **dict.fromkeys(("open", "high", "low", "close", "volume"), 1.0),
            "source": "s",
        }
        for hour in (0, 1, 6, 7)
    ]
    table = Table(tmp_path / "data" / "lakehouse", BARS)
    table.append(pl.DataFrame(rows, schema=BARS.columns), COMMIT, {})
    return Lakehouse(Workspace(tmp_path))


def note(lakehouse: Lakehouse, spec, start: int, end: int, cause: str, *, symbol="BINANCE:ADABTC"):
    row = {
        "symbol": symbol,
        "timeframe": "1h",
        "start": at(start),
        "end": at(end),
        "cause": cause,
        "detail": "",
        "source": "s",
        "noted_at": at(99),
        "expires_at": at(99),
        "run_id": "r",
    }
    lakehouse.table(spec.name).append(pl.DataFrame([row], schema=spec.columns), COMMIT, {})


def gaps(lakehouse: Lakehouse) -> list[tuple[int, int, int, str]]:
    (series,) = lakehouse.coverage()
    hour = timedelta(hours=1)
    return [
        ((gap.start - START) // hour, (gap.end - START) // hour, gap.missing, gap.cause)
        for gap in series.gaps
    ]


def test_a_gap_nobody_asked_for_has_no_cause(lakehouse):
    assert gaps(lakehouse) == [(2, 6, 4, "")]


def test_a_gap_is_cut_where_its_cause_changes(lakehouse):
    note(lakehouse, VERIFIED_EMPTY, 3, 5, "verified_empty")
    assert gaps(lakehouse) == [(2, 3, 1, ""), (3, 5, 2, "verified_empty"), (5, 6, 1, "")]
    (series,) = lakehouse.coverage()
    assert (series.expected, series.present, series.missing, series.verified_empty) == (8, 4, 4, 2)


def test_what_was_asked_for_beyond_the_bars_is_a_gap_too(lakehouse):
    note(lakehouse, VERIFIED_EMPTY, -3, 1, "not_listed_yet")
    note(lakehouse, UNFILLED, 6, 12, "fetch_failed")
    assert gaps(lakehouse) == [
        (-3, 0, 3, "not_listed_yet"),
        (2, 6, 4, ""),
        (8, 12, 4, "fetch_failed"),
    ]
    (series,) = lakehouse.coverage()
    assert series.expected == series.present + series.missing == 15


def test_a_series_of_which_nothing_came_is_listed_with_its_cause(lakehouse):
    note(lakehouse, UNFILLED, 0, 5, "unknown_symbol", symbol="BINANCE:GONE")
    gone = lakehouse.coverage("BINANCE:GONE")
    assert [(item.first, item.present, item.missing) for item in gone] == [(None, 0, 5)]


def test_a_refused_row_explains_its_gap(lakehouse):
    row = dict.fromkeys(QUARANTINE.columns) | {
        "symbol": "BINANCE:ADABTC",
        "timeframe": "1h",
        "ts": at(3),
        "rule": "ohlc_order",
        "reason": "why",
        "source": "s",
        "source_sha256": "x",
        "run_id": "r",
        "batch_id": "b",
        "quarantined_at": at(9),
    }
    table = lakehouse.table("quarantine")
    table.append(pl.DataFrame([row], schema=QUARANTINE.columns), COMMIT, {})
    assert gaps(lakehouse) == [(2, 3, 1, ""), (3, 4, 1, "quarantined"), (4, 6, 2, "")]


notes = st.lists(
    st.tuples(st.integers(0, 30), st.integers(1, 8), st.sampled_from(["x", "y"])), max_size=6
)


@settings(max_examples=20, deadline=None)
@given(notes, notes)
def test_each_hour_has_the_cause_of_the_earlier_table_then_of_the_earlier_note(
    tmp_path_factory, verified, unfilled
):
    lakehouse = Lakehouse(Workspace(tmp_path_factory.mktemp("causes")))
    wanted: dict[int, str] = {}
    for spec, told in ((VERIFIED_EMPTY, verified), (UNFILLED, unfilled)):
        own: dict[int, str] = {}
        for start, length, cause in sorted(told, key=lambda n: (n[0], n[0] + n[1], n[2])):
            note(lakehouse, spec, start, start + length, cause)
            for hour in range(start, start + length):
                own.setdefault(hour, cause)
        wanted = own | wanted
    tables = [lakehouse.table(name) for name in NOTED]
    found = known_causes(tables).get(("BINANCE:ADABTC", "1h"), [])
    assert found == sorted(found)
    assert all(one[1] <= other[0] for one, other in pairwise(found))
    hours = {
        hour: cause
        for start, end, cause in found
        for hour in range((start - START) // HOUR, (end - START) // HOUR)
    }
    assert hours == wanted


def test_a_hundred_thousand_refused_rows_are_a_matter_of_seconds(lakehouse):
    opens = pl.datetime_range(at(0), at(100_000), "1h", time_zone="UTC", eager=True)
    row = dict.fromkeys(QUARANTINE.columns) | {
        "symbol": "BINANCE:ADABTC",
        "timeframe": "1h",
        "rule": "ohlc_order",
        "reason": "why",
        "source": "s",
        "source_sha256": "x",
        "run_id": "r",
        "batch_id": "b",
        "quarantined_at": at(9),
    }
    rows = (
        pl.DataFrame([row], schema=QUARANTINE.columns)
        .drop("ts")
        .join(pl.DataFrame({"ts": opens}), how="cross")
    )
    lakehouse.table("quarantine").append(rows, COMMIT, {})
    began = time.perf_counter()
    (series,) = lakehouse.coverage()
    assert time.perf_counter() - began < 20  # quadratic, it would take an hour
    assert [gap.cause for gap in series.gaps] == ["quarantined", "quarantined"]


def test_where_causes_overlap_the_verified_one_is_believed(lakehouse):
    note(lakehouse, UNFILLED, 2, 6, "fetch_failed")
    note(lakehouse, VERIFIED_EMPTY, 3, 4, "verified_empty")
    assert gaps(lakehouse) == [
        (2, 3, 1, "fetch_failed"),
        (3, 4, 1, "verified_empty"),
        (4, 6, 2, "fetch_failed"),
    ]
