from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from quant_sdk import read_schema
from quant_sdk.errors import PrerequisitesNotMet
from quant_sdk.market.faults import Faults, Storm
from quant_sdk.market.market import Market
from quant_sdk.market.server import MarketServer
from quant_sdk.sources.candidates import latest_candidates, read_candidates
from quant_sdk.testing import FakeClock, StageRunner
from quant_stages.data.discover import STAGES

STAGE = "data.discover"
ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 2, 3, 10, tzinfo=UTC)
EMBEDDED = "sources: {market: embedded, seed: 7}\n"
COINS = "markets: [crypto]\nexchanges: [BINANCE]\nsort_by: Value.Traded\n"


@pytest.fixture
def runner(tmp_path):
    with StageRunner(tmp_path / "ws", STAGES, clock=FakeClock(NOW)) as opened:
        write(opened, "quant.yml", EMBEDDED)
        yield opened


@pytest.fixture
def market():
    servers = []

    def serve(**faults):
        servers.append(MarketServer(Market(seed=7, now=lambda: NOW, faults=Faults(**faults))))
        servers[-1].start()
        return servers[-1]

    yield serve
    for server in servers:
        server.close()


def write(runner, name, content):
    path = runner.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def profile(**strategies):
    return {"discovery": {"strategies": strategies}}


def strategy(*scanners, interval="1h", depth=500):
    return {"scanners": list(scanners), "interval": interval, "ingestion_depth": depth}


def manifest(runner, document=None, **strategies):
    document = document or {"default_profile": "a", "profiles": {"a": profile(**strategies)}}
    write(runner, "data/manifest.json", document)


def exported(runner, record):
    return json.loads((runner.root / record.result["candidates"]).read_bytes())


def symbols(runner, record):
    return [item["symbol"] for item in exported(runner, record)["data"]]


def test_the_demo_is_discovered_on_the_embedded_market(runner):
    shutil.copytree(ROOT / "configs", runner.root / "configs")
    write(runner, "data/manifest.json", (ROOT / "data/manifest.json").read_text())
    record = runner.run(STAGE)
    assert record.state == "succeeded", record.error
    document = exported(runner, record)
    Draft202012Validator(read_schema("candidates")).validate(document)
    meta, data = document["meta"], document["data"]
    assert meta["source"] == "embedded:scanner"
    assert meta["as_of"].startswith("2026-02-03T10:00:00")
    assert meta["manifest"] == "data/manifest.json"
    assert meta["count"] == len(data) == record.result["count"]
    assert meta["failures"] == []
    assert [(item["name"], item["intent"]) for item in meta["scanners"]] == [
        ("configs/scanners/crypto/binance_spot_trend", "trend_following"),
        ("configs/scanners/forex/majors_trend", "fx_majors"),
    ]
    assert [item["symbol"] for item in data] == sorted(item["symbol"] for item in data)
    assert {item["asset_type"] for item in data} == {"crypto", "forex"}
    assert len({item["base"] for item in data if item["asset_type"] == "crypto"}) == sum(
        item["asset_type"] == "crypto" for item in data
    )
    crypto = next(item for item in data if item["asset_type"] == "crypto")
    assert crypto["ingest"] == [{"timeframe": "1h", "depth_days": 500}]
    assert (crypto["timeframes"], crypto["depth_days"]) == (["1h"], 500)
    assert crypto["metadata"]["Recommend.All"] >= 0.1
    assert crypto["metadata"]["Value.Traded"] > 5_000_000


def test_later_stages_read_what_was_exported(runner):
    write(runner, "data/coins.yaml", COINS + "limit: 3\n")
    manifest(runner, trend=strategy("coins"))
    record = runner.run(STAGE)
    path = latest_candidates(runner.workspace)
    assert runner.workspace.display(path) == record.result["candidates"]
    found = read_candidates(path)
    assert [item.symbol for item in found] == symbols(runner, record)
    assert {item.ingest for item in found} == {(("1h", 500),)}
    assert {item.quote for item in found} <= {"USDT", "FDUSD", "USDC", "BTC"}


