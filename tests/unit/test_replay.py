from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest
from _lake import SYMBOL, Lake, answer, file
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quant_registry.errors import InvalidIdentifier
from quant_sdk.lakehouse import amend
from quant_sdk.lakehouse.ledger import Ledger
from quant_sdk.lakehouse.replay import replay, replaying
from quant_sdk.lakehouse.specs import QUARANTINE
from quant_sdk.lakehouse.table import Table
from quant_sdk.lakehouse.undo import of_runs, undo, undoing
from quant_sdk.sdk import QuantSDK

OTHER = "X:ETHBTC"


@pytest.fixture
def lake(tmp_path):
    return Lake(tmp_path)


def again(lake, run="up", **wanted):
    with lake.writing():
        plan = replaying(lake.path, **wanted)
        return plan, replay(lake.path, plan, lake.commit(run), lake.clock.now())


def take_back(lake, run):
    with lake.writing():
        plan = undoing(lake.path, of_runs(lake.path, run))
        undo(lake.path, plan, lake.commit("undo"), lake.clock.now())


def test_a_row_that_passes_now_becomes_a_bar_of_its_source(lake):
    lake.bring("r1", "first", {0: 100.0, 1: 1.0, 2: 100.0, 3: 101.0})
    assert lake.held() == {0: 100.0, 1: 1.0, 3: 101.0}
    lake.bring("r2", "first", {1: 99.0}, sha="mended")
    plan, done = again(lake)
    assert (plan.rows, done.brought, done.marked) == (1, 1, 1)
    assert lake.held() == {0: 100.0, 1: 99.0, 2: 100.0, 3: 101.0}
    assert lake.bars.scan().collect()["source"].unique().to_list() == ["first"]
    assert lake.is_proven


def test_a_row_that_fails_stays(lake):
    lake.bring("r1", "first", {0: 100.0, 1: -1.0, 2: 100.0})
    before = lake.versions()
    plan, done = again(lake)
    assert (plan.rows, plan.bars.height, done.version) == (1, 0, -1)
    assert lake.versions() == before


def test_replaying_twice_changes_nothing_the_second_time(lake):
    lake.bring("r1", "first", {0: 100.0, 1: 1.0, 2: 100.0})
    lake.bring("r2", "first", {1: 99.0}, sha="mended")
    again(lake)
    before = lake.versions()
    plan, done = again(lake, "second")
    assert (plan.rows, done.version) == (0, -1)
    assert lake.versions() == before


def test_a_replayed_row_is_marked_and_no_longer_listed(lake, tmp_path):
    lake.bring("r1", "first", {0: 100.0, 1: 1.0, 2: 100.0})
    lake.bring("r2", "first", {1: 99.0}, sha="mended")
    lakehouse = QuantSDK(tmp_path).lakehouse
    assert lakehouse.quarantine_summary()[0]["rows"] == 1
    again(lake, "mender")
    assert lake.quarantine.scan().collect()["replayed_by"].to_list() == ["mender"]
    assert lakehouse.quarantine_summary() == []
    assert lakehouse.quarantine().height == 0


def test_the_same_file_brought_again_adds_no_second_row_to_the_quarantine(lake):
    source = file("first", {0: 100.0, 1: 1.0, 2: 100.0})
    lake.publish("r1", source)
    lake.bring("r2", "first", {1: 99.0}, sha="mended")
    again(lake)
    lake.publish("r3", source)
    assert lake.quarantine.scan().collect().height == 1


def test_a_row_does_not_overrule_a_bar_that_stands(lake):
    lake.bring("r1", "first", {0: 1.0})
    lake.bring("r2", "second", {0: 2.0})
    plan, done = again(lake)
    assert (plan.rows, plan.bars.height, done.version) == (1, 0, -1)
    assert lake.held() == {0: 1.0}


def test_a_row_because_of_which_a_standing_bar_would_fail_stays(lake):
    # The spike is quarantined; what follows it is no spike beside it, only beside what stands.
    lake.bring("r1", "first", {0: 1.0, 1: 100.0, 2: 101.0})
    assert lake.held() == {0: 1.0, 2: 101.0}
    lake.bring("r2", "second", {5: 101.0})
    lake.bring("low", "third", {3: 1.0, 4: 1.0})
    take_back(lake, "low")
    plan, _ = again(lake, rule="withdrawn")
    assert plan.rows == 2
    assert lake.held() == {0: 1.0, 2: 101.0, 5: 101.0}
    assert lake.is_proven


def test_a_spike_stays_where_no_bar_before_it_could_tell(lake):
    lake.bring("r1", "first", {0: 1.0, 1: 100.0})
    take_back(lake, "r1")
    plan, done = again(lake)
    assert (plan.rows, plan.bars.height, done.version) == (1, 0, -1)
    lake.bring("r2", "second", {2: 100.0})
    assert again(lake)[0].bars.height == 0
    lake.bring("r3", "second", {0: 99.0}, sha="n")
    assert again(lake)[0].bars.height == 1


def test_withdrawn_rows_come_back_only_where_they_are_asked_for(lake):
    lake.bring("bad", "first", {0: 1.0, 1: 2.0})
    take_back(lake, "bad")
    assert again(lake)[0].rows == 0
    assert again(lake, source="first")[0].rows == 0
    _, done = again(lake, rule="withdrawn")
    assert done.brought == 2
    assert lake.held() == {0: 1.0, 1: 2.0}
    assert lake.withdrawn() == {}
    assert lake.is_proven


