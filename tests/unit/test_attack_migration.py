"""What hostile inputs and broken files once did to the migration, and must not do again."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from _legacy import STAGE, START, bars, write_flat, write_manifest

from quant_registry.errors import InvalidInput, SourceUnreadable
from quant_sdk import QuantSDK
from quant_sdk.lakehouse.snapshot import list_snapshots, verify_snapshot
from quant_sdk.sources.legacy import SourceFile, packed, source_for
from quant_stages.manifest.document import read_manifest

FLAT = {"path": "old", "layout": "flat_v1"}
CSV = {
    "path": "old",
    "layout": "csv",
    "exchange": "X",
    "timeframe": "1h",
    "timestamp_column": "timestamp",
    "timestamp_unit": "s",
}
HEADER = "timestamp,open,high,low,close,note\n"


@pytest.fixture
def old(tmp_path):
    write_manifest(tmp_path, [FLAT])
    folder = tmp_path / "data" / "old"
    folder.mkdir()
    return folder


def migrate(workspace, **params):
    record = QuantSDK(workspace).run_stage(STAGE, params)
    assert record.state == "succeeded", record.error
    return record


def read(path, layout, column, unit):
    file = SourceFile(
        id=path.name,
        path=path,
        layout=layout,
        symbol="X:A",
        timeframe="1h",
        timestamp_column=column,
        timestamp_unit=unit,
    )
    return source_for(layout).read(file, now=datetime(2026, 1, 1, tzinfo=UTC))


def read_csv(folder, text):
    path = folder / "A.csv"
    path.write_text(text)
    return read(path, "csv", "timestamp", "s")


def read_json(folder, rows):
    path = folder / "A_B-1h.json.gz"
    path.write_bytes(gzip.compress(json.dumps(rows).encode()))
    return read(path, "pair", "date", "ms")


def test_a_link_to_itself_fails_alone(old, tmp_path):
    write_flat(old, "AUSDT", bars(30))
    (old / "BINANCE_BUSDT_1h.parquet").symlink_to("BINANCE_BUSDT_1h.parquet")
    sources = migrate(tmp_path).result["sources"]
    assert (sources["ingested"], sources["failed"]) == (1, 1)


def test_a_path_longer_than_the_system_takes_is_a_finding(old, tmp_path):
    write_flat(old, "AUSDT", bars(30))
    long = {"discovery": {"legacy": [FLAT | {"path": "x" * 5000}]}}
    good = {"discovery": {"legacy": [FLAT]}}
    manifest = tmp_path / "data" / "manifest.json"
    manifest.write_text(json.dumps({"profiles": {"good": good, "long": long}}))
    assert migrate(tmp_path).result["sources"]["ingested"] == 1


@pytest.mark.parametrize("name", ["my data", "a#b", "a?b", "ä", "it's", "a*b"])
def test_a_workspace_may_be_called_anything(name, tmp_path):
    workspace = tmp_path / name
    write_flat(workspace / "data/old", "AUSDT", bars(60))
    write_manifest(workspace, [FLAT])
    migrate(workspace)
    assert QuantSDK(workspace).bars("BINANCE:AUSDT", "1h").height == 60
    assert not migrate(workspace).result["committed"]


@pytest.mark.parametrize("name", ["a[1]", "a%20b", "a^b", "a|b", "a\\b"])
def test_a_workspace_that_delta_cannot_stand_in_is_refused_by_name(name, tmp_path):
    workspace = tmp_path / name
    write_flat(workspace / "data/old", "AUSDT", bars(3))
    write_manifest(workspace, [FLAT])
    record = QuantSDK(workspace).run_stage(STAGE)
    assert record.error["code"] == "invalid_input"
    assert name in record.error["message"]


def test_after_a_clean_slate_no_snapshot_of_other_data_is_taken_for_the_new_one(old, tmp_path):
    write_flat(old, "AUSDT", bars(30))
    first = migrate(tmp_path)
    QuantSDK(tmp_path).lakehouse.wipe()
    write_flat(old, "AUSDT", bars(40, seed=1))
    second = migrate(tmp_path)
    assert first.result["table_versions"] == second.result["table_versions"]
    assert first.result["snapshot"] != second.result["snapshot"]


@pytest.mark.parametrize("damage", ["{", "{}", "[]"])
def test_a_damaged_snapshot_stops_no_later_run(damage, old, tmp_path):
    write_flat(old, "AUSDT", bars(30))
    migrate(tmp_path)
    next((tmp_path / "data/snapshots").glob("*/manifest.json")).write_text(damage)
    assert migrate(tmp_path).result["health_check"] == "passed"


def test_snapshots_outlive_compaction_and_vacuum(old, tmp_path):
    for index in range(4):
        write_flat(old, f"S{index}", bars(50, seed=index))
    migrate(tmp_path, batch_symbols=1)
    sdk = QuantSDK(tmp_path)
    before = sdk.lakehouse.content_hash()
    delta = sdk.lakehouse.table("bars").delta()
    delta.optimize.compact()
    delta.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    after = migrate(tmp_path, batch_symbols=1)
    assert after.result["content_hash"] == before
    assert not after.result["committed"]
    names = [item["id"] for item in list_snapshots(sdk.workspace)]
    assert [verify_snapshot(sdk.workspace, name)["ok"] for name in names] == [True, True]


@pytest.mark.parametrize("line", ["{}", '{"schema": "ledger/1"}', "[]", "\0\0", '{"stamp": 1}'])
def test_a_garbage_line_in_the_ledger_is_read_over(line, old, tmp_path):
    write_flat(old, "AUSDT", bars(30))
    write_flat(old, "BUSDT", bars(30))
    migrate(tmp_path, batch_symbols=1)
    ledger = tmp_path / "data/lakehouse/ledger.jsonl"
    first, second = ledger.read_text().splitlines()
    ledger.write_text(f"{first}\n{line}\n{second}\n")
    assert not migrate(tmp_path).result["committed"]


def test_a_line_cut_from_the_ledger_is_read_back_from_the_tables(old, tmp_path):
    write_flat(old, "AUSDT", bars(30))
    write_flat(old, "BUSDT", bars(30))
    migrate(tmp_path, batch_symbols=1)
    ledger = tmp_path / "data/lakehouse/ledger.jsonl"
    ledger.write_text(ledger.read_text().splitlines()[1] + "\n")
    assert migrate(tmp_path).result["health_check"] == "passed"
    assert migrate(tmp_path).result["sources"]["unchanged"] == 2


def test_one_file_is_not_read_in_two_ways(tmp_path):
    folder = tmp_path / "data/old"
    folder.mkdir(parents=True)
    bars(30).write_csv(folder / "A.csv")
    write_manifest(tmp_path, [CSV, CSV | {"exchange": "Y"}])
    record = migrate(tmp_path)
    assert (record.result["sources"]["failed"], record.result["rows"]["bars"]) == (1, 30)
    assert not migrate(tmp_path).result["rows"]["read"]


def test_one_file_under_many_spellings_is_one_source(old, tmp_path):
    write_flat(old, "AUSDT", bars(30))
    spellings = ("old", "./old", "old/../old", str(old), "old/BINANCE_AUSDT_1h.parquet")
    write_manifest(tmp_path, [FLAT | {"path": path} for path in spellings])
    result = migrate(tmp_path).result
    assert (result["sources"]["total"], result["health_check"]) == (1, "passed")


@pytest.mark.parametrize("path", ["empty", "/dev/zero"])
def test_an_entry_that_names_no_source_is_told(path, old, tmp_path):
    write_flat(old, "AUSDT", bars(30))
    (tmp_path / "data/empty").mkdir()
    write_manifest(tmp_path, [FLAT, FLAT | {"path": path}], default_profile=["x"])
    assert migrate(tmp_path).result["sources"]["failed"] == 1


def test_two_manifests_do_not_mistake_each_others_files(tmp_path):
    for seed, name in enumerate("ab"):
        write_flat(tmp_path / name / "old", "AUSDT", bars(30, seed=seed))
        profiles = {"legacy": {"discovery": {"legacy": [FLAT]}}}
        (tmp_path / name / "m.json").write_text(json.dumps({"profiles": profiles}))
    migrate(tmp_path, manifest="a/m.json")
    second = migrate(tmp_path, manifest=str(tmp_path / "b/m.json")).result
    assert (second["rows"]["corrected"], second["rows"]["quarantined"]) == (0, 30)
    for name in "ab":
        assert not migrate(tmp_path, manifest=f"{name}/m.json").result["rows"]["read"]


def test_quarantined_rows_follow_a_corrected_exchange(tmp_path):
    folder = tmp_path / "data/old"
    folder.mkdir(parents=True)
    bars(30).with_columns(close=pl.lit(-1.0)).write_csv(folder / "A.csv")
    for exchange in "XY":
        write_manifest(tmp_path, [CSV | {"exchange": exchange}])
        migrate(tmp_path)
    summary = QuantSDK(tmp_path).lakehouse.quarantine_summary()
    assert [(item["symbol"], item["rows"]) for item in summary] == [("X:A", 30), ("Y:A", 30)]


def test_every_turn_of_a_file_that_goes_back_and_forth_is_kept_as_a_correction(old, tmp_path):
    for seed in (1, 2, 1, 2):
        write_flat(old, "AUSDT", bars(10, seed=seed))
        migrate(tmp_path)
    kept = QuantSDK(tmp_path).lakehouse.table("corrections").scan().collect()
    assert kept.height == 30


def test_a_corrected_calendar_comes_into_force_without_a_commit(old, tmp_path):
    days = [datetime(2024, 3, 4, tzinfo=UTC) + timedelta(days=n) for n in (0, 1, 2, 3, 4, 7, 8)]
    stamps = pl.Series([int(day.timestamp()) for day in days])
    write_flat(old, "EURUSD", bars(7).with_columns(timestamp=stamps), "1d")
    found = []
    for calendar in ({}, {"calendar": "24x5"}, {}):
        write_manifest(tmp_path, [FLAT | calendar])
        result = migrate(tmp_path).result
        found.append((QuantSDK(tmp_path).lakehouse.coverage()[0].calendar, result["committed"]))
    assert found == [("24x7", True), ("24x5", False), ("24x7", False)]


def test_history_that_reaches_back_beyond_1970_is_believed(old, tmp_path):
    write_flat(old, "SPX", bars(200, start=-86_400 * 100, step=86_400), "1d")
    assert migrate(tmp_path).result["rows"]["bars"] == 200


def test_rows_that_a_stray_quote_swallows_are_not_lost_unseen(tmp_path):
    rows = [f"{START + hour * 3600},1,2,1,1," for hour in range(5)]
    rows[1] += '"x'
    rows[3] += '"'
    with pytest.raises(SourceUnreadable, match="row 1: a quoted cell holds further lines"):
        read_csv(tmp_path, HEADER + "\n".join(rows))


@pytest.mark.parametrize("twice", ["close", "timestamp"])
def test_a_csv_column_that_stands_twice_is_refused(twice, tmp_path):
    with pytest.raises(SourceUnreadable, match="twice"):
        read_csv(tmp_path, HEADER.replace("note", twice) + f"{START},1,2,1,1,9\n")


def test_json_rows_may_bring_keys_that_are_no_bars(tmp_path):
    row = {"date": START * 1000, "open": 1, "high": 2, "low": 1, "close": 1, "info": {"x": [1]}}
    assert read_json(tmp_path, [row | {"closed": True}]).height == 1


def test_volume_that_comes_later_than_the_first_json_row_is_kept(tmp_path):
    row = {"date": START * 1000, "open": 1, "high": 2, "low": 1, "close": 1}
    later = row | {"date": (START + 3600) * 1000, "volume": 7.0}
    assert read_json(tmp_path, [row, later])["volume"].to_list() == [None, 7.0]


def test_a_parquet_column_that_polars_cannot_hold_harms_only_itself(tmp_path):
    wide = pa.array([1] * 3, pa.decimal256(60, 2))
    pq.write_table(bars(3).to_arrow().append_column("x", wide), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet", "flat_v1", "timestamp", "s").height == 3


def test_a_parquet_file_of_rows_that_take_no_space_is_not_unpacked(tmp_path):
    names = ("timestamp", "open", "high", "low", "close")
    part = pa.table({name: pa.repeat(pa.scalar(START), 2**20) for name in names})
    with pq.ParquetWriter(tmp_path / "a.parquet", part.schema, compression="zstd") as writer:
        for _ in range(6):
            writer.write_table(part)
    with pytest.raises(SourceUnreadable, match="rows in"):
        read(tmp_path / "a.parquet", "flat_v1", "timestamp", "s")


def test_a_gzip_file_may_not_unpack_to_a_hundred_times_its_size(tmp_path, monkeypatch):
    monkeypatch.setattr(packed, "FREE_BYTES", 2**16)
    path = tmp_path / "A.csv.gz"
    path.write_bytes(gzip.compress(HEADER.encode() + b"\n" * 2**20))
    with pytest.raises(SourceUnreadable, match="unpacks to more than"):
        read(path, "csv", "timestamp", "s")


@pytest.mark.timeout(20)
def test_a_manifest_of_a_great_many_keys_is_read_in_time(tmp_path):
    path = tmp_path / "manifest.json"
    keys = ",".join(f'"k{number}":1' for number in range(200_000))
    path.write_text(f'{{"profiles": {{}}, "pipelines": {{"k7": 2, {keys}}}}}')
    assert read_manifest(path).document["pipelines"].duplicates == ("k7",)


def test_bars_since_a_year_of_three_digits_are_all_bars(old, tmp_path):
    write_flat(old, "AUSDT", bars(30))
    migrate(tmp_path)
    assert QuantSDK(tmp_path).bars("BINANCE:AUSDT", "1h", "0999-01-01").height == 30
    with pytest.raises(InvalidInput):
        QuantSDK(tmp_path).bars("BINANCE:AUSDT", "1h", "0001-01-01T00:00:00+05:00")
