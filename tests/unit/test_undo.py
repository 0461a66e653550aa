from __future__ import annotations

import polars as pl
import pytest
from _lake import SYMBOL, Lake, answer, file
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quant_registry.errors import Conflict, NoData, OwnershipLost, UnknownName
from quant_sdk.lakehouse.causes import known_causes
from quant_sdk.lakehouse.ledger import Ledger
from quant_sdk.lakehouse.optimize import crowds, exchange, rewritten, vacuum, vacuumable
from quant_sdk.lakehouse.replay import replay, replaying
from quant_sdk.lakehouse.table import Table
from quant_sdk.lakehouse.undo import of_runs, of_superseded, undo, undoing

OTHER = "X:ETHBTC"


@pytest.fixture
def lake(tmp_path):
    return Lake(tmp_path)


def take_back(lake, run, *children, by="up"):
    with lake.writing():
        plan = undoing(lake.path, of_runs(lake.path, run, children))
        done = undo(lake.path, plan, lake.commit(by), lake.clock.now())
    return plan, done


def take_back_source(lake, source):
    with lake.writing():
        plan = undoing(lake.path, of_superseded(lake.path, source))
        return undo(lake.path, plan, lake.commit(), lake.clock.now())


def test_bars_that_a_run_added_go_to_quarantine(lake):
    lake.bring("good", "first", {0: 1.0, 1: 2.0})
    lake.bring("bad", "second", {2: 3.0, 30: 4.0})
    _, done = take_back(lake, "bad")
    assert (done.withdrawn, done.corrected, done.brought) == (2, 0, 0)
    assert lake.held() == {0: 1.0, 1: 2.0}
    assert lake.withdrawn() == {2: 3.0, 30: 4.0}
    assert lake.is_proven


def test_the_quarantine_names_both_runs_and_keeps_the_source(lake):
    lake.bring("bad", "first", {0: 1.0})
    take_back(lake, "bad", by="mender")
    (row,) = lake.quarantine.scan().collect().to_dicts()
    assert "mender" in row["reason"]
    assert "bad" in row["reason"]
    assert (row["rule"], row["source"], row["run_id"]) == ("withdrawn", "first", "mender")
    assert row["source_sha256"].startswith("first")
    assert row["volume"] == 1.0


def test_it_is_one_commit_of_bars(lake):
    lake.bring("good", "first", {0: 1.0, 24: 2.0})
    lake.bring("bad", "first", {0: 9.0, 1: 3.0, 24: 9.0, 25: 4.0}, sha="n")
    before = lake.bars.version()
    _, done = take_back(lake, "bad")
    assert done.version == lake.bars.version() == before + 1


def test_corrected_bars_get_their_old_values_back_as_a_correction(lake):
    lake.bring("good", "first", {0: 1.0, 1: 2.0})
    lake.bring("bad", "first", {0: 9.0, 1: 2.0, 2: 5.0}, sha="new")
    _, done = take_back(lake, "bad")
    assert (done.withdrawn, done.corrected) == (1, 1)
    assert lake.held() == {0: 1.0, 1: 2.0}
    newest = lake.corrections.scan().sort("corrected_at").collect().to_dicts()
    (back,) = [row for row in newest if row["source"] == "undo:bad"]
    assert (back["old_close"], back["new_close"]) == (9.0, 1.0)
    assert lake.is_proven


def test_a_bar_of_another_source_comes_back_as_that_sources(lake):
    lake.bring("good", "second", {0: 1.0})
    lake.bring("bad", "first", {0: 9.0})
    take_back(lake, "bad")
    assert lake.bars.scan().collect()["source", "close"].rows() == [("second", 1.0)]
    assert lake.is_proven


def test_a_bar_that_a_later_run_has_changed_is_left_alone_and_told(lake):
    lake.bring("bad", "first", {0: 1.0, 1: 2.0})
    lake.bring("later", "first", {0: 7.0, 1: 2.0}, sha="new")
    plan, done = take_back(lake, "bad")
    assert done.withdrawn == 1
    assert plan.kept["ts"].dt.hour().to_list() == [0]
    assert lake.held() == {0: 7.0}
    assert lake.is_proven


def test_undoing_the_later_run_first_takes_both_back(lake):
    lake.bring("bad", "first", {0: 1.0, 1: 2.0})
    lake.bring("later", "first", {0: 7.0, 1: 2.0}, sha="new")
    take_back(lake, "later", by="up1")
    take_back(lake, "bad", by="up2")
    assert lake.held() == {}
    assert lake.withdrawn() == {0: 1.0, 1: 2.0}
    assert lake.is_proven


