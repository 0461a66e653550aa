from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from quant_registry.errors import SourceUnreadable
from quant_sdk.sources.legacy import SourceFile, packed, source_for
from quant_sdk.sources.legacy.packed import read_all

LEGACY = Path(__file__).parents[3] / "shared/data/legacy"
NOW = datetime(2024, 6, 1, tzinfo=UTC)
START = 1_704_067_200
SCHEMA = {
    "row": pl.UInt32,
    "ts": pl.Datetime("us", "UTC"),
    **dict.fromkeys(("open", "high", "low", "close", "volume"), pl.Float64),
}
LAYOUT_OF = {"parquet": "flat_v1", "feather": "pair", "gz": "pair", "csv": "csv"}


def table(rows=3, **columns):
    base = {
        "timestamp": [START + 300 * n for n in range(rows)],
        "open": [1.0 + n for n in range(rows)],
        "high": [2.0 + n for n in range(rows)],
        "low": [0.5 + n for n in range(rows)],
        "close": [1.5 + n for n in range(rows)],
        "volume": [10.0] * rows,
    }
    return pl.DataFrame(base | columns)


def file_of(path, layout, **fields):
    spec = {"timestamp_column": "timestamp", "timestamp_unit": None} | fields
    return SourceFile(id=path.name, path=path, layout=layout, symbol="A:B", timeframe="5m", **spec)


def flat(path, frame, **fields):
    frame.write_parquet(path)
    return file_of(path, "flat_v1", **({"timestamp_unit": "s"} | fields))


def rows_of(file):
    source = source_for(file.layout)
    source.probe(file)
    found = source.read(file, now=NOW)
    assert dict(found.schema) == SCHEMA
    return found


def refusal(file):
    with pytest.raises(SourceUnreadable) as caught:
        source_for(file.layout).read(file, now=NOW)
    assert caught.value.fix
    assert file.id in caught.value.message
    return caught.value


def test_flat_file_is_read_in_file_order_with_nothing_dropped(tmp_path):
    stamps = [START, None, START - 300]
    found = rows_of(flat(tmp_path / "a[1]*.parquet", table(timestamp=stamps)))
    assert found["row"].to_list() == [0, 1, 2]
    assert found["ts"].to_list() == [
        datetime(2024, 1, 1, tzinfo=UTC),
        None,
        datetime(2023, 12, 31, 23, 55, tzinfo=UTC),
    ]
    assert found["open"].to_list() == [1.0, 2.0, 3.0]


def test_columns_are_matched_whatever_their_case_and_others_are_left_out(tmp_path):
    frame = table().rename({"open": "Open", "volume": "VOLUME"}).with_columns(trades=1)
    found = rows_of(flat(tmp_path / "a.parquet", frame))
    assert found["volume"].to_list() == [10.0] * 3


def test_file_without_volume_has_null_volume(tmp_path):
    found = rows_of(flat(tmp_path / "a.parquet", table().drop("volume")))
    assert found["volume"].null_count() == 3


@pytest.mark.parametrize("dtype", [pl.Float32, pl.Int64, pl.UInt16, pl.String])
def test_numbers_of_other_types_become_floats_without_loss(tmp_path, dtype):
    frame = table(volume=[1.0, 2.0, 3.0]).with_columns(pl.col("volume").cast(dtype))
    assert rows_of(flat(tmp_path / "a.parquet", frame))["volume"].to_list() == [1.0, 2.0, 3.0]


def test_text_prices_are_read_to_the_last_bit(tmp_path):
    found = rows_of(flat(tmp_path / "a.parquet", table(close=["0.1", "1e-8", None])))
    assert found["close"].to_list() == [0.1, 1e-8, None]


@pytest.mark.parametrize(
    "volume", [[1, 2**53 + 1, 3], ["1", "two", "3"], [True, False, True], [[1], [2], [3]]]
)
def test_values_that_are_no_64_bit_floats_are_refused(tmp_path, volume):
    error = refusal(flat(tmp_path / "a.parquet", table(volume=volume)))
    assert "volume" in error.message
    if isinstance(volume[1], int | str) and not isinstance(volume[1], bool):
        assert (error.row, error.value) == (1, volume[1])


def test_two_columns_of_one_meaning_are_refused(tmp_path):
    assert "all mean open" in refusal(flat(tmp_path / "a.parquet", table(Open=[1.0] * 3))).message


