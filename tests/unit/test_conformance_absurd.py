"""Values that no data should hold: each is refused with its row, told by its own words."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest
from _bars import FIRST, START, series

from quant_sdk.conformance import ConformancePipeline, Rule
from quant_sdk.errors import ConformanceError
from quant_sdk.schemas import CanonicalSchema, FileSchemaRegistry
from quant_sdk.testing.clean import clean_bars, clean_quotes, clean_ticks

MOST = 2**63 - 1


def check(frame, **options):
    window = {name: options.pop(name) for name in ("start", "end", "as_of") if name in options}
    return ConformancePipeline.partial_ok(True, **options).run(frame, node="n", **window)


def told(result) -> list[tuple[int, str, str]]:
    return result.quarantined.select("row", "rule", "reason").rows()


def counts(result) -> dict[str, int]:
    return {each.rule: each.count for each in result.report.rules if each.count}


def own_schema(name: str, column: str, **declared) -> CanonicalSchema:
    found = FileSchemaRegistry().get(name, 1).to_dict()
    own = {"name": column, "nullable": False, **declared}
    columns = [own if each["name"] == column else each for each in found["columns"]]
    return CanonicalSchema.from_dict({**found, "columns": columns})


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("zone", ["UTC", "America/New_York", None])
@pytest.mark.parametrize("mode", ["blocking", "partial_ok", "shadow"])
def test_a_datetime_that_no_calendar_holds_is_implausible_in_its_row(unit, zone, mode):
    good = series(rows=4)["ts"].dt.cast_time_unit(unit).to_physical()
    epochs = good.scatter([1, 2], [MOST, -MOST])
    frame = series(rows=4).with_columns(ts=epochs.cast(pl.Datetime(unit, zone)))
    result = ConformancePipeline(mode=mode).look(frame, node="n")
    assert result.quarantined["row"].to_list() == [1, 2]
    assert set(result.quarantined["rule"]) == {"implausible_time"}
    if unit != "ns":  # whose longest reach the year 2262
        assert f"{MOST} {unit} is implausible" in result.quarantined["reason"][0]
        assert f"-{MOST} {unit} is implausible" in result.quarantined["reason"][1]
    assert result.report.rows_out == 2


def test_nanoseconds_in_a_column_of_milliseconds_are_implausible():
    frame = clean_bars(1, 3, "1m").with_columns(
        ts=pl.Series([1704067200 * 10**9] * 3).cast(pl.Datetime("ms", "UTC"))
    )
    result = ConformancePipeline.shadow().look(frame, node="n")
    assert set(result.quarantined["rule"]) == {"implausible_time"}
    assert result.quarantined.height == 3


def test_a_date_that_no_calendar_holds_is_implausible_in_its_row():
    days = pl.Series([19723, 2**31 - 1, -(2**31)], dtype=pl.Int32).cast(pl.Date)
    result = check(series(rows=3, timeframe="1d").with_columns(ts=days))
    assert [row[:2] for row in told(result)] == [(1, "implausible_time"), (2, "implausible_time")]


@pytest.mark.parametrize(
    "days",
    [
        pl.Series([0, 2**31 - 1, -(2**31), 1], dtype=pl.Int32).cast(pl.Date),
        pl.Series([0, 10**8, -(10**8), 1]).cast(pl.Int64) * 86_400_000,
    ],
)
def test_a_column_of_dates_refuses_what_no_calendar_holds(days):
    schema = own_schema("ticks", "side", dtype="date")
    sides = days if days.dtype == pl.Date else days.cast(pl.Datetime("ms"))
    frame = clean_ticks(1, 4).with_columns(side=sides, price=pl.lit(-1.0))
    result = check(frame, kind="ticks", schema=schema)
    assert result.quarantined["row"].to_list() == [0, 1, 2, 3]
    rules = [rule for _, rule, _ in told(result)]
    assert rules[1] in ("implausible_time", "lossy_cast")
    assert str(result.quarantined)
    assert counts(result)["trade_non_positive"] == 2


def epochs(*values: int):
    schema = own_schema("ticks", "ts", dtype="int64", unit="us", timezone="UTC")
    frame = clean_ticks(1, len(values)).with_columns(ts=pl.Series(values, dtype=pl.Int64))
    return check(frame, kind="ticks", schema=schema)


def test_one_epoch_before_1970_vouches_for_no_unit():
    result = epochs(-1_000_000, 1704067200000, 1704067200001)
    assert [row[:2] for row in told(result)] == [(1, "implausible_time"), (2, "implausible_time")]
    assert result.frame.height == 1


def test_epochs_that_reach_back_beyond_1970_are_good_in_their_first_weeks_too():
    day = 86_400_000_000
    result = epochs(*(at * day for at in range(-100, 90)))
    assert (result.frame.height, result.quarantined.height) == (190, 0)


def test_each_row_is_refused_for_its_own_value():
    frame = clean_ticks(1, 8)
    names = pl.Series(["../../etc", "<script>", *frame["symbol"][2:]])
    sides = frame["side"].scatter([2, 3], ["hold", "x\ny"])
    far = [datetime(1850, 1, 1, tzinfo=UTC), datetime(2300, 1, 1, tzinfo=UTC)]
    times = frame["ts"].scatter([4, 5], far)
    result = check(frame.with_columns(symbol=names, side=sides, ts=times), kind="ticks")
    why = [row[2] for row in told(result)]
    assert ["'../../etc'" in why[0], "'<script>'" in why[1]] == [True, True]
    assert why[2:] == [
        "side: 'hold' is none of buy, sell",
        "side: 'x\\ny' is none of buy, sell",
        "ts: 1850-01-01T00:00:00 is implausible as a time",
        "ts: 2300-01-01T00:00:00 is implausible as a time",
    ]
    details = {each.code: each.detail for each in result.report.schema_findings}
    assert details["malformed_symbol"].startswith("'../../etc'")
    assert details["unknown_value"] == "'hold' is none of buy, sell"
    assert details["implausible_time"] == "1850-01-01T00:00:00 is implausible as a time"


def test_each_lossy_cast_is_told_by_its_own_value():
    whole = pl.Series([2**53 + 1, 7, 2**53 + 3])
    result = check(series(rows=3).with_columns(volume=whole))
    assert [row[2] for row in told(result)] == [
        "volume: 9007199254740993 has no equal as float64",
        "volume: 9007199254740995 has no equal as float64",
    ]


def in_pieces(frame: pl.DataFrame, size: int) -> pl.DataFrame:
    parts = [frame[at : at + size] for at in range(0, frame.height, size)]
    return pl.concat(parts, rechunk=False)


def test_a_volume_that_never_changes_has_no_spike():
    frame = clean_bars(1, 60, "1m").with_columns(volume=pl.lit(0.1))
    assert "volume_spike" not in counts(check(frame))
    rounded = frame.with_columns(
        volume=pl.when(pl.int_range(pl.len()) == 0).then(0.1 - 2**-56).otherwise(0.1)
    )
    assert "volume_spike" not in counts(check(rounded))


@pytest.mark.parametrize("size", [1, 7, 59, 1000])
def test_the_same_rows_in_other_chunks_have_the_same_digest(size):
    volume = pl.Series([0.1 * (1 + at % 3) for at in range(999)] + [500.0])
    frame = clean_bars(1, 1000, "1m").with_columns(volume=volume)
    whole = check(frame.rechunk())
    parts = in_pieces(frame, size)
    assert check(parts).report.digest == whole.report.digest
    assert counts(whole)["volume_spike"] == 1
    same = clean_bars(1, 60, "1m").with_columns(volume=pl.lit(0.1))
    assert check(in_pieces(same, size)).report.digest == check(same).report.digest


def test_quotes_at_the_end_of_what_a_float_holds_are_wide():
    frame = clean_quotes(1, 2).with_columns(bid=pl.Series([1e308, 1e308]), ask=1.05e308)
    frame = frame.with_columns(ask=pl.Series([1.7e308, 1.05e308]))
    result = check(frame, kind="quotes")
    assert [row[:2] for row in told(result)] == [(0, "quote_wide_spread")]


def test_the_same_bar_of_two_sources_is_one_bar():
    frame = series(rows=3).with_columns(source=pl.lit("ccxt:binance"))
    twin = frame[1].with_columns(source=pl.lit("dump"))
    result = check(pl.concat([frame, twin]))
    assert (result.report.identical_duplicates, result.quarantined.height) == (1, 0)
    assert result.frame["source"].to_list() == ["ccxt:binance"] * 3


@pytest.mark.parametrize("count", [10**30, -1, 1.5, float("nan"), None, "7", 2**53 + 1])
def test_a_rule_that_counts_the_impossible_has_crashed(count):
    rule = Rule(
        id="own", kind="bars", severity="note", measures="-", source="-", scope="rollup",
        counts=lambda *_: count,
    )  # fmt: skip
    with pytest.raises(ConformanceError, match="1 x own") as error:
        check(series(rows=3), rules=[rule])
    (found,) = [each for each in error.value.report.rules if each.rule == "own"]
    assert (found.severity, found.count) == ("block", 1)


class Counting:
    """A calendar that counts the bars it is asked about."""

    name = "counting"
    always_open = False

    def __init__(self) -> None:
        self.asked = 0

    def expected(self, ts: pl.Expr, timeframe) -> pl.Expr:
        return ts.map_batches(self._mark, return_dtype=pl.Boolean, is_elementwise=True)

    def _mark(self, ts: pl.Series) -> pl.Series:
        self.asked += ts.len()
        return ts.is_not_null()


def test_a_series_without_a_good_row_lays_no_calendar_out():
    calendar = Counting()
    good = series("OANDA:EURUSD", 10, "10s")
    bad = series("OANDA:GBPUSD", 1, "10s").with_columns(close=pl.lit(-1.0))
    result = check(pl.concat([good, bad]), calendar_of=lambda _: calendar, as_of=FIRST)
    assert counts(result) == {"non_positive_price": 1}
    assert calendar.asked < 1000


def test_series_of_different_times_lay_out_their_own_times_only():
    calendar = Counting()
    century = 36_525 * 86_400_000_000
    late, early = series("X:A", 10), series("X:B", 10, start=START - century)
    frame = pl.concat([late, early]).filter(pl.int_range(pl.len()) % 10 != 4)
    result = check(frame, calendar_of=lambda _: calendar)
    assert [(each.expected, each.missing) for each in result.report.series] == [(10, 1), (10, 1)]
    assert calendar.asked < 1000
