"""Reports of parts make the report of the whole; folders are checked a piece at a time."""

from __future__ import annotations

import functools
from datetime import timedelta

import polars as pl
import pytest
from _bars import COLUMNS, FIRST, put, series
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_sdk.conformance import (
    ConformancePipeline,
    ConformanceReport,
    Rule,
    daily,
    merge,
    pieces,
    run_files,
    run_folder,
)
from quant_sdk.errors import ConformanceError, InvalidInput, NoData, SourceUnreadable

PIPELINE = ConformancePipeline.shadow()
NAMES = [f"BINANCE:S{n}BTC" for n in range(6)]


def flawed(name: str, place: int) -> pl.DataFrame:
    """Return bars with flaws that depend on the place: gaps, bad values, twins, strange columns."""
    frame = series(name, 30 + 10 * place, seed=place)
    frame = frame.filter(pl.int_range(pl.len()) % 11 != place)
    if place % 2:
        frame = put(put(frame, 3, close=-1.0), 5, volume=-float(place))
    if place % 3 == 0:
        frame = pl.concat([frame[:5], frame[4:]])
    return frame


WHOLE = pl.concat([flawed(name, place) for place, name in enumerate(NAMES)])
REPORTS = [
    PIPELINE.run(WHOLE.filter(symbol=name), node="n", as_of="2024-01-02T00:00:00Z").report
    for name in NAMES
]


def bare(report: ConformanceReport) -> dict:
    """Return a report without what depends on the place of rows in their part."""
    found = report.to_dict()
    del found["digest"]
    for rule in found["rules"]:
        rule["sample"] = sorted(
            str({name: value for name, value in row.items() if name != "row"})
            for row in rule["sample"]
        )
    return found


def test_reports_of_parts_make_the_report_of_the_whole():
    whole = PIPELINE.run(WHOLE, node="n", as_of="2024-01-02T00:00:00Z").report
    assert bare(merge(*REPORTS)) == bare(whole)


@settings(max_examples=25, deadline=None)
@given(st.permutations(REPORTS), st.integers(1, 5))
def test_reports_merge_in_any_order_and_two_by_two(reports, cut):
    one, other = merge(*reports[:cut]), merge(*reports[cut:])
    assert merge(one, other).digest == merge(*REPORTS).digest
    assert functools.reduce(merge, reports).digest == merge(*REPORTS).digest


def test_merging_needs_reports_of_one_check_about_different_series():
    with pytest.raises(InvalidInput, match="no report"):
        merge()
    with pytest.raises(InvalidInput, match="differ in as_of"):
        merge(REPORTS[0], PIPELINE.run(WHOLE, node="n").report)
    with pytest.raises(InvalidInput, match=r"BINANCE:S0BTC 1m is in two"):
        merge(REPORTS[0], REPORTS[1], REPORTS[0])


def test_a_rule_that_crashed_in_one_part_blocks_the_whole():
    def positive(close):
        assert len(close) > 40
        return close > 0

    def picky(_):
        return pl.col("close").map_batches(positive, return_dtype=pl.Boolean)

    rule = Rule(id="own", kind="bars", severity="note", measures="-", source="-", bad=picky)
    pipeline = ConformancePipeline.shadow(rules=[rule])
    parts = [
        pipeline.run(series(name, rows), node="n").report
        for name, rows in (("A:A", 50), ("A:B", 30))
    ]
    merged = merge(*parts)
    (found,) = [each for each in merged.rules if each.rule == "own"]
    assert (found.severity, found.count, merged.verdict) == ("block", 51, "block")
    assert merge(*reversed(parts)).digest == merged.digest


def test_days_are_joined_to_weeks_where_there_are_too_many(monkeypatch):
    frame = pl.concat([series(name, 60, "1d", seed=n) for n, name in enumerate(NAMES)])
    by_day = PIPELINE.run(frame, node="n").report.daily
    assert {entry["days"] for entry in by_day} == {1}
    assert len(by_day) == 360
    monkeypatch.setattr(daily, "MOST", 100)
    by_week = PIPELINE.run(frame, node="n").report.daily
    assert {entry["days"] for entry in by_week} == {7}
    assert by_week[0] == {
        "symbol": NAMES[0],
        "timeframe": "1d",
        "day": "2024-01-01",
        "days": 7,
        "expected": 7,
        "present": 7,
        "flags": 0,
    }
    assert daily.joined(by_day) == by_week
    monkeypatch.setattr(daily, "MOST", 4)
    kept = PIPELINE.run(frame.filter(pl.int_range(pl.len()) != 70), node="n").report.daily
    assert len(kept) == 4
    assert NAMES[1] in {entry["symbol"] for entry in kept}


def write(folder, frame: pl.DataFrame, kind: str) -> None:
    path = folder / f"{frame['symbol'][0].replace(':', '_')}.{kind}"
    {
        "parquet": frame.write_parquet,
        "feather": frame.write_ipc,
        "csv": frame.write_csv,
    }[kind](path)


