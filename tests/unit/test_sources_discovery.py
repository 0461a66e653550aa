from __future__ import annotations

import os
from pathlib import Path

import pytest

from quant_registry.errors import InvalidIdentifier, InvalidInput, SourceUnreadable, UnknownName
from quant_sdk.sources.legacy import LAYOUTS, LegacyEntry, SourceFile, Unrecognised, source_for


def discovered(root, layout, names, folder="legacy", **fields):
    (root / folder).mkdir(parents=True, exist_ok=True)
    for name in names:
        (root / folder / name).touch()
    entry = LegacyEntry(path=folder, layout=layout, **fields)
    return list(source_for(layout).discover(entry, root))


def test_layouts_are_listed_and_an_unknown_one_is_answered_with_the_nearest():
    assert list(LAYOUTS) == ["flat_v1", "pair", "csv"]
    assert all(source.layout == name for name, source in LAYOUTS.items())
    with pytest.raises(UnknownName) as caught:
        source_for("flat_v2")
    assert caught.value.near == ["flat_v1"]
    with pytest.raises(UnknownName) as caught:
        source_for("questdb")
    assert caught.value.fix == "the layouts are flat_v1, pair, csv"


def test_flat_names_give_exchange_symbol_and_timeframe(tmp_path):
    names = ["FX_IDC_GBPUSD_1d.parquet", "BINANCE_ADABTC_5m.parquet"]
    found = discovered(tmp_path, "flat_v1", names)
    assert [(file.symbol, file.timeframe) for file in found] == [
        ("BINANCE:ADABTC", "5m"),
        ("FX_IDC:GBPUSD", "1d"),
    ]
    assert {(file.timestamp_column, file.timestamp_unit) for file in found} == {("timestamp", "s")}
    assert found[0].id == "legacy/BINANCE_ADABTC_5m.parquet"


def test_entry_overrides_unit_and_column_of_the_layout(tmp_path):
    fields = {"timestamp_unit": "ms", "timestamp_column": "t", "calendar": "24x5"}
    (file,) = discovered(tmp_path, "flat_v1", ["X_Y_1m.parquet"], **fields)
    assert (file.timestamp_unit, file.timestamp_column, file.calendar) == ("ms", "t", "24x5")


def test_pair_names_give_base_quote_and_timeframe(tmp_path):
    names = ["ADA_BTC-5m.feather", "ETH_BTC-1h.parquet", "LTC_BTC-1d.json.gz"]
    found = discovered(tmp_path, "pair", names, exchange="BINANCE", asset_type="crypto")
    assert [(file.symbol, file.timeframe, file.timestamp_unit) for file in found] == [
        ("BINANCE:ADABTC", "5m", None),
        ("BINANCE:ETHBTC", "1h", None),
        ("BINANCE:LTCBTC", "1d", "ms"),
    ]
    assert {file.asset_type for file in found} == {"crypto"}


@pytest.mark.parametrize(
    ("name", "symbol", "expected"),
    [
        ("gbpusd-m1-bid-2012.csv", None, "FXCM:GBPUSD"),
        ("eurusd_2012.csv.gz", None, "FXCM:EURUSD"),
        ("data.csv", "GBPUSD", "FXCM:GBPUSD"),
        ("data.csv", "OANDA:GBPUSD", "OANDA:GBPUSD"),
    ],
)
def test_csv_symbol_comes_from_the_entry_or_the_file_name(tmp_path, name, symbol, expected):
    fields = {"timeframe": "1m", "timestamp_column": "timestamp", "symbol": symbol}
    exchange = expected.partition(":")[0]
    (file,) = discovered(tmp_path, "csv", [name], exchange=exchange, **fields)
    assert file.symbol == expected


@pytest.mark.parametrize(
    ("layout", "names"),
    [
        ("flat_v1", ["ADABTC_5m.parquet", "BINANCE_ADABTC_5x.parquet", "binance_ada_5m.parquet"]),
        ("flat_v1", ["BINANCE_ADABTC_5m.csv", "BINANCE_A..B_5m.parquet", "README.md"]),
        ("pair", ["ADABTC-5m.feather", "ADA_BTC-5m.csv", "ADA_BTC-0m.feather", "notes.txt"]),
        ("csv", ["a.parquet", "å.csv", "-.csv"]),
    ],
)
def test_files_the_layout_cannot_name_are_reported_with_a_fix(tmp_path, layout, names):
    fields = {"exchange": "BINANCE", "timeframe": "5m", "timestamp_column": "t"}
    found = discovered(tmp_path, layout, names, **fields)
    assert len(found) == len(names)
    for each in found:
        assert isinstance(each, Unrecognised)
        assert each.reason
        assert each.fix


def test_hidden_files_are_ignored_and_folders_are_reported(tmp_path):
    (tmp_path / "legacy/futures").mkdir(parents=True)
    (found,) = discovered(tmp_path, "flat_v1", [".DS_Store"])
    assert found.path == "legacy/futures"
    assert "folder" in found.reason


