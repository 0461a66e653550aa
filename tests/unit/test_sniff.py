from __future__ import annotations

import gzip
import json
import os
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from _legacy import bars, write_flat

from quant_registry.errors import Conflict, InvalidInput, InvalidManifest
from quant_sdk.sources.legacy import _tree
from quant_sdk.sources.legacy.manifest_draft import check_writable, draft_profile, write_profile
from quant_sdk.sources.legacy.sniff import sniff

NOW = datetime(2026, 2, 3, tzinfo=UTC)
START = datetime(2024, 3, 1, tzinfo=UTC)


def look(folder, exchange=None, **settings):
    exchanges = {"*": exchange} if isinstance(exchange, str) else exchange
    return sniff(folder, base=folder, now=NOW, exchanges=exchanges, **settings)


def write_csv(path, times, column="timestamp", **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    prices = dict.fromkeys(("open", "high", "low", "close"), 1.5)
    pl.DataFrame({column: times, **more}).with_columns(
        **{name: pl.lit(value) for name, value in prices.items()}
    ).write_csv(path)
    return path


def epochs(count, unit=1, step=60, start=START):
    return [(int(start.timestamp()) + step * index) * unit for index in range(count)]


def write_pair(path, rows=4, zone="UTC"):
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = bars(rows, step=300).drop("timestamp")
    times = pl.datetime_range(START, START + timedelta(minutes=5 * (rows - 1)), "5m", eager=True)
    frame = frame.with_columns(date=times.dt.replace_time_zone(zone))
    (frame.write_ipc if path.suffix == ".feather" else frame.write_parquet)(path)
    return path


def reasons(found):
    return {item.path: item.reason for item in found.left_out}


def test_a_folder_of_one_layout_is_one_entry(tmp_path):
    write_flat(tmp_path / "flat", "AUSDT", bars(5))
    write_flat(tmp_path / "flat", "BUSDT", bars(5))
    write_pair(tmp_path / "deep" / "pairs" / "ADA_BTC-5m.feather")
    write_pair(tmp_path / "deep" / "pairs" / "ETH_BTC-5m.parquet")
    found = look(tmp_path, "KRAKEN")
    assert found.entries == (
        {"path": "deep/pairs", "layout": "pair", "exchange": "KRAKEN"},
        {"path": "flat", "layout": "flat_v1"},
    )
    series = {(file.symbol, file.timeframe) for file in found.files}
    assert ("KRAKEN:ADABTC", "5m") in series
    assert ("BINANCE:AUSDT", "1h") in series
    assert not found.left_out


def test_layouts_that_share_a_folder_are_named_file_by_file(tmp_path):
    write_flat(tmp_path, "AUSDT", bars(5))
    write_pair(tmp_path / "ADA_BTC-5m.feather")
    found = look(tmp_path, "KRAKEN")
    assert [entry["path"] for entry in found.entries] == [
        "ADA_BTC-5m.feather",
        "BINANCE_AUSDT_1h.parquet",
    ]


def test_a_file_that_does_not_say_its_exchange_is_named_as_needing_one(tmp_path):
    write_pair(tmp_path / "ADA_BTC-5m.feather")
    write_csv(tmp_path / "csv" / "eurusd.csv", epochs(5))
    found = look(tmp_path)
    assert not found.entries
    assert all("needs --exchange" in reason for reason in reasons(found).values())
    assert len(found.left_out) == 2


def test_an_exchange_may_be_said_by_pattern(tmp_path):
    write_pair(tmp_path / "a" / "ADA_BTC-5m.feather")
    write_pair(tmp_path / "b" / "ADA_BTC-5m.feather")
    write_csv(tmp_path / "eurusd-m1.csv", epochs(5))
    found = look(tmp_path, {"eurusd*": "FXCM", "b/*": "KRAKEN", "*": "BINANCE"})
    assert {file.symbol for file in found.files} == {
        "FXCM:EURUSD",
        "KRAKEN:ADABTC",
        "BINANCE:ADABTC",
    }


@pytest.mark.parametrize(
    ("unit", "factor"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)]
)
def test_the_only_plausible_unit_is_proposed_with_the_row_that_shows_it(tmp_path, unit, factor):
    write_csv(tmp_path / "eurusd.csv", epochs(5, factor), column="Time")
    found = look(tmp_path, "FXCM")
    (entry,) = found.entries
    assert (entry["timestamp_unit"], entry["timestamp_column"]) == (unit, "Time")
    assert f"row 0 of eurusd.csv, {epochs(1, factor)[0]}, is 2024-03-01T00:00:00" in entry["note"]
    assert found.files[0].evidence == {
        "row": 0,
        "value": str(epochs(1, factor)[0]),
        "unit": unit,
        "reads": "2024-03-01T00:00:00.000000Z",
    }