@pytest.mark.parametrize("column", ["timestamp", "close"])
def test_missing_column_is_named_beside_those_that_are_there(tmp_path, column):
    file = flat(tmp_path / "a.parquet", table().drop(column))
    error = refusal(file)
    assert f"no column {column}" in error.message
    assert "high" in error.message
    with pytest.raises(SourceUnreadable):
        source_for("flat_v1").probe(file)


@pytest.mark.parametrize(
    ("unit", "stamps", "row"),
    [
        ("s", [START, START * 1_000, START], 1),
        ("ms", [START * 1_000, START * 1_000, START], 2),
        ("ns", [START * 1_000_000_000, START * 1_000, 0], 1),
        ("us", [START, START, START], 0),
        ("s", [START, START, 2**62], 2),
        ("s", [-(2**62), START, START], 0),
        ("s", [START, int(NOW.timestamp()) + 367 * 86_400, START], 1),
        ("s", [0, START, START], 0),
    ],
)
def test_epoch_that_does_not_fit_its_unit_is_refused_with_the_row_that_shows_it(
    tmp_path, unit, stamps, row
):
    error = refusal(flat(tmp_path / "a.parquet", table(timestamp=stamps), timestamp_unit=unit))
    assert (error.row, error.value) == (row, stamps[row])
    assert "timestamp_unit" in error.fix
    assert f"row {row}" in error.message


@pytest.mark.parametrize("dtype", [pl.UInt64, pl.Int32, pl.UInt32])
def test_epochs_of_any_integer_type_are_read_and_checked(tmp_path, dtype):
    frame = table().with_columns(pl.col("timestamp").cast(dtype))
    assert rows_of(flat(tmp_path / "a.parquet", frame))["ts"][0] == datetime(2024, 1, 1, tzinfo=UTC)
    wrong = frame.with_columns(timestamp=pl.lit(5, dtype))
    assert refusal(flat(tmp_path / "b.parquet", wrong)).row == 0


def test_old_daily_bars_before_1970_are_believed(tmp_path):
    stamps = [-2_000_000_000, -86_400, START]
    assert rows_of(flat(tmp_path / "a.parquet", table(timestamp=stamps)))["ts"][1] == datetime(
        1969, 12, 31, tzinfo=UTC
    )


def test_epochs_finer_than_a_microsecond_are_refused(tmp_path):
    stamps = [START * 10**9, START * 10**9 + 1, START * 10**9]
    file = flat(tmp_path / "a.parquet", table(timestamp=stamps), timestamp_unit="ns")
    assert refusal(file).row == 1


def test_epochs_of_no_declared_unit_are_refused(tmp_path):
    assert "unit" in refusal(flat(tmp_path / "a.parquet", table(), timestamp_unit=None)).message


def test_fractional_epochs_are_refused(tmp_path):
    file = flat(tmp_path / "a.parquet", table(timestamp=[START + 0.5] * 3))
    assert "Float64" in refusal(file).message


def test_naive_times_need_a_declared_zone(tmp_path):
    times = [datetime(2024, 1, 1, hour) for hour in range(3)]  # noqa: DTZ001  naive on purpose
    frame = table(timestamp=times)
    assert "zone" in refusal(flat(tmp_path / "a.parquet", frame)).message
    found = rows_of(flat(tmp_path / "b.parquet", frame, timezone="America/New_York"))
    assert found["ts"][0] == datetime(2024, 1, 1, 5, tzinfo=UTC)


def test_local_time_that_exists_twice_is_refused(tmp_path):
    times = [datetime(2023, 11, 5, hour, 30) for hour in range(3)]  # noqa: DTZ001  as above
    file = flat(tmp_path / "a.parquet", table(timestamp=times), timezone="America/New_York")
    assert refusal(file).row == 1


@pytest.mark.parametrize("layout", ["feather", "parquet"])
def test_pair_file_with_aware_dates_is_read(tmp_path, layout):
    dates = pl.Series([START * 10**9 + n * 10**9 for n in range(3)]).cast(pl.Datetime("ns", "UTC"))
    frame = table(timestamp=dates).rename({"timestamp": "date"})
    path = tmp_path / f"A_B-5m.{layout}"
    frame.write_ipc(path) if layout == "feather" else frame.write_parquet(path)
    found = rows_of(file_of(path, "pair", timestamp_column="date"))
    assert found["ts"][2] == datetime(2024, 1, 1, 0, 0, 2, tzinfo=UTC)