def test_the_same_market_and_input_give_the_same_candidates(runner):
    write(runner, "data/coins.yaml", COINS + "limit: 9\nexport_metadata: true\n")
    manifest(runner, trend=strategy("coins"))
    first, second = (exported(runner, runner.run(STAGE)) for _ in range(2))
    assert first["data"] == second["data"]
    assert first["meta"]["run_id"] != second["meta"]["run_id"]


def test_a_symbol_of_several_scanners_is_one_candidate_with_all_that_is_wanted(runner):
    (runner.root / "data").mkdir()
    write(runner, "data/btc.txt", "BINANCE:BTCUSDT\n")
    write(runner, "data/one.yaml", COINS + "include_symbol_files: [btc.txt]\n")
    write(runner, "data/two.yaml", "base_preset: one.yaml\nsort_by: ADX\nexport_metadata: true\n")
    manifest(
        runner,
        a=strategy("one", interval="1d", depth=100),
        b=strategy("two", interval="1h", depth=30),
        c=strategy("one", "two", interval="1d", depth=900),
    )
    document = exported(runner, runner.run(STAGE))
    (found,) = document["data"]
    assert found["ingest"] == [
        {"timeframe": "1h", "depth_days": 30},
        {"timeframe": "1d", "depth_days": 900},
    ]
    assert (found["timeframes"], found["depth_days"]) == (["1h", "1d"], 900)
    assert found["scanners"] == ["data/one", "data/two"]
    assert set(found["metadata"]) == {"ADX", "description"}
    asked = {item["name"]: item["strategies"] for item in document["meta"]["scanners"]}
    assert asked == {"data/one": ["a", "c"], "data/two": ["b", "c"]}


def test_a_scanner_that_cannot_be_read_fails_alone(runner):
    write(runner, "data/coins.yaml", COINS + "limit: 3\n")
    write(runner, "data/listed.yaml", COINS + "include_symbol_files: [gone.txt]\n")
    write(runner, "data/round.yaml", "base_preset: round.yaml\n")
    manifest(runner, trend=strategy("coins", "listed", "round", "nowhere"))
    record = runner.run(STAGE)
    assert record.state == "succeeded"
    assert (record.result["degraded"], record.result["count"]) == (True, 3)
    assert [item["scanner"] for item in record.result["failures"]] == ["listed", "round", "nowhere"]
    assert "gone.txt" in record.result["failures"][0]["message"]
    assert "data/round.yaml -> data/round.yaml" in record.result["failures"][1]["message"]
    failed = [event["scanner"] for event in runner.events("scanner_failed")]
    assert failed == ["listed", "round", "nowhere"]
    status = json.loads((runner.root / f"data/lakehouse/status/{STAGE}.json").read_bytes())
    assert (status["health_check"], status["candidate_count"]) == ("degraded", 3)


def test_a_scanner_that_is_refused_fails_alone(runner):
    write(runner, "data/coins.yaml", COINS + "limit: 3\n")
    write(runner, "data/odd.yaml", "markets: [crypto]\nsort_by: no_such_column\n")
    manifest(runner, trend=strategy("odd", "coins"))
    record = runner.run(STAGE)
    (failure,) = record.result["failures"]
    assert (failure["scanner"], failure["code"]) == ("data/odd", "source_refused")
    assert "no_such_column" in failure["message"]
    assert len(symbols(runner, record)) == 3


def test_a_strict_run_fails_and_exports_nothing(runner):
    write(runner, "data/coins.yaml", COINS)
    manifest(runner, trend=strategy("coins", "nowhere"))
    record = runner.run(STAGE, strict=True)
    assert (record.state, record.exit_code) == ("failed", 6)
    assert "nowhere" in record.error["message"]
    assert latest_candidates(runner.workspace) is None


def test_a_run_without_one_working_scanner_fails_with_a_source_error(runner):
    write(runner, "data/odd.yaml", "markets: [crypto]\nsort_by: no_such_column\n")
    manifest(runner, trend=strategy("odd"))
    record = runner.run(STAGE)
    assert (record.state, record.exit_code) == ("failed", 6)
    assert not record.error["retryable"]
    assert latest_candidates(runner.workspace) is None


NOTHING = COINS + "filters: [{left: close, operation: greater, right: 1.0e+15}]\n"


