"""Where bars of one source come to stand beside those of another."""

from __future__ import annotations

from dataclasses import replace

import pytest
from _lake import SYMBOL, Lake, answer, file

from quant_sdk.conformance import ConformancePipeline
from quant_sdk.lakehouse.publish import Publisher


class Judged(Lake):
    """A lakehouse whose new bars are judged beside those that stand."""

    def __init__(self, root) -> None:
        super().__init__(root)
        admit = ConformancePipeline.partial_ok(True).admit
        self.publisher = Publisher(self.path, self.locks, {"first": 0, "second": 1}, admit=admit)

    def jumps(self):
        rows = self.quarantine.scan().sort("symbol", "ts").collect()
        return list(rows.select("source", "rule", "close").iter_rows())


@pytest.fixture
def lake(tmp_path) -> Judged:
    return Judged(tmp_path)


def test_a_bar_that_jumps_away_from_another_sources_is_refused(lake):
    lake.bring("r1", "first", {0: 10.0, 1: 10.0})
    published = lake.bring("r2", "second", {2: 100.0, 3: 101.0})
    assert lake.held() == {0: 10.0, 1: 10.0, 3: 101.0}
    assert lake.jumps() == [("second", "return_spike", 100.0)]
    (entry,) = published.entries
    assert (entry.bars, entry.quarantined, entry.unaccounted) == (1, 1, 0)
    assert published.jumps["symbol"].to_list() == [SYMBOL]
    assert lake.is_proven


def test_a_bar_from_which_a_standing_one_jumps_away_is_refused(lake):
    lake.bring("r1", "first", {2: 100.0, 3: 100.0})
    lake.bring("r2", "second", {0: 10.0, 1: 10.0})
    assert lake.held() == {0: 10.0, 2: 100.0, 3: 100.0}
    assert lake.jumps() == [("second", "return_spike", 10.0)]
    assert lake.is_proven


def test_a_hole_that_is_filled_is_judged_on_both_sides(lake):
    lake.bring("r1", "first", {0: 10.0, 1: 10.0, 4: 10.0})
    lake.bring("r2", "second", {2: 90.0, 3: 1.0})
    assert lake.held() == {0: 10.0, 1: 10.0, 4: 10.0}
    assert {rule for _, rule, _ in lake.jumps()} == {"return_spike"}
    assert lake.is_proven


def test_a_bar_beside_one_that_lost_is_judged_by_the_one_that_won(lake):
    lake.bring("r1", "first", {0: 10.0, 1: 10.0})
    # The source by itself has no jump: its own bar before is as high.
    lake.bring("r2", "second", {1: 100.0, 2: 100.0, 3: 100.0})
    assert lake.held() == {0: 10.0, 1: 10.0, 3: 100.0}
    assert {rule for _, rule, _ in lake.jumps()} == {"overlap_conflict", "return_spike"}
    assert lake.is_proven


def test_two_sources_of_one_batch_are_judged_side_by_side(lake):
    lake.publish("r1", file("first", {0: 10.0, 1: 10.0}), file("second", {2: 100.0, 3: 100.0}))
    assert lake.held() == {0: 10.0, 1: 10.0, 3: 100.0}
    assert lake.is_proven


def test_a_source_that_goes_on_is_judged_from_where_it_stood(lake):
    lake.bring("r1", "first", {0: 10.0, 1: 10.0})
    lake.bring("r2", "first", {2: 100.0}, sha="n")
    assert lake.held() == {0: 10.0, 1: 10.0}


@pytest.mark.parametrize("closes", [{2: 50.0}, {2: 1.0}, {60: 100.0}])
def test_a_usual_return_and_one_over_a_gap_stand(lake, closes):
    lake.bring("r1", "first", {0: 10.0, 1: 10.0})
    lake.bring("r2", "second", closes)
    assert lake.held() == {0: 10.0, 1: 10.0, **closes}
    assert not lake.jumps()


def test_series_and_timeframes_are_no_neighbours(lake):
    lake.publish("r1", answer("venue", {"X:A": {0: 1.0, 1: 1.0}}))
    other = answer("venue", {"X:B": {2: 100.0}, "X:A": {2: 1.0}}, "n")
    lake.publish("r2", other, replace(answer("venue", {"X:A": {4: 100.0}}, "n"), timeframe="4h"))
    assert not lake.jumps()
    assert lake.is_proven


def test_publishing_again_refuses_again_and_adds_nothing(lake):
    lake.bring("r1", "first", {0: 10.0, 1: 10.0})
    for run in ("r2", "r3"):
        lake.bring(run, "second", {2: 100.0, 3: 101.0})
    assert lake.held() == {0: 10.0, 1: 10.0, 3: 101.0}
    assert len(lake.jumps()) == 1
    assert lake.is_proven
