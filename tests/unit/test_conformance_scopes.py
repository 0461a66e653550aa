"""What a rule of each scope is asked of: `quant_sdk.conformance.rule` says it."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest
from _bars import series

from quant_sdk.conformance import ConformancePipeline, Rule
from quant_sdk.schemas import CanonicalSchema
from quant_sdk.testing.clean import clean_quotes, clean_ticks

ADA, ETH = "BINANCE:ADABTC", "BINANCE:ETHBTC"
LATE = Rule(
    id="late",
    kind="bars",
    severity="warn",
    measures="rows that came after a later one",
    source="this test",
    scope="arrival",
    bad=lambda _: pl.col("ts") < pl.col("ts").shift(1),
    reason=lambda _: pl.format("after {}", pl.col("ts").shift(1).dt.to_string("%H:%M")),
)


def check(frame, kind, *rules):
    pipeline = ConformancePipeline.partial_ok(True, kind=kind, rules=[*rules])
    return pipeline.run(frame, node="n")


def counts(result) -> dict[str, int]:
    return {each.rule: each.count for each in result.report.rules if each.count}


def mixed() -> pl.DataFrame:
    """Return bars of two series by turns, two of them late."""
    return pl.concat([series(ADA, 5), series(ETH, 5)])[[0, 5, 2, 6, 1, 3, 4, 8, 7, 9]]


def test_a_rule_about_arrival_sees_bars_as_they_came():
    found = counts(check(mixed(), "bars", LATE, "out_of_order"))
    assert found == {"late": 2, "out_of_order": 2}
    apart = mixed().sort("symbol", maintain_order=True)
    assert counts(check(apart, "bars", LATE)) == {"late": 2}


def test_what_a_blocking_rule_about_arrival_refuses_is_the_row_that_came_late():
    result = check(mixed(), "bars", replace(LATE, severity="block"))
    assert result.quarantined["row", "rule", "reason"].rows() == [
        (4, "late", "after 00:02"),
        (8, "late", "after 00:03"),
    ]
    assert result.frame.height == 8


@pytest.mark.parametrize(("kind", "clean"), [("ticks", clean_ticks), ("quotes", clean_quotes)])
def test_rules_about_ticks_and_quotes_are_asked_of_each_symbol_by_itself(kind, clean):
    frame = clean(3, 20)
    seen = []

    def every(_):
        return pl.col("symbol").map_batches(
            lambda own: (seen.append(own.unique().to_list()), own.is_null())[1],
            return_dtype=pl.Boolean,
        )

    backwards = replace(LATE, id="backwards", kind=kind, severity="block", scope="series")
    spy = Rule(
        id="spy", kind=kind, severity="note", measures="-", source="-", scope="series", bad=every
    )
    late = replace(LATE, kind=kind)
    for given in (frame, frame.sort("ts", maintain_order=True)):
        seen.clear()
        result = check(given, kind, backwards, spy, late)
        assert counts(result) == {}
        assert sorted(seen) == sorted([name] for name in frame["symbol"].unique())
        assert result.frame.height == frame.height


def test_a_rule_about_arrival_sees_ticks_as_they_came():
    frame = clean_ticks(2, 10)
    symbol, other = frame["symbol"].unique().sort()
    one, two = frame.filter(symbol=symbol), frame.filter(symbol=other)
    turns = pl.concat([one[:3], two[:5], one[4:5], one[3:4], two[5:], one[5:]])
    result = check(turns, "ticks", replace(LATE, kind="ticks", severity="block"))
    assert result.quarantined["row", "rule"].rows() == [(9, "late")]
    assert result.frame.equals(pl.concat([one[:3], one[4:], two]))
    assert sum(each.out_of_order for each in result.report.series) == 0
    warned = check(turns, "ticks", replace(LATE, kind="ticks"))
    assert counts(warned) == {"late": 1}
    assert [each.out_of_order for each in warned.report.series] == [1, 0]


def test_rows_without_a_symbol_are_one_series():
    schema = CanonicalSchema.from_dict(
        {
            "schema": "canonical_schema/1",
            "name": "readings",
            "version": 1,
            "title": "Readings",
            "key": ["n"],
            "columns": [{"name": "n", "dtype": "int64", "nullable": False}],
        }
    )
    rule = Rule(
        id="falls",
        kind="readings",
        severity="block",
        measures="falls",
        source="-",
        scope="arrival",
        bad=lambda _: pl.col("n") < pl.col("n").shift(1),
    )
    pipeline = ConformancePipeline.partial_ok(True, kind="readings", schema=schema, rules=[rule])
    result = pipeline.run(pl.DataFrame({"n": [1, 3, 2]}), node="n")
    assert result.quarantined["row"].to_list() == [2]
    assert counts(result) == {"falls": 1}
    assert pipeline.run(pl.DataFrame({"n": []}, {"n": pl.Int64}), node="n").frame.height == 0