def test_a_discovery_that_finds_nothing_is_degraded_and_names_the_scanner(runner):
    write(runner, "data/coins.yaml", NOTHING)
    manifest(runner, trend=strategy("coins"))
    record = runner.run(STAGE)
    assert (record.state, record.result["count"]) == ("succeeded", 0)
    assert record.result["degraded"]
    assert "data/coins" in record.result["message"]
    assert "data/coins" in record.result["warnings"][0]
    status = json.loads((runner.root / f"data/lakehouse/status/{STAGE}.json").read_bytes())
    assert status["health_check"] == "degraded"
    strict = runner.run(STAGE, strict=True)
    assert (strict.state, strict.error["code"]) == ("failed", "no_data")


def test_a_scanner_that_finds_nothing_beside_others_is_named_and_no_more(runner):
    write(runner, "data/coins.yaml", COINS + "limit: 2\n")
    write(runner, "data/none.yaml", NOTHING)
    manifest(runner, trend=strategy("coins", "none"))
    result = runner.run(STAGE).result
    assert (result["count"], result["degraded"]) == (2, False)
    assert "nothing meets data/none" in result["message"]


def test_settings_that_are_not_possible_stop_a_discovery_before_it_begins(runner):
    write(runner, "data/coins.yaml", COINS)
    manifest(runner, trend=strategy("coins"))
    write(runner, "quant.yml", "sources: {market: embeded}")
    checks = {check.name: check for check in runner.sdk.validate_stage(STAGE).checks}
    assert (checks["sources"].status, "embeded" in checks["sources"].detail) == ("failed", True)


def test_an_outage_is_an_error_that_may_pass(runner, market):
    server = market(down=(1, 10_000))
    write(runner, "quant.yml", f"sources: {{scanner: {{base_url: '{server.scanner_url}'}}}}\n")
    write(runner, "data/coins.yaml", COINS)
    manifest(runner, trend=strategy("coins"))
    record = runner.run(STAGE)
    assert (record.state, record.exit_code) == ("failed", 6)
    assert record.error["retryable"]


def test_a_faulty_market_gives_the_candidates_of_a_sound_one(runner, market):
    sound = market()
    faulty = market(seed=2, error_rate=0.4, torn_rate=0.3, storm=Storm(every=4, length=2))
    found = []
    for server in (sound, faulty):
        address = f"sources: {{scanner: {{base_url: '{server.scanner_url}'}}}}\n"
        write(runner, "quant.yml", address)
        for number in range(6):
            write(runner, f"data/s{number}.yaml", COINS + f"limit: {number + 3}\n")
        manifest(runner, trend=strategy(*(f"s{number}" for number in range(6))))
        document = exported(runner, runner.run(STAGE))
        assert document["meta"]["source"] == "tradingview"
        found.append(document["data"])
    assert found[0] == found[1]
    assert sum(faulty.requests.values()) > sum(sound.requests.values())


