"""The main job as its users see it: on the demo, on flawed files, twice, paused, contended."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import polars as pl
import pytest
from _legacy import STAGE, bars, make_workspace, write_flat, write_manifest
from jsonschema import Draft202012Validator

from quant_registry.schemas import read_schema
from quant_sdk import QuantSDK
from quant_sdk.errors import NoData

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0


@pytest.fixture
def demo(tmp_path):
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    (tmp_path / "data").mkdir()
    shutil.copytree(ROOT / "data" / "demo", tmp_path / "data" / "demo")
    shutil.copy(ROOT / "data" / "manifest.json", tmp_path / "data")
    return tmp_path


def report(workspace, record, name):
    return json.loads((workspace / record.result["reports"][name]).read_bytes())


def listing(folder):
    return sorted((str(path), path.stat().st_mtime_ns) for path in folder.rglob("*"))


def status_of(workspace):
    return json.loads((workspace / "data/lakehouse/migration_status.json").read_bytes())


def await_event(sdk, event, run_id=None):
    halt = threading.Event()
    stop = threading.Timer(PATIENCE, halt.set)
    stop.start()
    try:
        for found in sdk.tail(follow=True, stop=halt):
            if found["event"] == event and run_id in {None, found["run_id"]}:
                return found
    finally:
        stop.cancel()
    raise AssertionError(f"no {event} came")


def await_state(workspace, state):
    pause, deadline = threading.Event(), time.monotonic() + PATIENCE
    while status_of(workspace)["state"] != state:
        assert time.monotonic() < deadline
        pause.wait(0.01)


class Background:
    """A migration in a thread of its own."""

    def __init__(self, workspace, **params):
        self.sdk = QuantSDK(workspace)
        self.record = None
        self._thread = threading.Thread(target=self._run, args=(params,))
        self._thread.start()

    def _run(self, params):
        self.record = self.sdk.run_stage(STAGE, params)

    def join(self):
        self._thread.join(PATIENCE)
        assert self.record is not None
        return self.record


def test_every_planted_flaw_of_the_demo_is_found_and_nothing_else(demo):
    sdk = QuantSDK(demo)
    record = sdk.run_stage(STAGE)
    assert record.state == "succeeded"
    assert record.result["health_check"] == "degraded"
    expected = json.loads((demo / "data/demo/expected.json").read_bytes())
    sources = expected.get("sources", expected)
    ingested = {entry["source"]: entry for entry in report(demo, record, "ingest")["sources"]}
    for name, facts in sources.items():
        if facts.get("torn"):
            assert name not in ingested
            continue
        entry = ingested[name]
        assert (entry["rows"], entry["bars"]) == (facts["rows"], facts["bars"]), name
        assert entry["identical_duplicates"] == facts["identical_duplicates"], name
        assert entry["quarantined"] == sum(facts["quarantined"].values()), name
    gaps = {(item.symbol, item.timeframe): len(item.gaps) for item in sdk.lakehouse.coverage()}
    for facts in sources.values():
        if not facts.get("torn") and not facts["quarantined"]:
            series = (facts["symbol"], facts["timeframe"])
            assert gaps[series] == facts["gaps"], series


def test_every_file_of_the_contract_fits_its_schema(demo):
    sdk = QuantSDK(demo)
    sdk.pause(STAGE)
    sdk.resume(STAGE)
    record = sdk.run_stage(STAGE)
    data = demo / "data"
    run = data / "artifacts/runs" / record.run_id
    documents = {
        "run": run / "run.json",
        "checkpoint": run / "checkpoint.json",
        "status": data / "lakehouse/migration_status.json",
        "control": data / "lakehouse/migration_control.json",
        "lock": data / f"artifacts/locks/{STAGE}.owner.json",
        "candidates": data / "export" / record.run_id / "candidates.json",
        "snapshot": data / "snapshots" / record.run_id / "manifest.json",
    }
    for name, path in documents.items():
        Draft202012Validator(read_schema(name)).validate(json.loads(path.read_bytes()))
    for name, path in (
        ("audit", data / "artifacts/audit.jsonl"),
        ("ledger", data / "lakehouse/ledger.jsonl"),
    ):
        validator = Draft202012Validator(read_schema(name))
        for line in path.read_text().splitlines():
            validator.validate(json.loads(line))


def test_the_second_run_commits_nothing_and_says_so(demo):
    sdk = QuantSDK(demo)
    first = sdk.run_stage(STAGE)
    tables = sdk.lakehouse.tables()
    second = sdk.run_stage(STAGE)
    assert sdk.lakehouse.tables() == tables
    assert not second.result["committed"]
    assert second.result["message"].startswith("nothing to do")
    assert second.result["snapshot"] == first.result["snapshot"]
    assert not [e for e in sdk.tail(second.run_id) if e["event"] == "batch_committed"]


def test_a_dry_run_writes_nothing_anywhere_in_the_workspace(demo):
    before = listing(demo)
    command = [sys.executable, "-m", "quant_cli.main", "stage", "run", STAGE]
    done = subprocess.run(
        [*command, "--dry-run", "--json", "--workspace", str(demo)],
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0
    answer = json.loads(done.stdout)
    assert answer["rehearsal"]["bars"] == 6246
    assert 0 < answer["success_probability"] < 1
    assert listing(demo) == before


def test_progress_events_carry_the_seeds_fields(demo):
    sdk = QuantSDK(demo)
    record = sdk.run_stage(STAGE)
    events = [e for e in sdk.tail(record.run_id) if e["event"] == "ingest_progress"]
    assert len(events) == 12
    assert events[-1]["progress"] == {
        "current": 12,
        "total": 12,
        "percent": 100.0,
        "eta_seconds": 0.0,
    }
    seed = {"timestamp", "event", "run_id", "symbol", "rows", "status", "progress"}
    assert all(seed <= event.keys() for event in events)
    assert {event["status"] for event in events} == {"success", "failed"}


def test_bars_are_one_line_away_and_become_pandas(demo):
    sdk = QuantSDK(demo)
    sdk.run_stage(STAGE)
    frame = sdk.bars("BINANCE:ADABTC", "5m", "2024-03-01", "2024-03-02")
    assert frame["ts"].is_sorted()
    assert str(frame["ts"].max())[:10] == "2024-03-01"
    assert len(frame.to_pandas()) == frame.height


def test_an_unreadable_source_fails_a_strict_run(demo):
    record = QuantSDK(demo).run_stage(STAGE, {"strict": True})
    assert record.state == "failed"
    assert record.exit_code == 6
    assert "BINANCE_XRPUSDT_1h.parquet" in record.error["message"]
    assert status_of(demo)["phase"] == "verification"
    assert status_of(demo)["health_check"] == "degraded"


def test_a_lost_row_is_found_and_fails_the_run(tmp_path):
    workspace = make_workspace(tmp_path, 3)
    sdk = QuantSDK(workspace)
    sdk.run_stage(STAGE)
    delta = sdk.lakehouse.table("bars").delta()
    delta.delete("symbol = 'BINANCE:S01USDT' AND ts = '2024-01-30 05:00:00'")
    record = sdk.run_stage(STAGE)
    assert record.state == "failed"
    assert record.error["code"] == "parity_failed"
    assert "BINANCE:S01USDT" in record.error["message"]
    assert status_of(workspace)["health_check"] == "failed"


def test_a_changed_value_is_found_and_fails_the_run(tmp_path):
    workspace = make_workspace(tmp_path, 2)
    sdk = QuantSDK(workspace)
    sdk.run_stage(STAGE)
    delta = sdk.lakehouse.table("bars").delta()
    delta.update(
        predicate="symbol = 'BINANCE:S01USDT' AND ts = '2024-01-30 05:00:00'",
        updates={"volume": "volume + 1"},
    )
    assert sdk.run_stage(STAGE).error["code"] == "parity_failed"


def test_a_grown_file_brings_only_its_new_bars(tmp_path):
    write_flat(tmp_path / "data/old", "AUSDT", bars(100))
    write_manifest(tmp_path, [{"path": "old", "layout": "flat_v1"}])
    sdk = QuantSDK(tmp_path)
    sdk.run_stage(STAGE)
    write_flat(tmp_path / "data/old", "AUSDT", bars(130))
    rows = sdk.run_stage(STAGE).result["rows"]
    assert (rows["bars"], rows["unchanged"], rows["corrected"]) == (30, 100, 0)


def test_a_source_that_is_declared_anew_is_taken_in_and_its_old_bars_are_named(tmp_path):
    (tmp_path / "data").mkdir()
    bars(100).write_csv(tmp_path / "data" / "a.csv")
    entry = {"path": "a.csv", "layout": "csv", "symbol": "AUSDT", "timeframe": "1h"}
    entry |= {"timestamp_column": "timestamp", "timestamp_unit": "s"}
    sdk = QuantSDK(tmp_path)
    for exchange in ("BINANCE", "KRAKEN"):
        write_manifest(tmp_path, [{**entry, "exchange": exchange}])
        result = sdk.run_stage(STAGE).result
    counts = result["sources"]
    assert (counts["total"], counts["ingested"], counts["failed"]) == (1, 1, 0)
    assert result["health_check"] == "degraded"
    (old,) = result["failures"]
    assert (old["code"], "undo --source" in old["fix"]) == ("conflict", True)
    assert "1 left bars of an earlier declaration" in result["message"]


def test_bars_of_another_length_than_declared_are_refused_as_a_whole(tmp_path):
    sdk = QuantSDK(make_workspace(tmp_path, 2))
    write_flat(tmp_path / "data" / "old", "TENUSDT", bars(300, step=600))
    record = sdk.run_stage(STAGE)
    (failure,) = record.result["failures"]
    assert "250 of 300 rows" in failure["message"]
    assert "0:10:00 apart" in failure["message"]
    assert "timeframe" in failure["fix"]
    assert record.result["health_check"] == "degraded"
    assert "rows were refused; 1 failed" in record.result["message"]
    with pytest.raises(NoData):
        sdk.bars("BINANCE:TENUSDT", "1h")


def test_after_a_clean_slate_everything_is_moved_again(demo):
    sdk = QuantSDK(demo)
    first = sdk.run_stage(STAGE)
    sdk.lakehouse.wipe()
    assert not (demo / "data/lakehouse").exists()
    again = sdk.run_stage(STAGE)
    assert again.result["content_hash"] == first.result["content_hash"]
    assert again.epoch == 2


def test_a_bad_profile_stops_only_itself(tmp_path):
    make_workspace(tmp_path, 2)
    legacy = {"discovery": {"legacy": [{"path": "old", "layout": "flat_v1"}]}}
    bad = {"discovery": {"legacy": [{"path": "nowhere", "layout": "flat_v1"}]}}
    path = tmp_path / "data/manifest.json"
    path.write_text(json.dumps({"profiles": {"good": legacy, "bad": bad}}))
    record = QuantSDK(tmp_path).run_stage(STAGE)
    assert record.state == "succeeded"
    assert record.result["sources"]["ingested"] == 2
    assert record.result["health_check"] == "degraded"


def test_nothing_is_committed_after_paused_and_resume_goes_on(tmp_path):
    workspace = make_workspace(tmp_path, 30, rows=3000)
    run = Background(workspace, batch_symbols=1, workers=1)
    await_event(run.sdk, "batch_committed")
    (workspace / "data/lakehouse/migration_control.json").write_text('{"action": "pause"}')
    paused = await_event(run.sdk, "paused")
    await_state(workspace, "paused")
    version = run.sdk.lakehouse.tables()
    assert run.sdk.pause().outcome == "already_paused"
    assert run.sdk.lakehouse.tables() == version
    assert run.sdk.resume().outcome == "resumed"
    record = run.join()
    assert record.state == "succeeded"
    assert record.paused_seconds > 0
    events = list(run.sdk.tail(record.run_id, since_seq=paused["seq"]))
    names = [event["event"] for event in events]
    assert "batch_committed" not in names[: names.index("resumed")]
    assert record.result["sources"]["ingested"] == 30


def test_a_run_started_under_a_standing_pause_starts_paused(demo):
    sdk = QuantSDK(demo)
    assert sdk.pause(STAGE, reason="window").outcome == "not_running"
    run = Background(demo)
    assert await_event(sdk, "paused")["directive"]["reason"] == "window"
    assert not sdk.lakehouse.tables()
    assert sdk.resume(STAGE).outcome == "resumed"
    assert run.join().state == "succeeded"


def test_of_two_runners_one_works_and_the_other_exits_4_and_names_the_holder(demo):
    sdk = QuantSDK(demo)
    sdk.pause()
    run = Background(demo)
    await_event(sdk, "paused")
    command = [sys.executable, "-m", "quant_cli.main", "stage", "run", STAGE, "--json"]
    done = subprocess.run(
        [*command, "--workspace", str(demo)], capture_output=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 4
    assert sdk.status(STAGE)[0]["lock_id"] in json.loads(done.stdout)["error"]["message"]
    sdk.cancel()
    assert run.join().state == "cancelled"


def test_a_cancelled_migration_is_continued(tmp_path):
    workspace = make_workspace(tmp_path, 30, rows=3000)
    run = Background(workspace, batch_symbols=1, workers=1)
    await_event(run.sdk, "batch_committed")
    assert run.sdk.cancel(reason="enough").outcome in {"cancelling", "cancelled"}
    cancelled = run.join()
    assert (cancelled.state, cancelled.exit_code) == ("cancelled", 130)
    params = {"batch_symbols": 1, "workers": 1}
    record = run.sdk.run_stage(STAGE, params)
    assert record.continues == cancelled.run_id
    assert record.result["sources"]["unchanged"] > 0
    assert record.result["sources"]["ingested"] < 30
    began = time.monotonic()
    assert len(run.sdk.bars("BINANCE:S29USDT", "1h")) == 3000
    assert time.monotonic() - began < PATIENCE


def test_a_flipped_byte_in_a_snapshot_is_found(demo):
    from quant_sdk.lakehouse.snapshot import verify_snapshot

    sdk = QuantSDK(demo)
    record = sdk.run_stage(STAGE)
    name = record.result["snapshot"]
    assert verify_snapshot(sdk.workspace, name)["ok"]
    file = next((demo / "data/snapshots" / name / "bars").rglob("*.parquet"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    found = verify_snapshot(sdk.workspace, name)
    assert not found["ok"]
    assert file.name in found["problems"][0]


def test_a_snapshot_is_readable_as_plain_parquet(demo):
    sdk = QuantSDK(demo)
    record = sdk.run_stage(STAGE)
    folder = demo / "data/snapshots" / record.result["snapshot"] / "bars"
    frame = pl.scan_parquet(folder / "**/*.parquet", hive_partitioning=True).collect()
    assert frame.height == record.result["rows"]["bars"]