def test_links_may_not_leave_the_folder_of_their_entry(tmp_path):
    outside = tmp_path / "BINANCE_SECRET_5m.parquet"
    outside.touch()
    folder = tmp_path / "legacy"
    folder.mkdir()
    (folder / "BINANCE_B_5m.parquet").symlink_to(outside)
    (folder / "BINANCE_A_5m.parquet").touch()
    (folder / "BINANCE_C_5m.parquet").symlink_to("BINANCE_A_5m.parquet")
    (folder / "BINANCE_D_5m.parquet").symlink_to("nowhere")
    found = discovered(tmp_path, "flat_v1", [])
    assert [type(each) for each in found] == [SourceFile, Unrecognised, SourceFile, Unrecognised]


def test_name_that_contradicts_the_entry_is_not_taken(tmp_path):
    names = ["BINANCE_ADABTC_1h.parquet", "KRAKEN_ADABTC_5m.parquet", "BINANCE_ADABTC_5m.parquet"]
    found = discovered(tmp_path, "flat_v1", names, exchange="BINANCE", timeframe="5m")
    assert [type(each) for each in found] == [Unrecognised, SourceFile, Unrecognised]
    assert found[0].reason == "its name says timeframe 1h, its entry 5m"


def test_pipe_is_reported_and_never_opened(tmp_path):
    (tmp_path / "legacy").mkdir()
    os.mkfifo(tmp_path / "legacy/BINANCE_ADABTC_5m.parquet")
    (found,) = discovered(tmp_path, "flat_v1", [])
    assert found.reason == "it is no regular file"


def test_single_file_may_be_an_entry(tmp_path):
    (tmp_path / "BINANCE_ADABTC_5m.parquet").touch()
    entry = LegacyEntry(path="BINANCE_ADABTC_5m.parquet", layout="flat_v1")
    (file,) = source_for("flat_v1").discover(entry, tmp_path)
    assert file.id == "BINANCE_ADABTC_5m.parquet"


def test_id_is_relative_to_the_manifest_inside_beside_and_absolute_elsewhere(tmp_path):
    root = tmp_path / "manifest"
    root.mkdir()
    (beside,) = discovered(root, "flat_v1", ["X_Y_1m.parquet"], folder="../beside")
    assert beside.id == "../beside/X_Y_1m.parquet"
    (inside,) = discovered(root, "flat_v1", ["X_Y_1m.parquet"], folder=str(root / "in"))
    assert inside.id == "in/X_Y_1m.parquet"
    (far,) = discovered(root, "flat_v1", ["X_Y_1m.parquet"], folder=str(tmp_path / "far"))
    assert far.id == (tmp_path / "far/X_Y_1m.parquet").as_posix()


def test_missing_path_is_an_unreadable_source(tmp_path):
    entry = LegacyEntry(path="nowhere", layout="flat_v1")
    with pytest.raises(SourceUnreadable) as caught:
        list(source_for("flat_v1").discover(entry, tmp_path))
    assert "path" in caught.value.fix


@pytest.mark.parametrize(
    ("layout", "fields", "lacking"),
    [
        ("pair", {}, ["exchange"]),
        ("csv", {"exchange": "FXCM"}, ["timestamp_column", "timeframe"]),
    ],
)
def test_entry_that_lacks_what_its_layout_needs_is_refused(tmp_path, layout, fields, lacking):
    with pytest.raises(InvalidInput) as caught:
        discovered(tmp_path, layout, ["a.csv"], **fields)
    assert caught.value.fields == lacking


@pytest.mark.parametrize(
    "fields",
    [
        {"timestamp_unit": "seconds"},
        {"timezone": "Mars/Olympus"},
        {"timezone": "../../etc"},
        {"timeframe": "x"},
    ],
)
def test_entry_with_a_wrong_field_is_refused(tmp_path, fields):
    with pytest.raises(InvalidInput):
        discovered(tmp_path, "flat_v1", [], **fields)


def test_symbol_of_the_entry_is_checked(tmp_path):
    fields = {"exchange": "FXCM", "timeframe": "1m", "timestamp_column": "t", "symbol": "../x"}
    (found,) = discovered(tmp_path, "csv", ["a.csv"], **fields)
    assert isinstance(found, Unrecognised)
    assert issubclass(InvalidIdentifier, InvalidInput)


def test_digest_changes_with_what_changes_the_meaning_of_bytes_and_only_with_that():
    spec = {"path": Path("a"), "layout": "csv", "symbol": "A:B", "timeframe": "1m"}
    base = SourceFile(id="a", timestamp_column="t", **spec)
    moved = SourceFile(id="b", timestamp_column="t", calendar="24x5", **spec)
    other = SourceFile(id="a", timestamp_column="t", timestamp_unit="ms", **spec)
    assert base.spec_digest == moved.spec_digest != other.spec_digest
    assert len(base.spec_digest) == 64
