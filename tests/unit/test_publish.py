from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from _lake import answer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quant_registry.errors import InvalidIdentifier, OwnershipLost
from quant_registry.run import Commit
from quant_sdk.conformance import ConformancePipeline
from quant_sdk.lakehouse.batch import Incoming
from quant_sdk.lakehouse.fingerprint import combine, fingerprint
from quant_sdk.lakehouse.ledger import Ledger
from quant_sdk.lakehouse.parity import parity
from quant_sdk.lakehouse.publish import Publisher
from quant_sdk.lakehouse.specs import BARS, CORRECTIONS, QUARANTINE
from quant_sdk.lakehouse.table import Table
from quant_sdk.lakehouse.timeframe import Timeframe

NOW = datetime(2024, 6, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
PIPELINE = ConformancePipeline.partial_ok(True)


def commit(batch: str = "b1", epoch: int = 1, run: str = "r1") -> Commit:
    return Commit(batch_id=batch, run_id=run, stage_id="t.stage", epoch=epoch, lock_id="l")


def incoming(
    source: str,
    closes: dict[int, float],
    *,
    symbol: str = "X:ADABTC",
    sha: str = "",
) -> Incoming:
    """Return a checked source with a bar at each hour given, and its close."""
    raw = pl.DataFrame(
        {
            "row": list(range(len(closes))),
            "ts": [datetime(2024, 1, 31, tzinfo=UTC) + hour * HOUR for hour in closes],
            **{name: list(closes.values()) for name in ("open", "high", "low", "close")},
            "volume": [1.0] * len(closes),
        },
        schema_overrides={"row": pl.UInt32, "ts": pl.Datetime("us", "UTC")},
    )
    checked = PIPELINE.admit(raw, Timeframe.parse("1h"), across_gaps=True)
    return Incoming.of(
        checked,
        source=source,
        sha256=(sha or source).ljust(64, "0"),
        spec_digest="0" * 64,
        stamp=(1, 2, 3, 4),
        symbol=symbol,
        timeframe="1h",
    )


@pytest.fixture
def lakehouse(tmp_path):
    return tmp_path / "data" / "lakehouse"


@pytest.fixture
def publisher(lakehouse, tmp_path):
    return Publisher(lakehouse, tmp_path / "locks", {"first": 0, "second": 1})


def versions(lakehouse):
    return [Table(lakehouse, spec).version() for spec in (BARS, QUARANTINE, CORRECTIONS)]


def is_proven(lakehouse):
    entries = Ledger(lakehouse).entries()
    return parity(entries, Table(lakehouse, BARS), Table(lakehouse, QUARANTINE))["ok"]


def closes(lakehouse):
    frame = Table(lakehouse, BARS).scan().sort("ts").collect()
    return [(ts.hour + 24 * (ts.day - 31) % 24, close) for ts, close in frame["ts", "close"].rows()]


def test_rows_of_a_source_are_told_apart_and_add_up(publisher, lakehouse):
    source = incoming("first", {0: 1.0, 1: 2.0, 2: -1.0})
    (entry,) = publisher.publish([source], commit(), NOW).entries
    assert (entry.rows, entry.bars, entry.quarantined, entry.unaccounted) == (3, 2, 1, 0)
    assert Table(lakehouse, QUARANTINE).scan().collect()["rule"].to_list() == ["non_positive_price"]
    assert is_proven(lakehouse)


def test_months_become_buckets(publisher, lakehouse):
    publisher.publish([incoming("first", dict.fromkeys(range(22, 27), 1.0))], commit(), NOW)
    counts = Table(lakehouse, BARS).scan().group_by("bucket").len().collect()
    assert dict(counts.rows()) == {"2024-01": 2, "2024-02": 3}


def test_publishing_a_batch_again_makes_no_version(publisher, lakehouse):
    batch = [incoming("first", {0: 1.0, 1: -2.0})]
    publisher.publish(batch, commit(), NOW)
    before = versions(lakehouse)
    again = publisher.publish(batch, commit(), NOW)
    assert versions(lakehouse) == before
    assert again.entries[0].unchanged == 1
    assert again.entries[0].unaccounted == 0


def test_a_batch_cut_after_quarantine_is_completed_without_a_second_row(
    publisher, lakehouse, monkeypatch
):
    batch = [incoming("first", {0: 1.0, 1: -2.0})]
    with monkeypatch.context() as patch:
        patch.setattr(Publisher, "_write_bars", lambda *_: (_ for _ in ()).throw(OSError("cut")))
        with pytest.raises(OSError, match="cut"):
            publisher.publish(batch, commit(), NOW)
    publisher.publish(batch, commit(run="r2"), NOW)
    assert Table(lakehouse, QUARANTINE).scan().collect().height == 1
    assert is_proven(lakehouse)


def test_a_batch_cut_before_the_ledger_is_recovered_from_the_commit(
    publisher, lakehouse, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "add", lambda *_: (_ for _ in ()).throw(OSError("cut")))
        with pytest.raises(OSError, match="cut"):
            publisher.publish([incoming("first", {0: 1.0})], commit(), NOW)
    tables = (Table(lakehouse, BARS), Table(lakehouse, QUARANTINE))
    assert [entry.source for entry in Ledger(lakehouse).reconcile(tables)] == ["first"]
    assert Ledger(lakehouse).reconcile(tables) == []
    assert is_proven(lakehouse)


def test_the_earlier_source_wins_and_the_other_row_is_kept_in_quarantine(publisher, lakehouse):
    publisher.publish([incoming("first", {0: 1.0, 1: 2.0})], commit(), NOW)
    rival = incoming("second", {1: 2.5, 2: 3.0})
    (entry,) = publisher.publish([rival], commit("b2"), NOW).entries
    assert (entry.bars, entry.quarantined, entry.corrected) == (1, 1, 0)
    assert closes(lakehouse) == [(0, 1.0), (1, 2.0), (2, 3.0)]
    assert "wins over 2.5" in Table(lakehouse, QUARANTINE).scan().collect()["reason"][0]
    assert is_proven(lakehouse)


def test_an_equal_bar_of_another_source_is_an_identical_duplicate(publisher, lakehouse):
    publisher.publish([incoming("first", {0: 1.0})], commit(), NOW)
    (entry,) = publisher.publish([incoming("second", {0: 1.0})], commit("b2"), NOW).entries
    assert (entry.bars, entry.identical_duplicates) == (0, 1)
    assert is_proven(lakehouse)


def test_a_source_listed_earlier_overrules_one_that_came_first(publisher, lakehouse):
    publisher.publish([incoming("second", {0: 1.0})], commit(), NOW)
    (entry,) = publisher.publish([incoming("first", {0: 9.0})], commit("b2"), NOW).entries
    assert entry.corrected == 1
    assert closes(lakehouse) == [(0, 9.0)]
    assert is_proven(lakehouse)


def test_a_changed_file_corrects_its_bars_and_the_old_values_are_kept(publisher, lakehouse):
    publisher.publish(
        [
            incoming("first", {0: 1.0, 1: 2.0, 40: 3.0}),
            incoming("other", {0: 7.0}, symbol="X:ETHBTC"),
        ],
        commit(),
        NOW,
    )
    changed = incoming("first", {0: 1.0, 1: 2.2, 2: 5.0, 40: 3.0}, sha="new")
    (entry,) = publisher.publish([changed], commit("b2"), NOW).entries
    assert (entry.bars, entry.corrected, entry.unchanged) == (1, 1, 2)
    kept = Table(lakehouse, CORRECTIONS).scan().collect()
    assert kept["old_close", "new_close"].rows() == [(2.0, 2.2)]
    held = Table(lakehouse, BARS).scan().collect()
    assert sorted(held["close"].to_list()) == [1.0, 2.2, 3.0, 5.0, 7.0]
    assert is_proven(lakehouse)


def test_correcting_again_adds_no_second_correction(publisher, lakehouse):
    publisher.publish([incoming("first", {0: 1.0})], commit(), NOW)
    changed = [incoming("first", {0: 2.0}, sha="new")]
    publisher.publish(changed, commit("b2"), NOW)
    before = versions(lakehouse)
    publisher.publish(changed, commit("b2"), NOW)
    assert versions(lakehouse) == before


def test_an_unranked_source_is_never_overruled(publisher, lakehouse):
    publisher.publish([incoming("elsewhere", {0: 1.0})], commit(), NOW)
    publisher.publish([incoming("first", {0: 2.0})], commit("b2"), NOW)
    assert closes(lakehouse) == [(0, 1.0)]


def test_a_lower_epoch_may_not_publish(publisher, lakehouse):
    publisher.publish([incoming("first", {0: 1.0})], commit(epoch=2), NOW)
    before = versions(lakehouse)
    with pytest.raises(OwnershipLost):
        publisher.publish([incoming("second", {5: 1.0})], commit("b2", epoch=1), NOW)
    assert versions(lakehouse) == before


def test_a_writer_that_wakes_with_a_stale_handle_is_refused_by_delta(
    publisher, lakehouse, monkeypatch
):
    publisher.publish([incoming("first", {0: 1.0})], commit(epoch=1), NOW)
    stale = Table(lakehouse, BARS).delta()
    publisher.publish([incoming("first", {1: 1.0}, sha="n")], commit("b2", epoch=2), NOW)
    rows = Table(lakehouse, BARS).scan().head(1).collect()
    handles = iter([stale])
    monkeypatch.setattr(
        Table, "delta", lambda self, real=Table.delta: next(handles, None) or real(self)
    )
    with pytest.raises(OwnershipLost):
        Table(lakehouse, BARS).append(rows, commit("b3", epoch=1), {})


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    files=st.lists(
        st.tuples(
            st.sampled_from(["first", "second", "elsewhere"]),
            st.dictionaries(st.integers(0, 8), st.sampled_from([1.0, 1.5, -1.0]), min_size=1),
        ),
        max_size=5,
    )
)
def test_whatever_comes_every_row_is_accounted_for(files, tmp_path_factory):
    root = tmp_path_factory.mktemp("any")
    lakehouse = root / "lakehouse"
    publisher = Publisher(lakehouse, root / "locks", {"first": 0, "second": 1})
    for index, (source, values) in enumerate(files):
        item = incoming(source, values, sha=f"{index}")
        publisher.publish([item], commit(f"b{index}"), NOW)
    assert is_proven(lakehouse)
    if files and Table(lakehouse, BARS).exists():
        held = Table(lakehouse, BARS).scan().collect()
        assert held.select("symbol", "timeframe", "ts").is_unique().all()
        assert combine(fingerprint(held)) == combine(fingerprint(held.sample(fraction=1.0)))