def test_what_one_run_changed_twice_goes_back_all_the_way(lake):
    lake.bring("good", "first", {0: 1.0})
    lake.bring("bad", "first", {0: 2.0, 1: 5.0}, sha="n1")
    lake.bring("bad", "first", {0: 3.0, 1: 6.0}, sha="n2")
    take_back(lake, "bad")
    assert lake.held() == {0: 1.0}
    assert lake.withdrawn() == {1: 6.0}
    assert lake.is_proven


def test_another_runs_change_between_two_of_the_run_stays(lake):
    lake.bring("bad", "first", {0: 1.0})
    lake.bring("between", "first", {0: 2.0}, sha="n1")
    lake.bring("bad", "first", {0: 3.0}, sha="n2")
    plan, _ = take_back(lake, "bad")
    assert lake.held() == {0: 2.0}
    assert plan.kept.height == 0
    assert lake.is_proven


def test_undoing_twice_does_nothing_the_second_time(lake):
    lake.bring("good", "first", {0: 1.0, 1: 2.0})
    lake.bring("bad", "first", {0: 9.0, 1: 2.0, 2: 5.0}, sha="new")
    take_back(lake, "bad")
    before = lake.versions()
    plan, done = take_back(lake, "bad", by="again")
    assert done.version == -1
    assert (plan.already, plan.kept.height) == (2, 0)
    assert lake.versions() == before


def test_a_run_that_published_nothing_is_undone_by_nothing(lake):
    lake.bring("good", "first", {0: 1.0})
    plan, done = take_back(lake, "idle")
    assert (plan.change.height, done.version) == (0, -1)


def test_the_hole_that_is_left_may_be_asked_for_again(lake):
    lake.bring("bad", "first", {0: 1.0, 1: -1.0})
    take_back(lake, "bad")
    (notes,) = known_causes([lake.quarantine]).values()
    assert [cause for _, _, cause in notes] == ["quarantined"]
    assert [start.hour for start, _, _ in notes] == [1]


def test_child_runs_go_with_their_parent(lake):
    lake.bring("child1", "first", {0: 1.0})
    lake.bring("child2", "second", {1: 1.0})
    lake.bring("good", "third", {2: 1.0})
    take_back(lake, "parent", "child1", "child2")
    assert lake.held() == {2: 1.0}
    assert lake.is_proven


def test_an_undo_can_be_undone(lake):
    lake.bring("good", "first", {0: 1.0, 1: 2.0})
    lake.bring("bad", "first", {0: 9.0, 1: 2.0, 2: 5.0}, sha="new")
    take_back(lake, "bad", by="undo1")
    _, done = take_back(lake, "undo1", by="undo2")
    assert (done.brought, done.corrected, done.marked) == (1, 1, 1)
    assert lake.held() == {0: 9.0, 1: 2.0, 2: 5.0}
    assert lake.withdrawn() == {}
    assert lake.is_proven
    take_back(lake, "bad", by="undo3")
    assert lake.withdrawn() == {2: 5.0}
    assert lake.is_proven


def test_files_without_any_of_the_bars_are_not_touched(lake):
    lake.bring("good", "first", {0: 1.0})
    (kept,) = lake.bars.path.rglob("*.parquet")
    lake.bring("bad", "second", {5: 3.0})
    take_back(lake, "bad")
    names = lake.bars.delta().get_add_actions(flatten=True).column("path").to_pylist()
    assert [name.rpartition("/")[2] for name in names] == [kept.name]


def test_it_works_after_a_compaction_as_long_as_the_old_files_are_there(lake):
    lake.bring("bad", "second", {5: 3.0, 6: 4.0})
    lake.bring("good", "first", {0: 1.0})
    old = list(lake.bars.path.rglob("*.parquet"))
    with lake.writing():
        for crowd in crowds(lake.bars, 1):
            exchange(lake.bars, rewritten(lake.bars, crowd), lake.commit("opt"))
    take_back(lake, "bad")
    assert lake.held() == {0: 1.0}
    assert lake.is_proven
    assert all(path.exists() for path in old)


def test_it_is_refused_where_the_old_files_are_gone(lake):
    lake.bring("bad", "second", {5: 3.0})
    lake.bring("good", "first", {0: 1.0})
    with lake.writing():
        for crowd in crowds(lake.bars, 1):
            exchange(lake.bars, rewritten(lake.bars, crowd), lake.commit("opt"))
    vacuum(vacuumable(lake.bars, 0))
    before = lake.versions()
    with pytest.raises(NoData, match="cannot be told") as caught:
        take_back(lake, "bad")
    assert "history" in caught.value.fix
    assert lake.versions() == before


