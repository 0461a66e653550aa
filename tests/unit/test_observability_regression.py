"""Two reports compared: what is better, worse, new and gone."""

from __future__ import annotations

import pytest
from _reports import changed, report_of, series_of
from hypothesis import given
from hypothesis import strategies as st

from quant_sdk.conformance.report import RuleCount, SchemaFinding
from quant_sdk.observability import Regression, compare
from quant_sdk.observability.regression import MOST_CHANGES


def told(before, after) -> list[tuple]:
    found = compare(before, after).changes
    return [(each.measure, each.name, each.trend, each.effect) for each in found]


def test_a_first_report_is_compared_with_nothing():
    found = compare(None, report_of(counts={"off_grid": 5}))
    assert (found.outcome, found.before, found.changes) == ("first", None, ())
    assert not found.is_worse


@pytest.mark.parametrize(
    ("before", "after", "trend", "outcome"),
    [
        (0, 1, "new", "worse"),
        (1, 2, "worse", "worse"),
        (2, 1, "better", "better"),
        (1, 0, "gone", "better"),
    ],
)
@pytest.mark.parametrize("rule", ["off_grid", "return_spike"])
def test_a_flag_counts_in_all_four_ways(rule, before, after, trend, outcome):
    found = compare(report_of(counts={rule: before}), report_of(counts={rule: after}))
    [change] = found.changes
    assert (change.name, change.trend, change.before, change.after) == (rule, trend, before, after)
    assert found.outcome == outcome
    assert found.counts[trend] == 1
    assert sum(found.counts.values()) == 1


@pytest.mark.parametrize(("before", "after"), [(0, 9), (9, 10), (10, 0)])
def test_a_note_is_told_and_makes_nothing_worse_or_better(before, after):
    found = compare(
        report_of(counts={"volume_spike": before}), report_of(counts={"volume_spike": after})
    )
    assert found.outcome == "same"
    assert [change.effect for change in found.changes] == ["none"]


def test_what_is_better_does_not_hide_what_is_worse():
    found = compare(
        report_of(counts={"off_grid": 9}), report_of(counts={"off_grid": 1, "non_finite": 1})
    )
    assert (found.outcome, found.is_worse) == ("mixed", True)
    assert [change.effect for change in found.changes] == ["worse", "better"]


def test_more_rows_do_not_excuse_a_new_flag():
    before = report_of(counts={"off_grid": 1}, rows_in=10)
    assert compare(before, report_of(counts={"off_grid": 2}, rows_in=10_000_000)).is_worse


def test_completeness_is_compared_series_by_series():
    before = report_of(series=(series_of("X:A", missing=3), series_of("X:B", missing=3)))
    after = report_of(series=(series_of("X:A", missing=1), series_of("X:B", missing=5)))
    assert told(before, after) == [
        ("missing", "X:B 1h", "worse", "worse"),
        ("missing", "X:A 1h", "better", "better"),
    ]


def test_bars_that_a_source_says_are_not_there_are_not_missed():
    before = report_of(series=(series_of(missing=3),))
    after = report_of(series=(series_of(missing=9, verified_empty=6),))
    assert compare(before, after).outcome == "same"


def test_a_series_that_is_gone_is_worse_and_a_new_one_is_not():
    one, both = (
        report_of(series=(series_of("X:A"),)),
        report_of(series=(series_of("X:A"), series_of("X:B", missing=7))),
    )
    assert told(both, one) == [("series", "X:B 1h", "gone", "worse")]
    assert told(one, both) == [("series", "X:B 1h", "new", "none")]


def test_history_that_is_lost_at_an_end_is_worse():
    before = report_of()
    later = report_of(series=(series_of(first="2024-01-05T00:00:00Z"),))
    sooner = report_of(series=(series_of(last="2024-02-01T00:00:00.500000Z"),))
    assert told(before, later) == [("first", "X:A 1h", "worse", "worse")]
    assert told(before, sooner) == [("last", "X:A 1h", "worse", "worse")]
    assert compare(later, before).outcome == compare(sooner, before).outcome == "same"


def test_another_window_loses_no_history():
    before = report_of(start="2024-01-01T00:00:00Z", end="2024-03-01T00:00:00Z")
    after = report_of(
        start="2024-02-01T00:00:00Z",
        end="2024-02-02T00:00:00Z",
        series=(series_of(first="2024-02-01T00:00:00Z", last="2024-02-01T23:00:00Z"),),
    )
    found = compare(before, after)
    assert found.outcome == "same"
    assert [caveat.partition(" ")[0] for caveat in found.caveats] == ["start", "end"]


