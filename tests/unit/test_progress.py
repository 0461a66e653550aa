from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_registry.progress import Progress


class _Watch:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_nothing_is_known_before_the_total_and_the_first_item():
    progress = Progress(_Watch())
    assert progress.to_dict() == {
        "current": 0,
        "total": None,
        "percent": None,
        "eta_seconds": None,
    }
    progress.expect(4)
    assert progress.to_dict()["percent"] == 0.0
    assert progress.to_dict()["eta_seconds"] is None


def test_the_eta_is_made_of_worked_seconds_only():
    watch = _Watch()
    progress = Progress(watch)
    progress.expect(150)
    watch.seconds = 45.0  # however long it was paused meanwhile
    progress.advance(45)
    assert progress.to_dict() == {
        "current": 45,
        "total": 150,
        "percent": 30.0,
        "eta_seconds": 105.0,
    }


def test_current_never_goes_back():
    progress = Progress(_Watch())
    with pytest.raises(ValueError, match="back"):
        progress.advance(-1)


def test_only_a_known_total_that_changes_is_revised():
    progress = Progress(_Watch())
    assert [progress.expect(total) for total in (5, 5, 7)] == [False, False, True]


@given(st.integers(0, 50), st.lists(st.integers(0, 20)))
def test_percent_stays_between_0_and_100_and_never_falls(total, steps):
    progress = Progress(_Watch())
    progress.expect(total)
    seen = []
    for step in steps:
        progress.advance(step)
        seen.append(progress.to_dict()["percent"])
        assert progress.to_dict()["eta_seconds"] is None or progress.to_dict()["eta_seconds"] >= 0
    assert seen == sorted(seen)
    assert all(0 <= value <= 100 for value in seen)