def json_file(path, rows, unit="ms"):
    path.write_bytes(gzip.compress(json.dumps(rows).encode()))
    return file_of(path, "pair", timestamp_column="date", timestamp_unit=unit)


def test_json_lists_and_objects_say_the_same(tmp_path):
    rows = [[(START + n) * 1000, 1, 2.5, "0.5" and 0.5, 1.5, None] for n in range(3)]
    names = ("date", "open", "high", "low", "close", "volume")
    objects = [dict(zip(names, row, strict=True)) for row in rows]
    one = rows_of(json_file(tmp_path / "A_B-5m.json.gz", rows))
    other = rows_of(json_file(tmp_path / "C_D-5m.json.gz", objects))
    assert one.equals(other)
    assert one["open"].to_list() == [1.0] * 3


def test_json_objects_may_carry_iso_dates_and_text_prices(tmp_path):
    row = {"date": "2024-01-01T00:00:00Z", "open": "1", "high": "2", "low": "1", "close": "1.5"}
    found = rows_of(json_file(tmp_path / "A_B-5m.json.gz", [row], unit=None))
    assert found.row(0)[1:] == (datetime(2024, 1, 1, tzinfo=UTC), 1.0, 2.0, 1.0, 1.5, None)


@pytest.mark.parametrize(
    "rows",
    [
        [],
        {},
        [1, 2],
        [[START * 1000, 1, 1, 1, 1]],
        [[START * 1000, 1, 1, 1, 1, 1], [START * 1000, 1]],
        [[START * 1000, 1, 1, 1, 1, 1], {}],
        [[START * 1000, True, 1, 1, 1, 1]],
        [[START * 1000, 1, "x", 1, 1, 1]],
        [[START * 1000, 1, "1", 1, 1, 1], [START * 1000, 1, 1, 1, 1, 1]],
        [[START * 1000, 1.5, 1, 1, 1, 1], [START * 1000, 2**60, 1, 1, 1, 1]],
        [[START, 1, 1, 1, 1, 1]],
        [[2**70, 1, 1, 1, 1, 1]],
    ],
)
def test_json_of_another_shape_is_refused(tmp_path, rows):
    refusal(json_file(tmp_path / "A_B-5m.json.gz", rows))


def csv_file(path, text, **fields):
    data = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return file_of(path, "csv", timestamp_column="t", **fields)


@pytest.mark.parametrize(
    ("stamp", "fields"),
    [
        ("2024-01-01 00:00:00+00:00", {}),
        ("2024-01-01T00:00:00Z", {}),
        ("2024-01-01T00:00:00.000000Z", {}),
        ("2024-01-01T05:30:00+0530", {}),
        ("2024-01-01T00:00+00:00", {}),
        ("2024-01-01 00:00:00", {"timezone": "UTC"}),
        ("2023-12-31T19:00", {"timezone": "America/New_York"}),
        ("2024-01-01", {"timezone": "UTC"}),
        ("1704067200", {"timestamp_unit": "s"}),
        ("1704067200000", {"timestamp_unit": "ms"}),
        ("1704067200000000000", {"timestamp_unit": "ns"}),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_csv_time_in_a_declared_form_is_read(tmp_path, stamp, fields, suffix):
    text = f"t,Open,High,Low,Close\r\n{stamp},1,2,0.5,1.5\r\n,1,,nan,1.5\r\n"
    found = rows_of(csv_file(tmp_path / f"a{suffix}", text, **fields))
    assert found["ts"].to_list() == [datetime(2024, 1, 1, tzinfo=UTC), None]
    assert found["high"].to_list() == [2.0, None]
    assert found["low"].is_nan().to_list() == [False, True]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "t,open,high,low,close",
        "t,open,high,low,close\n",
        "t,open,high,low,close\n2024-01-01 00:00:00,1,2,1,1\n",
        "t,open,high,low,close\n1704067200,1,2,1,1\n",
        "t,open,high,low,close\n2024-01-01T00:00Z,1,2,1,1\n2024-01-01 00:05,1,2,1,1\n",
        "t,open,high,low,close\n2024-01-01T00:00:00.0000001Z,1,2,1,1\n",
        "t,open,high,low,close\n2024-01-01T00:00Z,one,2,1,1\n",
        "t,open,high,low,close\n2024-01-01T00:00Z,1,2,1,1\n2024-01-01T00:05Z,1,2",
        "t,open,high,low,close\n2024-01-01T00:00Z,1,2,1,1,7,8\n",
        "t,open,high,close\n2024-01-01T00:00Z,1,2,1\n",
        "time,open,high,low,close\n2024-01-01T00:00Z,1,2,1,1\n",
        b"t,open,high,low,close\n\xff\xfe,1,2,1,1\n",
        b"\x00" * 100,
        b"\x80" * 100,
    ],
)
def test_csv_that_is_torn_empty_or_of_another_form_is_refused(tmp_path, text):
    refusal(csv_file(tmp_path / "a.csv", text))