@pytest.mark.parametrize("kind", ["parquet", "feather", "csv"])
@pytest.mark.parametrize("most_rows", [1, 120, 10_000])
def test_a_folder_is_checked_as_its_rows_at_once_would_be(tmp_path, kind, most_rows):
    frame = WHOLE.select(COLUMNS)
    for name in NAMES:
        write(tmp_path, frame.filter(symbol=name), kind)
    whole = PIPELINE.run(frame, node="n").report
    found = run_folder(PIPELINE, tmp_path, node="n", most_rows=most_rows)
    assert bare(found)["series"] == bare(whole)["series"]
    assert bare(found) == bare(whole)


def test_a_series_that_lies_in_several_files_is_one_piece(tmp_path):
    frame = pl.concat([series(name, 90, seed=n) for n, name in enumerate(NAMES)])
    for day in range(3):
        part = frame.filter(pl.int_range(pl.len()).over("symbol") // 30 == day)
        part.write_parquet(tmp_path / f"part-{day}.parquet", row_group_size=30)
    found = list(pieces(sorted(tmp_path.iterdir()), most_rows=200))
    assert [piece.rows for piece in found] == [180, 180, 180]
    assert found[0].series == ((NAMES[0], "1m"), (NAMES[1], "1m"))
    report = run_folder(PIPELINE, tmp_path, node="n", most_rows=200)
    assert report.digest == PIPELINE.run(frame, node="n").report.digest


def test_folders_named_by_a_column_give_its_value(tmp_path):
    for timeframe in ("1m", "5m"):
        folder = tmp_path / f"timeframe={timeframe}" / "bucket=2024-01"
        folder.mkdir(parents=True)
        series(timeframe=timeframe).drop("timeframe").write_parquet(folder / "a.parquet")
    report = run_folder(PIPELINE, tmp_path, node="n")
    assert [each.timeframe for each in report.series] == ["1m", "5m"]
    assert (report.flags, report.schema_findings) == (0, ())


def test_each_piece_is_handed_on_as_soon_as_it_is_good(tmp_path):
    for name in NAMES[:3]:
        write(tmp_path, series(name, 50), "parquet")
    bad = put(series("BINANCE:Z", 50), 4, close=-1.0)
    write(tmp_path, bad, "parquet")
    taken = []
    with pytest.raises(ConformanceError, match="1 x non_positive_price") as error:
        run_folder(
            ConformancePipeline(),
            tmp_path,
            node="n",
            most_rows=50,
            take=lambda piece, result: taken.append((piece.series[0][0], result.frame.height)),
        )
    assert taken == [(name, 50) for name in NAMES[:3]]
    assert error.value.report.rows_in == 200


def test_files_without_a_symbol_are_checked_one_by_one(tmp_path):
    for place in range(2):
        bars = series(rows=20, start=1_704_067_200_000_000 + place * 86_400_000_000)
        bars.drop("symbol", "timeframe").write_parquet(tmp_path / f"{place}.parquet")
    paths = sorted(tmp_path.iterdir())
    pipeline = ConformancePipeline(symbol="A:A", timeframe="1m")
    assert run_files(pipeline, paths[:1], node="n").rows_out == 20
    with pytest.raises(ConformanceError, match="symbol: bars/1 requires it"):
        run_files(ConformancePipeline(timeframe="1m"), paths, node="n")


def test_what_cannot_be_checked_as_files_is_refused(tmp_path):
    with pytest.raises(NoData):
        run_folder(PIPELINE, tmp_path, node="n")
    (tmp_path / "a.parquet").write_bytes(b"not parquet")
    with pytest.raises(SourceUnreadable, match=r"a\.parquet cannot be read"):
        run_folder(PIPELINE, tmp_path, node="n")
    with pytest.raises(SourceUnreadable, match="no data file"):
        run_files(PIPELINE, [tmp_path / "a.json"], node="n")
    series().write_parquet(tmp_path / "a.parquet")
    series().drop("volume").write_parquet(tmp_path / "b.parquet")
    with pytest.raises(InvalidInput, match="different columns"):
        run_folder(PIPELINE, tmp_path, node="n")
    (tmp_path / "_delta_log").mkdir()
    with pytest.raises(InvalidInput, match="Delta table"):
        run_folder(PIPELINE, tmp_path, node="n")


def test_flags_of_rows_without_a_good_bar_have_their_day():
    frame = put(series(rows=5), 2, close=-1.0)
    frame = put(frame, 4, ts=FIRST + timedelta(days=3, seconds=1))
    told = PIPELINE.run(frame, node="n").report.daily
    assert [(day["day"], day["flags"]) for day in told] == [("2024-01-01", 1), ("2024-01-04", 1)]