def test_a_unit_is_never_guessed_where_several_or_none_are_plausible(tmp_path):
    write_csv(tmp_path / "old.csv", [-1_000_000_000 + 60 * index for index in range(5)])
    write_csv(tmp_path / "small.csv", [60 * index for index in range(5)])
    found = look(tmp_path, "FXCM")
    assert not found.entries
    assert "plausible as a timestamp in s and ms" in reasons(found)["old.csv"]
    assert "none of s, ms, us, ns" in reasons(found)["small.csv"]


def test_a_unit_other_than_the_layout_declares_is_written(tmp_path):
    frame = bars(5).with_columns(timestamp=pl.col("timestamp") * 1000)
    write_flat(tmp_path / "flat", "AUSDT", frame)
    (entry,) = look(tmp_path).entries
    assert entry["timestamp_unit"] == "ms"
    assert entry["note"].startswith("the only plausible unit: row 0 of BINANCE_AUSDT_1h.parquet")


def test_files_of_one_folder_in_different_units_get_entries_of_their_own(tmp_path):
    write_flat(tmp_path, "AUSDT", bars(5))
    write_flat(tmp_path, "BUSDT", bars(5).with_columns(timestamp=pl.col("timestamp") * 1000))
    units = [entry.get("timestamp_unit") for entry in look(tmp_path).entries]
    assert units == [None, "ms"]


def test_a_column_of_times_under_another_name_is_found(tmp_path):
    write_flat(tmp_path, "AUSDT", bars(5).rename({"timestamp": "open_time"}))
    (entry,) = look(tmp_path).entries
    assert entry["timestamp_column"] == "open_time"


def test_times_with_an_offset_are_read_as_they_stand(tmp_path):
    write_csv(tmp_path / "eurusd.csv", [f"2024-03-08 10:0{m}:00-05:00" for m in range(5)])
    (entry,) = look(tmp_path, "FXCM").entries
    assert "timestamp_unit" not in entry
    assert entry["timeframe"] == "1m"


def test_naive_times_are_left_out_until_their_zone_is_said(tmp_path):
    write_csv(tmp_path / "eurusd.csv", [f"2024-03-08 10:0{m}:00" for m in range(5)])
    write_csv(tmp_path / "gbpusd.csv", epochs(5))
    assert "no declared zone" in reasons(look(tmp_path, "FXCM"))["eurusd.csv"]
    found = look(tmp_path, "FXCM", timezone="America/New_York")
    assert [entry.get("timezone") for entry in found.entries] == ["America/New_York", None]
    write_pair(tmp_path / "pairs" / "ADA_BTC-5m.feather", zone=None)
    found = look(tmp_path / "pairs", "BINANCE", timezone="UTC")
    assert found.entries[0]["timezone"] == "UTC"


def test_columns_of_different_times_are_not_chosen_between(tmp_path):
    later = [at + 3600 for at in epochs(5)]
    write_csv(tmp_path / "eurusd.csv", epochs(5), column="time", date=later)
    assert "differ: time, date" in reasons(look(tmp_path, "FXCM"))["eurusd.csv"]
    write_csv(tmp_path / "eurusd.csv", epochs(5), column="time", unix=epochs(5))
    assert look(tmp_path, "FXCM").entries[0]["timestamp_column"] == "time"


def test_a_column_of_an_unusual_name_is_taken_where_it_alone_ascends(tmp_path):
    write_csv(tmp_path / "eurusd.csv", epochs(5), column="Gmt", trades=[3, 1, 2, 5, 4])
    assert look(tmp_path, "FXCM").entries[0]["timestamp_column"] == "Gmt"
    write_csv(tmp_path / "eurusd.csv", [3, 1, 2], column="trades")
    assert "no column of times" in reasons(look(tmp_path, "FXCM"))["eurusd.csv"]


@pytest.mark.parametrize(
    ("name", "step", "timeframe"),
    [
        ("eurusd.csv", 60, "1m"),
        ("eurusd-m15-2024.csv", 900, "15m"),
        ("eurusd_60m.csv", 3600, "1h"),
        ("eurusd_1hour.csv", 3600, "1h"),
        ("EURUSD-H4-bid.csv", 14_400, "4h"),
        ("eurusd.csv", 86_400, "1d"),
        ("eurusd.csv", 1, "1s"),
    ],
)
def test_the_steps_between_rows_tell_the_timeframe(tmp_path, name, step, timeframe):
    write_csv(tmp_path / name, epochs(8, step=step))
    (entry,) = look(tmp_path, "FXCM").entries
    assert (entry["timeframe"], entry["symbol"]) == (timeframe, "EURUSD")