def test_staleness_is_told_and_fails_no_gate():
    after = report_of(series=(series_of(behind=4),))
    assert told(report_of(), after) == [("behind", "X:A 1h", "worse", "none")]
    assert compare(report_of(), after).outcome == "same"


def test_schema_findings_are_compared():
    lossy = SchemaFinding(code="lossy_cast", severity="block", column="close", detail="x")
    note = SchemaFinding(code="lossless_cast", severity="note", column="volume", detail="x")
    found = compare(report_of(), report_of(findings=(lossy, note)))
    assert [(each.name, each.effect) for each in found.changes] == [
        ("lossy_cast close", "worse"),
        ("lossless_cast volume", "none"),
    ]
    assert compare(report_of(findings=(lossy,)), report_of()).outcome == "better"


def unknown(rows, severity="block"):
    return SchemaFinding(code="c", severity=severity, column="side", detail="d", count=rows)


def test_schema_findings_are_compared_by_their_rows():
    before, after = report_of(findings=(unknown(1),)), report_of(findings=(unknown(250),))
    found = compare(before, after)
    assert (found.outcome, [(each.before, each.after) for each in found.changes]) == (
        "worse",
        [(1, 250)],
    )
    assert compare(after, before).outcome == "better"
    assert (after.flags, after.flagged) == (250, {"c": 250})


@pytest.mark.parametrize(("severity", "outcome"), [("warn", "same"), ("block", "worse")])
def test_a_warning_about_a_whole_column_is_no_more_with_more_rows(severity, outcome):
    before = report_of(findings=(unknown(1000, severity),), rows_in=1000)
    after = report_of(findings=(unknown(1100, severity),), rows_in=1100)
    assert compare(before, after).outcome == outcome
    few = report_of(findings=(unknown(10, severity),), rows_in=1000)
    assert compare(few, after).outcome == "worse"


def test_a_report_from_before_rows_were_counted_can_be_read():
    found = unknown(1).to_dict()
    del found["count"]
    assert SchemaFinding.from_dict(found) == unknown(1)


def test_a_rule_that_is_not_asked_any_more_is_a_caveat_and_not_better():
    before = report_of(counts={"off_grid": 4})
    after = changed(before, rules=tuple(each for each in before.rules if each.rule != "off_grid"))
    found = compare(before, after)
    assert (found.outcome, found.changes) == ("same", ())
    assert found.caveats == ("the rule off_grid is not asked any more",)


def test_a_rule_that_is_asked_for_the_first_time_says_so():
    mine = RuleCount(rule="mine", severity="warn", count=2)
    after = changed(report_of(), rules=(*report_of().rules, mine))
    found = compare(report_of(), after)
    assert found.is_worse
    assert found.caveats == ("the rule mine was not asked before",)


def test_other_presets_modes_and_schemas_are_caveats():
    after = report_of(preset="permissive-dev", mode="shadow", world="demo", schema_id="bars/2")
    assert len(compare(report_of(), after).caveats) == 4


def test_changes_are_bounded_and_their_counts_exact():
    names = [f"X:{at:04d}" for at in range(MOST_CHANGES + 50)]
    before = report_of(series=tuple(series_of(name) for name in names))
    after = report_of(
        counts={"off_grid": 1}, series=tuple(series_of(name, missing=2) for name in names)
    )
    found = compare(before, after)
    assert len(found.changes) == MOST_CHANGES
    assert found.counts == {"better": 0, "worse": len(names), "new": 1, "gone": 0}


reports = st.builds(
    lambda counts, missing: report_of(
        counts=counts,
        series=tuple(series_of(symbol, missing=count) for symbol, count in missing.items()),
    ),
    st.dictionaries(
        st.sampled_from(["off_grid", "return_spike", "volume_spike"]), st.integers(0, 3)
    ),
    st.dictionaries(st.sampled_from(["X:A", "X:B"]), st.integers(0, 3)),
)


@given(reports, reports)
def test_the_way_back_undoes_the_way_there(one, other):
    there, back = compare(one, other), compare(other, one)
    assert len(there.changes) == len(back.changes)
    assert {(each.measure, each.name, each.after, each.before) for each in there.changes} == {
        (each.measure, each.name, each.before, each.after) for each in back.changes
    }
    assert Regression.from_dict(there.to_dict()) == there


@given(reports)
def test_a_report_is_neither_better_nor_worse_than_itself(report):
    found = compare(report, report)
    assert (found.outcome, found.changes, found.caveats) == ("same", (), ())
