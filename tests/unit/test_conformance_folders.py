"""Folders as others write them: good ones are never blocked for the form of their files."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pyarrow.parquet as pq
import pytest
from _bars import put, series

from quant_sdk.conformance import ConformancePipeline, pieces, run_folder
from quant_sdk.conformance.folder import files_in
from quant_sdk.errors import InvalidInput

A, B = "BINANCE:AAABTC", "BINANCE:BBBBTC"
PIPELINE = ConformancePipeline()
SIZES = pytest.mark.parametrize("most_rows", [1, 10_000])


def checked(folder, **options):
    return run_folder(PIPELINE, folder, node="n", **options)


def by_polars(frame: pl.DataFrame, folder) -> None:
    frame.write_parquet(pl.PartitionBy(folder, key=["symbol", "timeframe"]), mkdir=True)


def by_pyarrow(frame: pl.DataFrame, folder) -> None:
    pq.write_to_dataset(frame.to_arrow(), folder, partition_cols=["symbol", "timeframe"])


@SIZES
@pytest.mark.parametrize("write", [by_polars, by_pyarrow])
def test_hive_folders_name_their_symbols_as_others_write_them(tmp_path, write, most_rows):
    frame = pl.concat([series(A), series(B)])
    write(frame, tmp_path / "in")
    assert any("%3A" in str(path) for path in files_in(tmp_path / "in"))
    report = checked(tmp_path / "in", most_rows=most_rows)
    assert (report.verdict, report.flags) == ("pass", 0)
    assert [each.symbol for each in report.series] == [A, B]


def test_a_hive_folder_of_no_value_holds_nulls(tmp_path):
    folder = tmp_path / "symbol=__HIVE_DEFAULT_PARTITION__"
    folder.mkdir()
    series().drop("symbol").write_parquet(folder / "a.parquet")
    report = run_folder(ConformancePipeline.shadow(), tmp_path, node="n")
    assert report.flagged["null_value"] == 100


def digests(tmp_path, first: pl.DataFrame, second: pl.DataFrame, kind: str = "csv") -> set[str]:
    """Return the digests of the check of two files, in pieces of all sizes."""
    for name, frame in (("a", first), ("b", second)):
        getattr(frame, f"write_{kind}")(tmp_path / f"{name}.{kind}")
    reports = [checked(tmp_path, most_rows=rows) for rows in (1, 150, 10_000)]
    assert {report.verdict for report in reports} == {"pass"}
    assert {report.rows_out for report in reports} == {first.height + second.height}
    return {report.digest for report in reports}


def halves(**columns) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the halves of one series, the second one with other columns."""
    frame = series(rows=200)
    return frame[:100], frame[100:].with_columns(**columns)


@pytest.mark.parametrize("symbol", [A, B])
def test_whole_numbers_in_one_csv_and_fractions_in_another_are_one_kind(tmp_path, symbol):
    first, second = halves(volume=pl.Series([7.0] * 100).cast(pl.Int64))
    other = first if symbol == A else series(B)
    assert len(digests(tmp_path, other.with_columns(symbol=pl.lit(symbol)), second)) == 1


@pytest.mark.parametrize(
    "columns",
    [
        {"volume": pl.lit(None, dtype=pl.Float64)},
        {"volume": pl.lit(7, dtype=pl.Int8)},
        {"symbol": pl.lit("BINANCE:ADABTC", dtype=pl.Categorical)},
        {"ts": pl.col("ts").dt.cast_time_unit("ns")},
        {"ts": pl.col("ts").dt.convert_time_zone("Asia/Tokyo").dt.cast_time_unit("ms")},
    ],
)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_types_that_hold_the_same_values_are_one_kind(tmp_path, columns, kind):
    if kind == "csv" and "ts" in columns:
        columns["ts"] = columns["ts"].dt.convert_time_zone("UTC")
    assert len(digests(tmp_path, *halves(**columns), kind)) == 1


def test_dates_and_times_of_one_series_are_one_kind(tmp_path):
    frame = series(rows=20, timeframe="1d").with_columns(pl.col("ts").dt.replace_time_zone(None))
    first, second = frame[:10], frame[10:].with_columns(pl.col("ts").dt.date())
    assert len(digests(tmp_path, first, second)) == 1


def test_columns_in_another_order_are_one_kind(tmp_path):
    first, second = halves()
    assert len(digests(tmp_path, first, second.select(reversed(second.columns)))) == 1


@SIZES
def test_whole_numbers_that_no_float_holds_are_not_made_floats(tmp_path, most_rows):
    first, second = halves(volume=pl.lit(2**53 + 1))
    first.write_parquet(tmp_path / "a.parquet")
    second.write_parquet(tmp_path / "b.parquet")
    with pytest.raises(InvalidInput, match="different columns or types"):
        checked(tmp_path, most_rows=most_rows)


@SIZES
def test_series_of_files_with_other_columns_are_checked_apart(tmp_path, most_rows):
    series(A).write_parquet(tmp_path / "a.parquet")
    series(B).drop("volume").write_parquet(tmp_path / "b.parquet")
    report = run_folder(PIPELINE, tmp_path, node="n", most_rows=most_rows)
    assert [(each.code, each.column) for each in report.schema_findings] == [
        ("missing_column", "volume")
    ]
    assert len(list(pieces(files_in(tmp_path), most_rows=most_rows))) == 2


def test_times_that_the_finer_unit_cannot_hold_stay_as_they_are(tmp_path):
    far = datetime(2500, 1, 1, tzinfo=UTC)
    put(series(A), 3, ts=far).write_parquet(tmp_path / "a.parquet")
    nanos = series(B).with_columns(pl.col("ts").dt.cast_time_unit("ns"))
    nanos.write_parquet(tmp_path / "b.parquet")
    report = run_folder(ConformancePipeline.shadow(), tmp_path, node="n")
    assert report.flagged == {"implausible_time": 1}
