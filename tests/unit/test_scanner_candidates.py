from __future__ import annotations

import json

import pytest

from quant_sdk.errors import Corrupted, InvalidInput, NoData
from quant_sdk.sources.candidates import Candidate, latest_candidates, merge_ingest, read_candidates


@pytest.fixture
def written(tmp_path):
    def write(*entries, **document):
        path = tmp_path / "candidates.json"
        path.write_text(json.dumps({"meta": {}, "data": list(entries), **document}))
        return path

    return write


def entry(symbol="BINANCE:BTCUSDT", **fields):
    return {"symbol": symbol, "exchange": symbol.partition(":")[0], "asset_type": "crypto"} | fields


def export(workspace, run_id, document='{"meta": {}, "data": []}'):
    path = workspace.data / "export" / run_id / "candidates.json"
    path.parent.mkdir(parents=True)
    path.write_text(document)
    return path


def test_a_candidate_is_read_with_what_is_to_be_ingested(written):
    pairs = [{"timeframe": "1d", "depth_days": 900}, {"timeframe": "1h", "depth_days": None}]
    path = written(entry(ingest=pairs, timeframes=["5m"], base="BTC", quote="USDT"))
    assert read_candidates(path) == [
        Candidate(
            symbol="BINANCE:BTCUSDT",
            exchange="BINANCE",
            asset_type="crypto",
            ingest=(("1h", None), ("1d", 900)),
            base="BTC",
            quote="USDT",
        )
    ]


@pytest.mark.parametrize(
    ("older", "names"),
    [({"timeframes": ["1h", "5m"]}, ["5m", "1h"]), ({"timeframe": "5m"}, ["5m"]), ({}, [])],
)
def test_older_files_name_no_depth(written, older, names):
    (found,) = read_candidates(written(entry(**older)))
    assert found.ingest == tuple((name, None) for name in names)


def test_a_symbol_that_stands_twice_is_one_candidate(written):
    path = written(
        entry("OKX:SOLBTC"),
        entry(asset_type="unknown", ingest=[{"timeframe": "1h", "depth_days": 30}]),
        entry(ingest=[{"timeframe": "1h", "depth_days": 9}, {"timeframe": "5m"}], base="BTC"),
    )
    first, second = read_candidates(path)
    assert first.ingest == (("5m", None), ("1h", 30))
    assert (first.asset_type, first.base, second.symbol) == ("crypto", "BTC", "OKX:SOLBTC")


@pytest.mark.parametrize(
    "bad",
    [
        {"symbol": "../../etc/passwd"},
        {"symbol": 7},
        {"exchange": "KRAKEN"},
        {"ingest": "1h"},
        {"ingest": [{"timeframe": "1x"}]},
        {"ingest": [{"timeframe": "1h", "depth_days": 0}]},
        {"ingest": [{"timeframe": "1h", "depth_days": True}]},
        {"ingest": [["1h", 5]]},
        {"timeframes": "1h"},
    ],
)
def test_an_entry_that_is_no_candidate_is_named_by_its_number(written, bad):
    with pytest.raises(InvalidInput, match="entry 1 of"):
        read_candidates(written(entry(), entry("OKX:SOLBTC") | bad))


def test_a_file_that_is_missing_torn_or_no_list_is_an_error_of_its_kind(tmp_path, written):
    with pytest.raises(NoData):
        read_candidates(tmp_path / "nothing.json")
    torn = tmp_path / "torn.json"
    torn.write_text('{"data": [')
    with pytest.raises(Corrupted):
        read_candidates(torn)
    with pytest.raises(InvalidInput, match="no list"):
        read_candidates(written(data={}))


def test_the_latest_candidates_are_those_of_the_latest_run(workspace):
    assert latest_candidates(workspace) is None
    newest = export(workspace, "20260203T100000.000001Z-data.discover-aaaaaa")
    export(workspace, "20260203T100000.000000Z-data.discover-ffffff")
    export(workspace, "20251231T235959.000000Z-ops.migration.dataops_v2-bbbbbb")
    export(workspace, "somebodys-own-folder")
    assert latest_candidates(workspace) == newest


def test_the_latest_candidates_of_a_profile(workspace):
    of_p = export(workspace, "20260203T100000.000000Z-data.discover-aaaaaa")
    of_q = export(workspace, "20260204T100000.000000Z-data.discover-bbbbbb")
    own = export(workspace, "9manual")
    for path, profiles in ((of_p, ["p"]), (of_q, ["q", "pp"]), (own, ["p"])):
        path.write_text(json.dumps({"meta": {"profiles": profiles}, "data": []}))
    assert latest_candidates(workspace, "p") == of_p
    assert latest_candidates(workspace, "q") == of_q
    assert latest_candidates(workspace, "r") is None
    of_q.write_text("torn")
    with pytest.raises(Corrupted):
        latest_candidates(workspace, "p")


def test_what_the_production_gate_restates_is_not_the_latest_discovery(workspace):
    found = export(workspace, "20260203T100000.000000Z-data.discover-aaaaaa")
    export(workspace, "20260204T100000.000000Z-ops.flow_production-bbbbbb")
    assert latest_candidates(workspace) == found


def test_depths_of_one_timeframe_become_the_largest():
    merged = merge_ingest([("1d", 5), ("1M", None)], [("1d", None), ("5m", 2), ("1M", 7)])
    assert merged == (("5m", 2), ("1d", 5), ("1M", 7))
