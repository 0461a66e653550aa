"""The stages of upkeep, run as stages: records, events, locks, refusals."""

from __future__ import annotations

import time

import pytest
from _lake import SYMBOL, Lake, file
from _stages import hang, stage_of

from quant_sdk.errors import Conflict, InvalidParams, OwnershipLost, PrerequisitesNotMet
from quant_sdk.lakehouse.locks import writing
from quant_sdk.lakehouse.parts import live_parts
from quant_sdk.lakehouse.snapshot import verify_snapshot
from quant_sdk.testing import StageRunner
from quant_stages.upkeep import STAGES
from quant_stages.upkeep import optimize as stage

INGEST = "t.bring"
OPTIMIZE, RESTORE, UNDO = "lakehouse.optimize", "lakehouse.restore", "lakehouse.undo"
REPLAY, SNAPSHOT = "quarantine.replay", "data.snapshot"


class Upkeep(StageRunner):
    """A workspace with the stages of upkeep, and one that brings bars."""

    def __init__(self, root):
        self.deliveries = []
        bring = stage_of(self._bring, INGEST)
        parent = stage_of(lambda run, _: run.run_stage(INGEST) and None, "t.flow")
        super().__init__(root, (*STAGES, bring, parent, stage_of(hang, "t.hang")))
        self.lake = Lake(self.root)

    def _bring(self, run, _):
        item = self.deliveries.pop(0)
        run.commit(
            lambda commit: self.lake.publisher.publish([item], commit, run.clock.now()),
            batch_id=f"b{item.sha256[:8]}",
        )

    def bring(self, source, closes, **rest):
        self.deliveries.append(file(source, closes, **rest))
        record = self.run(INGEST)
        assert record.state == "succeeded", record.error
        return record.run_id

    def done(self, stage_id, **params):
        record = self.run(stage_id, **params)
        assert record.state == "succeeded", record.error
        return record.result

    def files(self, table=None):
        return len(live_parts((table or self.lake.bars).delta()))


@pytest.fixture
def upkeep(tmp_path):
    with Upkeep(tmp_path / "ws") as runner:
        yield runner


def fill(upkeep, files=4):
    for hour in range(files):
        upkeep.bring(f"s{hour}", {hour: 1.0 + hour, 100 + hour: 1.0})


@pytest.mark.parametrize("spec", STAGES, ids=lambda spec: spec.id)
def test_an_empty_lakehouse_is_a_missing_prerequisite(upkeep, spec):
    params = {RESTORE: {"version": 0}, UNDO: {"run_id": "r"}}.get(spec.id, {})
    with pytest.raises(PrerequisitesNotMet, match="empty"):
        upkeep.run(spec.id, **params)


@pytest.mark.parametrize("spec", STAGES, ids=lambda spec: spec.id)
def test_every_part_of_a_stage_can_be_imported(spec):
    parts = ("params", "result", "body", "checks", "plan", "rehearse")
    assert [part for part in parts if getattr(spec, part) and spec.load(part) is None] == []


def test_optimize_compacts_every_table_and_a_second_run_makes_no_version(upkeep):
    fill(upkeep)
    before = upkeep.lake.report()["content_hash"]
    result = upkeep.done(OPTIMIZE, small_files=1)
    assert result["committed"]
    assert (result["files_before"], result["files_after"], result["busy"]) == (8, 2, [])
    assert {item["partition"] for item in result["partitions"]} == {
        "timeframe=1h/bucket=2024-01",
        "timeframe=1h/bucket=2024-02",
    }
    assert upkeep.files() == 2
    assert upkeep.lake.report()["content_hash"] == before
    assert len(upkeep.events("partition_compacted")) == 2
    versions = upkeep.lake.versions()
    again = upkeep.done(OPTIMIZE, small_files=1)
    assert (again["committed"], again["message"]) == (False, "nothing to do")
    assert upkeep.lake.versions() == versions


def test_optimize_may_be_bound_to_some_tables(upkeep):
    fill(upkeep)
    assert not upkeep.done(OPTIMIZE, small_files=1, tables=["quarantine"])["committed"]
    record = upkeep.run(OPTIMIZE, tables=["bar"])
    assert record.error["code"] == "unknown_name"
    assert "bars" in record.error["fix"]