def test_months_and_weeks_are_told_from_days(tmp_path):
    months = [datetime(2024, month, 1, tzinfo=UTC) for month in range(1, 8)]
    weeks = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(weeks=week) for week in range(8)]
    write_csv(tmp_path / "a" / "eurusd.csv", [f"{at:%Y-%m-%dT%H:%M:%S}Z" for at in months])
    write_csv(tmp_path / "b" / "eurusd.csv", [f"{at:%Y-%m-%dT%H:%M:%S}Z" for at in weeks])
    found = look(tmp_path, "FXCM")
    assert [entry["timeframe"] for entry in found.entries] == ["1M", "1w"]
    assert "comes from" not in "".join(found.notes)


@pytest.mark.parametrize(
    ("name", "times", "reason"),
    [
        ("eurusd-5m.csv", epochs(5), "1m apart, but its name says 5m"),
        ("eurusd.csv", epochs(1), "too few rows"),
        ("eurusd.csv", epochs(5, start=START + timedelta(seconds=7)), "do not open on the grid"),
        ("eurusd.csv", [epochs(1)[0] + n * n * 60 for n in range(9)], "which is no bar length"),
    ],
)
def test_a_timeframe_that_is_not_told_is_not_guessed(tmp_path, name, times, reason):
    write_csv(tmp_path / name, times)
    assert reason in reasons(look(tmp_path, "FXCM"))[name]


def test_a_lone_row_has_the_timeframe_of_its_name(tmp_path):
    write_csv(tmp_path / "eurusd-5m.csv", epochs(1))
    assert look(tmp_path, "FXCM").entries[0]["timeframe"] == "5m"


def test_a_symbol_that_is_not_told_is_not_guessed(tmp_path):
    write_csv(tmp_path / "okx-solbtc-m1.csv", epochs(5))
    write_csv(tmp_path / "2024.csv", epochs(5))
    found = reasons(look(tmp_path, "FXCM"))
    assert found["okx-solbtc-m1.csv"] == "its symbol could be okx, solbtc"
    assert found["2024.csv"] == "its symbol is not in its name"
    (entry,) = look(tmp_path, "OKX").entries
    assert entry["symbol"] == "SOLBTC"


def test_lists_and_objects_in_json_are_read(tmp_path):
    rows = [[at, 1.0, 2.0, 0.5, 1.5, 10.0] for at in epochs(5, 1000, step=300)]
    names = ("date", "open", "high", "low", "close", "volume")
    objects = [dict(zip(names, row, strict=True)) for row in rows]
    for name, content in (("A_B-5m.json.gz", rows), ("C_D-5m.json.gz", objects)):
        (tmp_path / name).write_bytes(gzip.compress(json.dumps(content).encode()))
    (tmp_path / "E_F-5m.json.gz").write_bytes(gzip.compress(b"[]"))
    found = look(tmp_path, "BINANCE")
    assert {file.symbol for file in found.files} == {"BINANCE:AB", "BINANCE:CD"}
    assert found.entries == ({"path": ".", "layout": "pair", "exchange": "BINANCE"},)
    assert "holds no rows; its folder's entry names it" in reasons(found)["E_F-5m.json.gz"]


def test_what_cannot_be_read_is_named_with_the_reason(tmp_path):
    path = write_flat(tmp_path / "flat", "AUSDT", bars(50))
    write_flat(tmp_path / "flat", "BUSDT", bars(50))
    path.write_bytes(path.read_bytes()[:200])
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "head.csv").write_text("timestamp,open,high,low,close\n")
    (tmp_path / "semicolon.csv").write_text("timestamp;open\n1709251200;1\n")
    (tmp_path / "notes.txt").write_text("hello")
    found = look(tmp_path, "FXCM")
    said = reasons(found)
    assert found.entries == ({"path": "flat", "layout": "flat_v1"},)
    assert "its folder's entry names it" in said["flat/BINANCE_AUSDT_1h.parquet"]
    assert said["list.json"] == "its name is of no known layout"
    assert said["empty.csv"] == "is empty"
    assert said["head.csv"] == "holds no rows"
    assert said["semicolon.csv"] == "has no column of times; it has timestamp;open"
    assert all(item.fix for item in found.left_out)
    assert found.ignored == {".txt": 1}


def test_links_are_not_followed_out(tmp_path):
    outside = tmp_path / "outside"
    write_flat(outside, "AUSDT", bars(5))
    folder = tmp_path / "inside"
    write_flat(folder, "BUSDT", bars(5))
    (folder / "BINANCE_AUSDT_1h.parquet").symlink_to(outside / "BINANCE_AUSDT_1h.parquet")
    (folder / "more").symlink_to(outside, target_is_directory=True)
    (folder / "round").symlink_to(folder, target_is_directory=True)
    found = look(folder)
    assert [file.path for file in found.files] == ["BINANCE_BUSDT_1h.parquet"]
    assert found.entries[0]["path"] == "BINANCE_BUSDT_1h.parquet"
    assert set(reasons(found)) == {"BINANCE_AUSDT_1h.parquet", "more", "round"}


