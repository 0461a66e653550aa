"""The difference of coverage fragments, against brute force, and in one pass."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from quant_sdk.seamless.intervals import difference

points = st.integers(0, 40)
fragments = st.lists(st.tuples(points, points).map(sorted).map(tuple), max_size=12).map(sorted)


def disjoint(spans):
    kept = []
    for start, end in spans:
        if end > start and (not kept or start >= kept[-1][1]):
            kept.append((start, end))
    return kept


def covered(spans):
    return {point for start, end in spans for point in range(start, end)}


@given(fragments.map(disjoint), fragments)
def test_what_is_left_is_what_no_cut_covers(spans, cut):
    left = list(difference(spans, cut))
    assert covered(left) == covered(spans) - covered(cut)
    assert left == disjoint(left)
    assert all(any(a <= start and end <= b for a, b in spans) for start, end in left)


class Counted(list):
    """A list that counts how often it is looked at."""

    looks = 0

    def __iter__(self):
        for each in super().__iter__():
            Counted.looks += 1
            yield each


def test_ten_thousand_fragments_against_as_many_take_one_pass_over_each():
    spans = Counted((10 * n, 10 * n + 8) for n in range(10_000))
    cut = Counted((10 * n + 2, 10 * n + 4) for n in range(10_000))
    left = list(difference(spans, cut))
    assert len(left) == 20_000
    assert Counted.looks == 20_000