def test_an_optimize_that_loses_its_lock_leaves_no_file(upkeep, monkeypatch):
    fill(upkeep)
    on_disk = sorted(upkeep.lake.bars.path.rglob("part-*.parquet"))

    def lost(*_):
        raise OwnershipLost("lost", fix="none")

    monkeypatch.setattr(stage, "_commit", lost)
    record = upkeep.run(OPTIMIZE, small_files=1)
    assert record.error["code"] == OwnershipLost.code
    assert sorted(upkeep.lake.bars.path.rglob("part-*.parquet")) == on_disk


def test_a_rehearsal_of_optimize_lists_and_writes_nothing(upkeep):
    fill(upkeep)
    before = upkeep.lake.versions(), upkeep.files()
    told = upkeep.sdk.validate_stage(OPTIMIZE, {"small_files": 1}, rehearse=True)
    assert told.rehearsal["count"] == 2
    assert told.rehearsal["partitions"][0]["files"] == 4
    assert (upkeep.lake.versions(), upkeep.files()) == before


def test_old_files_go_only_after_a_week_at_least(upkeep):
    with pytest.raises(InvalidParams, match="168"):
        upkeep.run(OPTIMIZE, retention_hours=24)


def test_the_vacuum_removes_old_files_and_says_so(upkeep, monkeypatch):
    fill(upkeep)
    upkeep.done(OPTIMIZE, small_files=1)
    real = stage.vacuumable
    monkeypatch.setattr(stage, "vacuumable", lambda table, _: real(table, 0))
    kept = upkeep.done(OPTIMIZE, small_files=1, vacuum=False)
    assert kept["files_removed"] == 0
    result = upkeep.done(OPTIMIZE, small_files=1)
    assert result["files_removed"] == 8
    assert result["bytes_removed"] > 0
    (event,) = upkeep.events("files_vacuumed")
    assert (event["table"], event["files"]) == ("bars", 8)
    assert upkeep.lake.is_proven


def test_a_partition_that_was_written_to_meanwhile_is_rewritten_with_the_writers_kept_out(
    upkeep, monkeypatch
):
    fill(upkeep)
    for hour in range(2):
        upkeep.bring(f"o{hour}", {hour: 1.0}, symbol="X:OTHER")
    real, lake = stage.rewritten, upkeep.lake
    ingests = iter([lambda: lake.bring("meanwhile", "s0", {0: 9.0}, sha="new")])

    def disturbed(table, crowd):
        swap = real(table, crowd)
        next(ingests, lambda: None)()
        return swap

    monkeypatch.setattr(stage, "rewritten", disturbed)
    result = upkeep.done(OPTIMIZE, small_files=1)
    assert (result["count"], result["busy"]) == (2, [])
    assert [item["files"] for item in result["partitions"]] == [3, 4]
    assert lake.held()[0] == 9.0
    assert len(lake.held()) == 8
    assert lake.is_proven


def test_a_partition_that_stays_busy_is_named_and_left(upkeep, monkeypatch):
    fill(upkeep)

    def busy(*_):
        raise Conflict("changed", fix="again")

    monkeypatch.setattr(stage, "exchange", busy)
    before = upkeep.lake.versions()
    result = upkeep.done(OPTIMIZE, small_files=1)
    assert len(result["busy"]) == 2
    assert len(upkeep.events("partition_busy")) == 2
    assert upkeep.lake.versions() == before
    assert len(list(upkeep.lake.bars.path.rglob("*.parquet"))) == 8 + 2


@pytest.mark.parametrize("point", ["before_commit", "after_commit"])
def test_an_optimize_that_is_killed_loses_nothing_and_is_continued(upkeep, point):
    fill(upkeep)
    before = upkeep.lake.report()["content_hash"]
    assert upkeep.run_killed_at(point, OPTIMIZE, small_files=1) == -9
    assert upkeep.lake.report()["content_hash"] == before
    upkeep.done(OPTIMIZE, small_files=1)
    assert upkeep.files() == 2
    assert upkeep.lake.is_proven