def test_a_source_of_many_series_is_taken_back(lake):
    lake.publish("good", answer("venue", {SYMBOL: {0: 1.0}, OTHER: {0: 5.0}}))
    lake.publish("bad", answer("venue", {SYMBOL: {0: 1.5, 1: 1.0}, OTHER: {1: 5.0}}, "n"))
    take_back(lake, "bad")
    assert (lake.held(), lake.held(OTHER)) == ({0: 1.0}, {0: 5.0})
    assert lake.is_proven
    assert {row[:4] for row in lake.quarantine.scan().collect()["source_sha256"]} == {"row:"}


def test_all_of_a_file_goes_beside_a_source_of_many_series(lake):
    lake.bring("bad", "first", {hour: 1.0 + hour for hour in range(5)})
    lake.publish("good", answer("venue", {OTHER: {0: 5.0}}))
    take_back(lake, "bad")
    assert lake.held() == {}
    assert lake.is_proven


def test_an_undo_cut_off_before_its_commit_is_completed_without_a_second_row(lake, monkeypatch):
    lake.bring("good", "first", {0: 1.0})
    lake.bring("bad", "first", {0: 9.0, 1: 2.0}, sha="new")
    with monkeypatch.context() as patch:
        patch.setattr(Table, "change", lambda *_: (_ for _ in ()).throw(OSError("cut")))
        with pytest.raises(OSError, match="cut"):
            take_back(lake, "bad", by="cut")
    take_back(lake, "bad", by="second")
    assert lake.withdrawn() == {1: 2.0}
    assert lake.quarantine.scan().collect().height == 1
    assert lake.corrections.scan().collect().height == 2
    assert lake.is_proven


def test_an_undo_cut_off_before_the_ledger_is_recovered_from_the_commit(lake, monkeypatch):
    lake.bring("bad", "first", {0: 9.0, 1: 2.0})
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "add", lambda *_: (_ for _ in ()).throw(OSError("cut")))
        with pytest.raises(OSError, match="cut"):
            take_back(lake, "bad")
    assert not lake.is_proven
    assert len(Ledger(lake.path).reconcile((lake.bars, lake.quarantine))) == 1
    assert lake.is_proven


def test_a_lower_epoch_changes_nothing(lake):
    lake.bring("bad", "first", {0: 9.0})
    before = lake.bars.version()
    lake.quarantine.append(lake.quarantine.spec.empty, lake.commit(epoch=2), {})
    with pytest.raises(OwnershipLost):
        take_back(lake, "bad")
    assert lake.bars.version() == before
    assert lake.held() == {0: 9.0}


def test_what_an_earlier_declaration_brought_goes(lake):
    lake.bring("r1", "first", {0: 1.0, 1: 2.0}, symbol="X:WRONG")
    lake.bring("r2", "first", {0: 1.0, 1: 2.0}, spec="1")
    assert [item["bars"] for item in lake.report()["superseded"]] == [2]
    assert take_back_source(lake, "first").withdrawn == 2
    assert (lake.held("X:WRONG"), lake.held()) == ({}, {0: 1.0, 1: 2.0})
    assert lake.is_proven
    assert lake.report()["superseded"] == []
    assert take_back_source(lake, "first").version == -1


def test_an_earlier_declaration_of_the_same_series_goes_where_no_bar_is_shared(lake):
    lake.bring("r1", "first", {10: 1.0, 11: 2.0})
    lake.bring("r2", "first", {0: 1.0, 1: 2.0}, spec="1")
    take_back_source(lake, "first")
    assert lake.held() == {0: 1.0, 1: 2.0}
    assert lake.report()["superseded"] == []
    assert lake.is_proven


def test_bars_that_both_declarations_give_cannot_be_told_apart(lake):
    lake.bring("r1", "first", {0: 1.0, 1: 2.0})
    lake.bring("r2", "first", {1: 2.0, 2: 3.0}, spec="1")
    with pytest.raises(Conflict, match="nothing tells which"):
        take_back_source(lake, "first")


def test_an_unknown_source_names_the_nearest(lake):
    lake.bring("r1", "first", {0: 1.0})
    with pytest.raises(UnknownName) as caught:
        take_back_source(lake, "frist")
    assert "first" in caught.value.fix