def test_hidden_skipped_and_delta_folders_are_passed_over(tmp_path):
    for name in (".git", "mine", "table"):
        write_flat(tmp_path / name, "AUSDT", bars(5))
    (tmp_path / "table" / "_delta_log").mkdir()
    found = look(tmp_path, skip=[tmp_path / "mine"])
    assert not found.files
    assert reasons(found) == {"table": "it is a Delta table, not a folder of legacy files"}


def test_a_name_that_is_not_utf8_is_left_out(tmp_path):
    try:
        with open(os.fsencode(tmp_path) + b"/eurusd\xff.csv", "wb") as stream:  # noqa: PTH123
            stream.write(b"x")
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    (item,) = look(tmp_path, "FXCM").left_out
    assert (item.path, item.reason) == ("eurusd\\xff.csv", "its name is not UTF-8")


def test_a_folder_of_too_many_files_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(_tree, "MOST_FILES", 2)
    for name in "abc":
        (tmp_path / name).touch()
    with pytest.raises(InvalidInput, match="more than 2 files"):
        look(tmp_path)
    with pytest.raises(InvalidInput, match="neither a folder nor a file"):
        look(tmp_path / "gone")


def test_one_file_may_be_named_and_one_outside_has_its_whole_path(tmp_path):
    path = write_flat(tmp_path / "flat", "AUSDT", bars(5))
    (tmp_path / "ws").mkdir()
    found = sniff(path, base=tmp_path / "ws", now=NOW)
    assert found.entries == ({"path": path.as_posix(), "layout": "flat_v1"},)
    found = sniff(path, base=tmp_path / "ws", home=tmp_path, now=NOW)
    assert found.entries[0]["path"] == "../flat/BINANCE_AUSDT_1h.parquet"


def test_a_series_in_two_files_is_noted(tmp_path):
    for folder in ("a", "b"):
        write_flat(tmp_path / folder, "AUSDT", bars(5))
    assert look(tmp_path).notes[0].startswith("BINANCE:AUSDT 1h comes from 2 files")


# Writing the manifest.

PROFILE = draft_profile("Old bars", [{"path": "old", "layout": "flat_v1"}])


def test_a_new_manifest_holds_the_profile_and_makes_it_the_default(tmp_path):
    path = tmp_path / "data" / "manifest.json"
    assert check_writable(path, None) == "legacy"
    write_profile(path, "legacy", PROFILE)
    written = json.loads(path.read_text())
    assert written == {"default_profile": "legacy", "profiles": {"legacy": PROFILE}}


@pytest.mark.parametrize(
    "text",
    [
        '{"profiles": {}}',
        '{"profiles": {"a": "b",\n\t"b": {}}  }\n',
        '{\r\n  "x": 1.500,\r\n  "profiles": {"a": {"}": "{"}},\r\n  "pipelines": [1e5]\r\n}\r\n',
        '{"x\\"profiles": {"profiles": {}}, "profiles": {"é": 1}, "z": 2}',
        "{}",
        ' { "default_profile" : "a" } ',
    ],
)
def test_a_manifest_that_stands_keeps_every_byte_and_gets_a_profile(tmp_path, text):
    path = tmp_path / "manifest.json"
    path.write_text(text, newline="")
    before = json.loads(text)
    write_profile(path, "new", PROFILE)
    after = path.read_bytes().decode()
    profiles = {**before.get("profiles", {}), "new": PROFILE}
    assert json.loads(after) == {**before, "profiles": profiles}
    left = iter(after)
    assert all(sign in left for sign in text.replace("\r\n", "").replace("\n", "").strip())


@pytest.mark.parametrize(
    ("text", "profile", "error"),
    [
        ("{}", None, Conflict),
        ('{"profiles": {"new": "a"}}', "new", Conflict),
        ('{"profiles": []}', "new", InvalidManifest),
        ('{"profiles": {"a": 1, "a": 2}}', "new", InvalidManifest),
        ("[]", "new", InvalidManifest),
        ("{", "new", InvalidManifest),
        ("\xff", "new", InvalidManifest),
    ],
)
def test_a_manifest_that_cannot_be_added_to_is_refused_and_stays(tmp_path, text, profile, error):
    path = tmp_path / "manifest.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(error) as caught:
        check_writable(path, profile)
    assert caught.value.fix
    assert path.read_bytes() == text.encode("latin-1")