def test_undo_takes_back_a_run(upkeep):
    upkeep.bring("good", {0: 1.0})
    bad = upkeep.bring("bad", {1: 2.0})
    told = upkeep.sdk.validate_stage(UNDO, {"run_id": bad}, rehearse=True).rehearsal
    assert (told["withdrawn"], told["kept"]) == (1, 0)
    result = upkeep.done(UNDO, run_id=bad)
    assert (result["of"], result["withdrawn"], result["committed"]) == (bad, 1, True)
    assert result["series"] == [
        {"symbol": SYMBOL, "timeframe": "1h", "withdrawn": 1, "corrected": 0, "brought": 0}
    ]
    assert "quarantine" in result["message"]
    assert upkeep.lake.held() == {0: 1.0}
    assert upkeep.lake.is_proven
    versions = upkeep.lake.versions()
    again = upkeep.done(UNDO, run_id=bad)
    assert not again["committed"]
    assert again["message"].startswith("nothing to do")
    assert upkeep.lake.versions() == versions


def test_undo_names_what_it_leaves_to_later_runs(upkeep):
    bad = upkeep.bring("first", {0: 1.0, 1: 2.0})
    upkeep.bring("first", {0: 5.0, 1: 2.0}, sha="new")
    result = upkeep.done(UNDO, run_id=bad)
    assert result["kept_series"] == [{"symbol": SYMBOL, "timeframe": "1h", "rows": 1}]
    assert "others have changed" in result["message"]


def test_undo_of_a_parent_takes_back_what_its_children_brought(upkeep):
    upkeep.deliveries.append(file("first", {0: 1.0}))
    parent = upkeep.run("t.flow")
    assert parent.state == "succeeded", parent.error
    assert upkeep.done(UNDO, run_id=parent.run_id)["withdrawn"] == 1


def test_undo_of_an_unknown_run_names_the_nearest(upkeep):
    run_id = upkeep.bring("first", {0: 1.0})
    record = upkeep.run(UNDO, run_id=run_id[:-1])
    assert record.error["code"] == "unknown_run"
    assert run_id in record.error["fix"]


def test_undo_of_a_live_run_is_refused(upkeep):
    upkeep.bring("first", {0: 1.0})
    live = upkeep.start("t.hang")
    record = upkeep.run(UNDO, run_id=live.run_id)
    assert record.error["code"] == "live_run"


@pytest.mark.parametrize("params", [{}, {"run_id": "a", "source": "b"}])
def test_undo_takes_a_run_or_a_source(upkeep, params):
    with pytest.raises(InvalidParams, match="either"):
        upkeep.run(UNDO, **params)


def test_undo_of_a_source_takes_back_what_its_earlier_declaration_gave(upkeep):
    upkeep.bring("first", {0: 1.0}, symbol="X:WRONG")
    upkeep.bring("first", {0: 1.0}, spec="1")
    assert upkeep.done(UNDO, source="first")["withdrawn"] == 1
    assert upkeep.lake.report()["superseded"] == []


@pytest.mark.parametrize("point", ["before_commit", "after_commit"])
def test_an_undo_that_is_killed_is_completed_by_the_next(upkeep, point):
    upkeep.bring("good", {0: 1.0})
    bad = upkeep.bring("bad", {1: 2.0})
    assert upkeep.run_killed_at(point, UNDO, run_id=bad) == -9
    upkeep.done(UNDO, run_id=bad)
    assert upkeep.lake.held() == {0: 1.0}
    assert upkeep.lake.withdrawn() == {1: 2.0}
    assert upkeep.lake.is_proven


def test_replay_publishes_what_passes_now(upkeep):
    upkeep.bring("first", {0: 100.0, 1: 1.0, 2: 100.0})
    upkeep.bring("first", {1: 99.0}, sha="new")
    told = upkeep.sdk.validate_stage(REPLAY, {}, rehearse=True).rehearsal
    assert (told["rows"], told["published"]) == (1, 1)
    result = upkeep.done(REPLAY)
    assert (result["published"], result["marked"], result["committed"]) == (1, 1, True)
    assert upkeep.lake.is_proven
    again = upkeep.done(REPLAY)
    assert (again["rows"], again["committed"]) == (0, False)
    assert len(upkeep.events("quarantine_replayed")) == 1


def test_replay_brings_an_undone_run_back_where_it_is_asked_to(upkeep):
    bad = upkeep.bring("first", {0: 1.0, 1: 2.0})
    upkeep.done(UNDO, run_id=bad)
    assert upkeep.done(REPLAY)["published"] == 0
    assert upkeep.done(REPLAY, rule="withdrawn")["published"] == 2
    assert upkeep.lake.held() == {0: 1.0, 1: 2.0}