def test_a_source_that_was_declared_once_has_nothing_to_take_back(lake):
    lake.bring("r1", "first", {0: 1.0})
    assert take_back_source(lake, "first").version == -1
    assert lake.held() == {0: 1.0}


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    runs=st.lists(
        st.tuples(
            st.sampled_from(["first", "second"]),
            st.dictionaries(st.integers(0, 6), st.sampled_from([1.0, 1.5, 2.0]), min_size=1),
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_undoing_runs_newest_first_is_going_back_in_time(runs, tmp_path_factory):
    lake = Lake(tmp_path_factory.mktemp("any"))
    before = []
    for index, (source, closes) in enumerate(runs):
        before.append(lake.held())
        lake.publish(f"r{index}", file(source, closes, sha=f"{index}"))
    for index in reversed(range(len(runs))):
        take_back(lake, f"r{index}", by=f"u{index}")
        assert lake.held() == before[index]
        assert lake.is_proven


def test_bars_that_another_run_brought_anew_are_not_the_undone_runs(lake):
    lake.bring("bad", "first", {0: 1.0, 1: 2.0})
    take_back(lake, "bad", by="up1")
    lake.bring("good", "first", {0: 1.0, 1: 2.0})
    plan, done = take_back(lake, "bad", by="up2")
    assert (done.version, plan.kept.height) == (-1, 2)
    assert lake.held() == {0: 1.0, 1: 2.0}
    take_back(lake, "good", by="up3")
    take_back(lake, "up3", by="up4")
    plan, _ = take_back(lake, "bad", by="up5")
    assert plan.kept.height == 2
    assert lake.held() == {0: 1.0, 1: 2.0}
    assert lake.is_proven


def test_a_bar_that_another_run_put_back_is_not_the_undone_runs(lake):
    lake.bring("r1", "first", {0: 1.0, 1: 2.0})
    lake.bring("r2", "first", {0: 9.0}, sha="b")
    lake.bring("r3", "first", {0: 1.0}, sha="c")
    plan, done = take_back(lake, "r1", by="up1")
    assert (done.withdrawn, plan.kept.height) == (1, 1)
    assert lake.held() == {0: 1.0}
    take_back(lake, "r3", by="up2")
    take_back(lake, "r2", by="up3")
    assert lake.held() == {0: 1.0}
    take_back(lake, "r1", by="up4")
    assert lake.held() == {}
    assert lake.is_proven


def test_a_bar_that_another_run_brought_anew_stays_after_a_compaction(lake):
    lake.bring("bad", "first", {0: 1.0, 30: 2.0})
    take_back(lake, "bad", by="up1")
    lake.bring("good", "first", {0: 1.0})
    lake.bring("more", "second", {5: 1.0})
    with lake.writing():
        for crowd in crowds(lake.bars, 1):
            exchange(lake.bars, rewritten(lake.bars, crowd), lake.commit("opt"))
    lake.bring("last", "second", {5: 2.0}, sha="n")
    plan, done = take_back(lake, "bad", by="up2")
    assert (done.version, plan.kept.height, plan.already) == (-1, 1, 1)
    plan, done = take_back(lake, "more", by="up3")
    assert (done.version, plan.kept.height) == (-1, 1)
    assert lake.held() == {0: 1.0, 5: 2.0}


def test_files_of_later_runs_that_cannot_hold_its_bars_may_be_gone(lake):
    lake.bring("bad", "first", {0: 3.0})
    lake.bring("later", "second", {0: 1.0}, symbol=OTHER)
    (gone,) = (path for path in lake.bars.path.rglob("*.parquet") if is_of(path, OTHER))
    lake.bring("last", "second", {0: 2.0}, symbol=OTHER, sha="n")
    gone.unlink()
    take_back(lake, "bad")
    assert (lake.held(), lake.held(OTHER)) == ({}, {0: 2.0})


def test_it_is_refused_where_files_of_a_later_run_that_may_hold_its_bars_are_gone(lake):
    lake.bring("bad", "first", {0: 3.0})
    first = set(lake.bars.path.rglob("*.parquet"))
    lake.bring("later", "first", {0: 4.0}, sha="n")
    (gone,) = set(lake.bars.path.rglob("*.parquet")) - first
    lake.bring("last", "first", {0: 3.0}, sha="m")
    gone.unlink()
    with pytest.raises(NoData, match="cannot be told"):
        take_back(lake, "bad")
    assert lake.held() == {0: 3.0}


def is_of(path, symbol):
    return pl.read_parquet(path)["symbol"].to_list() == [symbol]


def test_bars_that_a_replay_brought_back_are_the_replays(lake):
    lake.bring("bad", "first", {0: 1.0})
    take_back(lake, "bad", by="up1")
    with lake.writing():
        plan = replaying(lake.path, rule="withdrawn")
        replay(lake.path, plan, lake.commit("again"), lake.clock.now())
    assert take_back(lake, "bad", by="up2")[0].kept.height == 1
    take_back(lake, "again", by="up3")
    assert lake.held() == {}
    assert lake.is_proven