@pytest.mark.parametrize("symbol", ["X:it's", "X:a", "nothing", ""])
def test_what_is_no_symbol_reaches_no_table(publisher, lakehouse, symbol):
    with pytest.raises(InvalidIdentifier):
        publisher.publish([incoming("first", {0: 1.0, 1: -2.0}, symbol=symbol)], commit(), NOW)
    assert versions(lakehouse) == [-1, -1, -1]


def test_a_batch_may_hold_several_timeframes_of_one_venue(publisher, lakehouse):
    def batch(*closes: float) -> list[Incoming]:
        values = dict(enumerate(closes))
        fours = {4 * hour: close for hour, close in values.items() if hour < 2}
        return [
            answer("venue", {"X:A": values, "X:B": {0: 1.0}}, str(closes)),
            replace(answer("venue", {"X:A": fours}, str(closes)), timeframe="4h"),
        ]

    first = publisher.publish(batch(1.0, 2.0, 3.0, -1.0), commit(), NOW)
    told = [(each.timeframe, each.rows, each.bars, each.quarantined) for each in first.entries]
    assert told == [("1h", 5, 4, 1), ("4h", 2, 2, 0)]
    assert is_proven(lakehouse)
    again = publisher.publish(batch(1.0, 2.5, 3.0), commit("b2"), NOW)
    told = [(each.timeframe, each.bars, each.corrected, each.unchanged) for each in again.entries]
    assert told == [("1h", 0, 1, 3), ("4h", 0, 1, 1)]
    assert all(each.unaccounted == 0 for each in (*first.entries, *again.entries))
    assert is_proven(lakehouse)