def test_restore_goes_back_and_says_what_went(upkeep):
    upkeep.bring("first", {0: 1.0, 1: 2.0})
    version = upkeep.lake.bars.version()
    upkeep.bring("second", {2: 3.0})
    told = upkeep.sdk.validate_stage(RESTORE, {"version": version}, rehearse=True).rehearsal
    assert (told["withdrawn"], told["rows"]) == (1, -1)
    result = upkeep.done(RESTORE, version=version)
    assert (result["made"], result["withdrawn"], result["rows"]) == (version + 2, 1, -1)
    assert result["series"][0]["symbol"] == SYMBOL
    (event,) = upkeep.events("table_restored")
    assert (event["version"], event["made"]) == (version, version + 2)
    assert upkeep.lake.held() == {0: 1.0, 1: 2.0}
    assert upkeep.lake.is_proven
    again = upkeep.done(RESTORE, version=version)
    assert (again["committed"], again["made"]) == (False, -1)


def test_restore_is_refused_beside_a_live_run(upkeep):
    upkeep.bring("first", {0: 1.0})
    upkeep.bring("second", {1: 1.0})
    before = upkeep.lake.versions()
    live = upkeep.start("t.hang")
    assert live.run_id
    record = upkeep.run(RESTORE, version=1)
    assert (record.error["code"], record.exit_code) == ("live_run", 4)
    assert upkeep.lake.versions() == before


def test_restore_refuses_what_cannot_be_restored(upkeep):
    upkeep.bring("first", {0: 1.0, 1: -1.0})
    for params, code in (
        ({"version": 99}, "invalid_input"),
        ({"version": 0, "table": "quarantine"}, "invalid_input"),
        ({"version": 0, "table": "bar"}, "unknown_name"),
    ):
        assert upkeep.run(RESTORE, **params).error["code"] == code


def test_a_snapshot_is_made_once_for_a_state(upkeep):
    fill(upkeep, files=2)
    made = upkeep.done(SNAPSHOT)
    assert not made["reused"]
    assert verify_snapshot(upkeep.workspace, made["snapshot"])["ok"]
    again = upkeep.done(SNAPSHOT)
    assert (again["reused"], again["snapshot"]) == (True, made["snapshot"])
    upkeep.bring("more", {50: 1.0})
    assert upkeep.done(SNAPSHOT)["snapshot"] != made["snapshot"]
    assert len(upkeep.events("snapshot_created")) == 2


def test_a_snapshot_survives_compaction_and_vacuum(upkeep, monkeypatch):
    fill(upkeep)
    made = upkeep.done(SNAPSHOT)["snapshot"]
    real = stage.vacuumable
    monkeypatch.setattr(stage, "vacuumable", lambda table, _: real(table, 0))
    assert upkeep.done(OPTIMIZE, small_files=1)["files_removed"] == 8
    assert verify_snapshot(upkeep.workspace, made)["ok"]


def test_a_ledger_line_that_a_killed_run_could_not_write_is_recovered_first(upkeep):
    upkeep.bring("first", {0: 1.0})
    ledger = upkeep.workspace.lakehouse / "ledger.jsonl"
    ledger.unlink()
    upkeep.done(SNAPSHOT)
    assert len(upkeep.events("ledger_recovered")) == 1
    assert upkeep.lake.is_proven


def test_upkeep_waits_for_a_writer_and_gives_up_in_bounded_time(upkeep):
    upkeep.bring("first", {0: 1.0})
    with writing(upkeep.workspace.locks, "bars"):
        began = time.monotonic()
        with (
            pytest.raises(Conflict, match="has been writing"),
            writing(upkeep.workspace.locks, "quarantine", seconds=0.05),
        ):
            pass
    assert time.monotonic() - began < 10


def test_a_paused_optimize_stops_between_two_partitions(upkeep):
    fill(upkeep)
    upkeep.write_control({"action": "pause"})
    run = upkeep.start(OPTIMIZE, small_files=1)
    run.wait_for_event("paused")
    before = upkeep.lake.versions()
    assert upkeep.files() == 8
    upkeep.write_control({"action": "resume"})
    assert run.end().state == "succeeded"
    assert upkeep.lake.versions() != before