def test_a_planted_session_is_found_nowhere(runner, market, monkeypatch):
    monkeypatch.setenv("QUANT_TRADINGVIEW_SECRET", "planted9f31c2")
    server = market(echo_credentials=True)
    write(runner, "quant.yml", f"sources: {{scanner: {{base_url: '{server.scanner_url}'}}}}\n")
    write(runner, "data/coins.yaml", COINS)
    write(runner, "data/odd.yaml", "markets: [crypto]\nsort_by: no_such_column\n")
    manifest(runner, trend=strategy("coins", "odd"))
    assert runner.run(STAGE).result["degraded"]
    files = [path for path in runner.root.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert not [path for path in files if b"planted9f31c2" in path.read_bytes()]


def test_aliases_and_meta_profiles_lead_to_their_scanners(runner):
    write(runner, "data/coins.yaml", COINS + "limit: 2\n")
    write(runner, "data/pairs.yaml", "markets: [forex]\nlimit: 2\n")
    document = {
        "default_profile": "all",
        "profiles": {
            "all": {"sleeves": [{"profile": "live"}, {"profile": "fx"}, {"profile": "all"}]},
            "live": "coins",
            "coins": profile(a=strategy("coins")),
            "fx": profile(b=strategy("pairs")),
        },
    }
    manifest(runner, document)
    assert len(symbols(runner, runner.run(STAGE))) == 4
    assert len(symbols(runner, runner.run(STAGE, profiles=["live"]))) == 2
    record = runner.run(STAGE, profiles=["all"], strategies=["b"])
    assert {item.partition(":")[0] for item in symbols(runner, record)} == {"FXCM"}


def test_only_enabled_markets_are_scanned(runner):
    write(runner, "data/both.yaml", "markets: [crypto, forex]\nlimit: 50\n")
    document = {"default_profile": "a", "profiles": {"a": profile(t=strategy("both"))}}
    document["profiles"]["a"]["discovery"]["enabled_markets"] = ["forex"]
    manifest(runner, document)
    data = exported(runner, runner.run(STAGE))["data"]
    assert {item["asset_type"] for item in data} == {"forex"}


def test_legacy_sources_that_are_gone_do_not_stop_discovery(runner):
    write(runner, "data/coins.yaml", COINS + "limit: 2\n")
    document = {"default_profile": "a", "profiles": {"a": profile(t=strategy("coins"))}}
    document["profiles"]["a"]["discovery"]["legacy"] = [{"path": "gone", "layout": "flat_v1"}]
    manifest(runner, document)
    assert runner.run(STAGE).result["count"] == 2


def test_a_scanner_outside_the_workspace_is_refused(runner, tmp_path):
    (tmp_path / "outside.yaml").write_text(COINS)
    write(runner, "data/coins.yaml", COINS + "limit: 2\n")
    manifest(runner, trend=strategy("../../outside", "coins"))
    (failure,) = runner.run(STAGE).result["failures"]
    assert failure["code"] == "outside_workspace"
    assert str(tmp_path) not in failure["message"]


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"profiles": {}}, "names no default_profile"),
        ({"default_profile": "b", "profiles": {"a": profile()}}, "no such profile"),
        ({"default_profile": "a", "profiles": {"a": profile()}}, "names a scanner"),
        ({"default_profile": "a", "profiles": {"a": profile(t={"scanners": ["x"]})}}, "interval"),
        ({"default_profile": "a", "profiles": {"a": profile(t=strategy("x"))}}, "no scanner file"),
    ],
)
def test_nothing_starts_where_no_scanner_can_be_asked(runner, document, told):
    manifest(runner, document)
    with pytest.raises(PrerequisitesNotMet, match=told) as caught:
        runner.run(STAGE)
    assert caught.value.fix


def test_an_unknown_strategy_answers_with_the_nearest(runner):
    write(runner, "data/coins.yaml", COINS)
    manifest(runner, trend_following=strategy("coins"))
    with pytest.raises(PrerequisitesNotMet) as caught:
        runner.run(STAGE, strategies=["trend_folowing"])
    assert "trend_following" in caught.value.fix


def test_validation_names_the_scanners_without_asking_them(runner, market):
    server = market()
    write(runner, "quant.yml", f"sources: {{scanner: {{base_url: '{server.scanner_url}'}}}}\n")
    write(runner, "data/coins.yaml", COINS + "qoute_priority: [USDT]\n")
    manifest(runner, trend=strategy("coins", "nowhere"))
    found = runner.sdk.validate_stage(STAGE)
    checks = {check.name: check for check in found.checks}
    assert found.ok
    assert checks["scanners"].status == "warning"
    assert (found.plan.files, found.plan.steps) == (1, ("read", "scan", "export"))
    assert any("nowhere" in note for note in found.plan.notes)
    assert server.requests == {}
    before = found.plan.inputs
    write(runner, "data/coins.yaml", COINS + "limit: 8\n")
    assert runner.sdk.validate_stage(STAGE).plan.inputs != before


def test_a_run_that_waits_for_the_venue_can_be_cancelled(runner, market, wait_until):
    server = market(down=(1, 10_000))
    write(runner, "quant.yml", f"sources: {{scanner: {{base_url: '{server.scanner_url}'}}}}\n")
    write(runner, "data/coins.yaml", COINS)
    manifest(runner, trend=strategy("coins"))
    with StageRunner(runner.root, STAGES) as steady:
        live = steady.start(STAGE)
        wait_until(lambda: server.requests)
        assert live.cancel().state == "cancelled"
    assert latest_candidates(runner.workspace) is None