def test_a_withdrawn_bar_is_checked_again_and_may_fail_now(lake):
    lake.bring("r1", "first", {0: 1.0, 1: 100.0, 2: 101.0, 3: 102.0})
    assert lake.held() == {0: 1.0, 2: 101.0, 3: 102.0}
    take_back(lake, "r1")
    again(lake, rule="withdrawn")
    assert lake.held() == {0: 1.0, 3: 102.0}
    assert lake.withdrawn() == {2: 101.0}
    assert lake.is_proven


def test_only_the_rows_asked_about_are_looked_at(lake):
    lake.bring("r1", "first", {0: 100.0, 1: 1.0, 2: 100.0})
    lake.bring("r2", "other", {0: 100.0, 1: 1.0, 2: 100.0}, symbol=OTHER)
    lake.bring("r3", "first", {1: 99.0}, sha="n")
    lake.bring("r4", "other", {1: 99.0}, symbol=OTHER, sha="n")
    assert again(lake, symbol=OTHER)[1].brought == 1
    assert again(lake, rule="off_grid")[0].rows == 0
    assert again(lake, source="other")[0].rows == 0
    assert again(lake, rule="return_spike", source="first")[1].brought == 1
    assert lake.is_proven


@pytest.mark.parametrize("symbol", ["x' OR 1=1", "../x"])
def test_a_hostile_symbol_is_refused(lake, symbol):
    with pytest.raises(InvalidIdentifier):
        replaying(lake.path, symbol=symbol)


def test_a_hostile_source_finds_nothing(lake):
    lake.bring("r1", "first", {0: -1.0})
    assert replaying(lake.path, source="x' OR '1'='1").rows == 0


def test_rows_of_a_source_of_many_series_are_replayed(lake):
    lake.publish("r1", answer("venue", {SYMBOL: {0: 100.0, 1: 1.0, 2: 100.0}, OTHER: {0: 5.0}}))
    lake.publish("r2", answer("venue", {SYMBOL: {1: 99.0}}, "n"))
    _, done = again(lake)
    assert done.brought == 1
    assert lake.held() == {0: 100.0, 1: 99.0, 2: 100.0}
    assert lake.is_proven


def test_equal_rows_of_two_sources_become_one_bar_and_both_are_marked(lake):
    lake.bring("r1", "first", {0: 1.0})
    take_back(lake, "r1")
    lake.bring("r2", "second", {0: 1.0})
    take_back(lake, "r2")
    _, done = again(lake, rule="withdrawn")
    assert (done.brought, done.marked) == (1, 2)
    assert lake.bars.scan().collect()["source"].to_list() == ["first"]
    assert lake.is_proven


def test_rows_that_contradict_each_other_stay(lake):
    lake.bring("r1", "first", {0: 1.0})
    take_back(lake, "r1")
    lake.bring("r2", "second", {0: 2.0})
    take_back(lake, "r2")
    plan, _ = again(lake, rule="withdrawn")
    assert (plan.rows, plan.bars.height) == (2, 0)


def test_a_replay_cut_off_before_its_marks_sets_them_the_next_time(lake, monkeypatch):
    lake.bring("bad", "first", {0: 1.0})
    take_back(lake, "bad")
    with monkeypatch.context() as patch:
        patch.setattr(amend, "mark_replayed", lambda *_: (_ for _ in ()).throw(OSError("cut")))
        with pytest.raises(OSError, match="cut"):
            again(lake, "cut", rule="withdrawn")
    assert lake.held() == {0: 1.0}
    bars = lake.bars.version()
    again(lake, "second", rule="withdrawn")
    assert lake.withdrawn() == {}
    assert lake.bars.version() == bars
    assert lake.is_proven


def test_the_source_stays_known_to_those_who_read_it(lake):
    lake.bring("r1", "first", {0: 100.0, 1: 1.0, 2: 100.0})
    lake.bring("r2", "first", {1: 99.0}, sha="mended")
    last = [entry for entry in Ledger(lake.path).entries() if entry.source == "first"][-1]
    again(lake)
    after = [entry for entry in Ledger(lake.path).entries() if entry.source == "first"][-1]
    assert after == last


def test_a_quarantine_that_is_older_than_the_marks_gets_them(lake):
    columns = {name: kind for name, kind in QUARANTINE.columns.items() if name != "replayed_by"}
    older = replace(QUARANTINE, columns=columns, later=frozenset())
    lake.bring("bad", "first", {0: 1.0, 1: -1.0})
    rows = lake.quarantine.scan().collect()
    old = Table(lake.path.parent / "older", older)
    old.append(rows.drop("replayed_by"), lake.commit(), {})
    now = Table(lake.path.parent / "older", QUARANTINE)
    assert now.scan().filter(pl.col("replayed_by").is_null()).collect().equals(rows)
    now.append(rows.with_columns(replayed_by=pl.lit("r")), lake.commit(), {})
    assert now.scan().collect()["replayed_by"].null_count() == 1


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    files=st.lists(
        st.dictionaries(st.integers(0, 8), st.sampled_from([1.0, 5.0, 40.0, -1.0]), min_size=1),
        min_size=1,
        max_size=4,
    )
)
def test_whatever_is_replayed_is_accounted_for_and_replayed_once(files, tmp_path_factory):
    lake = Lake(tmp_path_factory.mktemp("any"))
    for index, closes in enumerate(files):
        lake.publish(f"r{index}", file(f"s{index}", closes))
    take_back(lake, "r0")
    # Bars that come back may be what refused ones waited for, but never what just failed did.
    for round_, only in enumerate([{}, {"rule": "withdrawn"}, {}]):
        before = lake.held()
        again(lake, f"w{round_}", **only)
        assert lake.is_proven
        assert before.items() <= lake.held().items()
        versions = lake.versions()
        again(lake, f"x{round_}", **only)
        assert lake.versions() == versions
