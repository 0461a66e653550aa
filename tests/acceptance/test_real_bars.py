"""Measured bars of Binance and FXCM: every row accounted for, real outages told, none invented."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from _legacy import STAGE, write_manifest

from quant_sdk import QuantSDK

DATA = Path(__file__).parents[3] / "shared/data/legacy"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the measured bars are not here")


@pytest.fixture(scope="module")
def migrated(tmp_path_factory):
    root = tmp_path_factory.mktemp("real")
    csv = {
        "path": str(DATA / "gbpusd-m1-bid-2012.csv"),
        "layout": "csv",
        "exchange": "FXCM",
        "symbol": "GBPUSD",
        "timeframe": "1m",
        "timestamp_column": "timestamp",
        "calendar": "24x5",
    }
    legacy = root / "data" / "pairs"
    legacy.mkdir(parents=True)
    for path in DATA.glob("*.feather"):
        (legacy / path.name).write_bytes(path.read_bytes())
    write_manifest(root, [{"path": "pairs", "layout": "pair", "exchange": "BINANCE"}, csv])
    sdk = QuantSDK(root)
    return sdk, sdk.run_stage(STAGE)


def test_every_row_is_in_the_lakehouse(migrated):
    sdk, record = migrated
    assert record.state == "succeeded"
    assert record.result["health_check"] == "passed"
    rows = record.result["rows"]
    assert rows["read"] == rows["bars"] == 5720 + 5758 + 5759 + 3 * 5760 + 30117
    assert rows["quarantined"] == rows["identical_duplicates"] == 0
    parity = json.loads((sdk.workspace.root / record.result["reports"]["parity"]).read_bytes())
    assert parity["ok"]
    assert len(parity["series"]) == 7


def test_the_outages_are_reported_and_none_is_invented(migrated):
    sdk, _ = migrated
    found = {item.symbol: (len(item.gaps), item.missing) for item in sdk.lakehouse.coverage()}
    minutes = found.pop("FXCM:GBPUSD")
    assert found == {
        "BINANCE:ADABTC": (5, 40),
        "BINANCE:DASHBTC": (2, 2),
        "BINANCE:ETCBTC": (0, 0),
        "BINANCE:ETHBTC": (0, 0),
        "BINANCE:LTCBTC": (0, 0),
        "BINANCE:NXTBTC": (0, 0),
    }
    # 107 steps within the week are longer than a minute, and some weeks open late.
    assert 107 <= minutes[0] <= 115
    gaps = next(item for item in sdk.lakehouse.coverage("FXCM:GBPUSD")).gaps
    assert max(gap.missing for gap in gaps) < 10


def test_a_series_reads_back_as_it_was(migrated):
    import polars as pl

    sdk, _ = migrated
    source = pl.read_ipc(DATA / "ADA_BTC-5m.feather")
    held = sdk.bars("BINANCE:ADABTC", "5m")
    for name in ("open", "high", "low", "close", "volume"):
        assert held[name].to_list() == source[name].to_list()
    assert held["ts"].dt.epoch("us").to_list() == source["date"].dt.epoch("us").to_list()