def test_every_cut_of_a_binary_file_is_refused(tmp_path):
    files = [
        flat(tmp_path / "a.parquet", table()),
        json_file(tmp_path / "A_B-5m.json.gz", [[START * 1000, 1, 1, 1, 1, 1]]),
        csv_file(tmp_path / "a.csv.gz", "t,open,high,low,close\n2024-01-01T00:00Z,1,2,1,1\n"),
    ]
    dates = table().with_columns(date=pl.from_epoch("timestamp").dt.replace_time_zone("UTC"))
    dates.write_ipc(tmp_path / "A_B-5m.feather")
    files.append(file_of(tmp_path / "A_B-5m.feather", "pair", timestamp_column="date"))
    for file in files:
        whole = file.path.read_bytes()
        for keep in {0, 1, 4, len(whole) // 4, len(whole) // 2, len(whole) - 9, len(whole) - 1}:
            file.path.write_bytes(whole[:keep])
            refusal(file)


def test_file_of_another_format_is_refused_by_probe_and_read(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_text("not parquet at all")
    file = file_of(path, "flat_v1", timestamp_unit="s")
    assert refusal(file).__cause__ is not None
    with pytest.raises(SourceUnreadable):
        source_for("flat_v1").probe(file)
    path.unlink()
    refusal(file)


@pytest.mark.parametrize("layout", ["flat_v1", "pair"])
def test_table_without_rows_is_refused(tmp_path, layout):
    path = tmp_path / "A_B-5m.parquet"
    table().clear().write_parquet(path)
    file = file_of(path, layout, timestamp_unit="s")
    assert "no rows" in refusal(file).message
    with pytest.raises(SourceUnreadable, match="no rows"):
        source_for(layout).probe(file)


def test_probe_tells_columns_and_rows_from_the_head(tmp_path):
    probe = source_for("flat_v1").probe(flat(tmp_path / "a.parquet", table()))
    assert probe.rows == 3
    assert probe.columns == tuple(table().columns)
    text = "t,open,high,low,close\n2024-01-01T00:00Z,1,2,1,1\n"
    assert source_for("csv").probe(csv_file(tmp_path / "a.csv", text)).rows is None


def test_gzip_bomb_is_refused_before_it_is_unpacked_whole(tmp_path):
    path = tmp_path / "bomb.csv.gz"
    path.write_bytes(gzip.compress(b"0" * 20_000_000))
    with pytest.raises(SourceUnreadable) as caught:
        read_all(file_of(path, "csv"), limit=1_000_000)
    assert caught.value.limit == 1_000_000
    assert packed.MAX_BYTES == 4 * 2**30


def test_gzip_members_in_a_row_with_padding_are_one_file(tmp_path):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"ab") + b"\0" * 10 + gzip.compress(b"cd") + b"\0" * 5)
    assert read_all(file_of(path, "csv")) == b"abcd"


def test_panic_of_a_library_is_an_unreadable_source(tmp_path, monkeypatch):
    def panic(*_, **__):
        raise pl.exceptions.PanicException("index out of bounds")

    file = flat(tmp_path / "a.parquet", table())
    monkeypatch.setattr(pl, "read_parquet", panic)
    assert "index out of bounds" in refusal(file).message


@pytest.mark.skipif(not LEGACY.is_dir(), reason="../shared/data/legacy is absent")
def test_real_pairs_are_read_with_every_row():
    rows = {}
    for path in sorted(LEGACY.glob("*.feather")):
        rows[path.name[:3]] = rows_of(file_of(path, "pair", timestamp_column="date")).height
    assert rows == {"ADA": 5720, "DAS": 5758, "ETC": 5759, "ETH": 5760, "LTC": 5760, "NXT": 5760}
