"""From canary to strict: approvals, the canary's window, the records, and kills in between."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import jsonschema
import pytest

from quant_registry.schemas import read_schema
from quant_sdk.errors import InvalidIdentifier, InvalidInput, PrerequisitesNotMet
from quant_sdk.schemas import FileSchemaRegistry, Finding, bundle_fingerprint
from quant_sdk.schemas.approvals import approvals, approvals_file, approve, standing
from quant_sdk.schemas.checks import check_file
from quant_sdk.schemas.client import OWN
from quant_sdk.schemas.evidence import evidence
from quant_sdk.schemas.governance import HEAD, PAGE
from quant_sdk.schemas.state import bundle_file, read_states, state_file
from quant_sdk.testing import FakeClock
from quant_stages.schemas import STAGES

WRONG = Finding(code="dtype", severity="block", column="close", detail="text, not float64")
DAY = 86_400
ID = "schema.promote"


class Governed:
    """A workspace whose days pass when told to."""

    def __init__(self, runner, clock):
        self.runner = runner
        self.clock = clock
        self.workspace = runner.workspace

    @property
    def registry(self):
        return FileSchemaRegistry(self.workspace, clock=self.clock)

    @property
    def bars(self):
        return self.registry.newest("bars")

    @property
    def mode(self):
        return self.registry.mode(self.bars)

    @property
    def page(self):
        path = self.workspace.root / PAGE
        return path.read_text() if path.exists() else None

    def approve(self, *names, **rest):
        for name in names:
            approve(
                self.workspace, self.bars, approver=name, actor="shell", clock=self.clock, **rest
            )

    def days(self, count, *findings):
        """Let a response a day be checked for so many days."""
        for _ in range(count):
            self.clock.advance(DAY)
            self.registry.check(self.bars, findings, node="daily", rows=5)

    def ready(self):
        self.days(7)
        self.approve("alice", "bob")

    def promote(self, **params):
        return self.runner.run(ID, schema="bars", **params)

    def refusal(self, **params):
        with pytest.raises(PrerequisitesNotMet) as caught:
            self.promote(**params)
        assert caught.value.exit_code == 3
        assert self.mode == "canary"
        assert self.page is None
        return caught.value


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def governed(stage_runner, clock):
    return Governed(stage_runner(STAGES, clock=clock), clock)


def own_bars(governed, **fields):
    """Give the workspace a second version of bars."""
    schema = replace(governed.registry.get("bars", 1), version=2, **fields)
    path = governed.workspace.root / OWN / "bars" / "2.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(schema.to_dict()))
    return schema


def fail(*_):
    raise OSError(5, "i/o error")


def test_two_approvals_and_a_clean_week_make_a_schema_strict(governed):
    governed.ready()
    record = governed.promote()
    assert record.state == "succeeded", record.error
    assert governed.mode == "strict"
    result = record.result
    assert result["committed"] is True
    assert result["approvers"] == ["alice", "bob"]
    assert result["fingerprint"] == governed.bars.fingerprint
    (event,) = governed.runner.events("schema_promoted")
    assert event["bundle"] == result["bundle"] == bundle_fingerprint(governed.registry)
    assert event["fingerprint"] == governed.bars.fingerprint
    assert event["approvers"] == ["alice", "bob"]
    for text in (governed.bars.fingerprint, result["bundle"], "alice", "bob", record.run_id):
        assert text in governed.page
    assert governed.page.startswith(HEAD)


def test_the_files_of_governance_keep_their_contracts(governed):
    governed.ready()
    governed.promote()
    state = json.loads(state_file(governed.workspace, "bars").read_bytes())
    jsonschema.validate(state, read_schema("schema_state"))
    bundle = json.loads(bundle_file(governed.workspace, state["strict"][0]["bundle"]).read_bytes())
    jsonschema.validate(bundle, read_schema("schema_bundle"))
    for line in approvals_file(governed.workspace).read_text().splitlines():
        jsonschema.validate(json.loads(line), read_schema("schema_approval"))


def test_promoting_a_strict_schema_again_changes_nothing(governed):
    governed.ready()
    governed.promote()
    page, states = governed.page, read_states(governed.workspace, "bars")
    governed.clock.advance(400 * DAY)
    record = governed.promote()
    assert record.result["committed"] is False
    assert governed.page == page
    assert read_states(governed.workspace, "bars") == states
    assert len(governed.runner.events("schema_promoted")) == 1


def test_without_anything_it_says_all_that_is_missing(governed):
    told = governed.refusal()
    assert "2 of 2 approvals of bars/1" in told.message
    assert "clean checks on 7 more days" in told.message
    assert "quant schema approve bars/1 --as NAME" in told.fix
    assert not (governed.workspace.artifacts / "runs").exists()


@pytest.mark.parametrize(
    "names",
    [
        ("alice",),
        ("alice", "alice"),
        ("alice", "Alice"),
        ("ALICE", "alice."),
        ("alice", "alice+2"),
        ("a.lice@desk", "alice+x@desk"),
    ],
)
def test_one_person_is_not_two(governed, names):
    governed.days(7)
    governed.approve(*names)
    assert "1 of 2 approvals" in governed.refusal().message


def test_an_approval_ends(governed):
    governed.days(7)
    governed.approve("alice", lasts=timedelta(hours=1))
    governed.clock.advance(3601)
    governed.approve("bob")
    assert "approved by bob" in governed.refusal().message
    governed.approve("alice")
    assert governed.promote().state == "succeeded"


def test_an_approval_is_of_exactly_one_fingerprint(governed):
    governed.ready()
    own_bars(governed, title="the next")
    governed.days(7)
    assert "2 of 2 approvals of bars/2" in governed.refusal().message
    governed.approve("alice")
    own_bars(governed, key=("symbol", "ts"))
    governed.approve("bob")
    assert "approved by bob" in governed.refusal(window_checks=1).message


def test_an_approval_that_came_after_a_clock_was_set_back_does_not_count_yet(governed):
    governed.days(7)
    governed.approve("alice", "bob")
    earlier = governed.clock.now() - timedelta(days=1)
    assert standing(governed.workspace, governed.bars, earlier) == ()


def test_whoever_promotes_is_none_of_the_two(governed):
    governed.days(7)
    governed.approve("alice", "TEST")  # the runner acts as `test`
    record = governed.promote()
    assert record.state == "failed"
    assert record.exit_code == 3
    assert "their own approval does not count" in record.error["message"]
    assert governed.mode == "canary"
    assert governed.page is None
    governed.approve("bob")
    assert governed.promote().result["approvers"] == ["alice", "bob"]


@pytest.mark.parametrize("name", ["", "a b", "../x", "a|b", "alice\n", "x" * 200])
def test_an_approver_has_a_plain_name(governed, name):
    with pytest.raises(InvalidIdentifier):
        governed.approve(name)
    assert approvals(governed.workspace) == ()


@pytest.mark.parametrize("lasts", [timedelta(0), timedelta(seconds=-1), timedelta(days=366)])
def test_an_approval_holds_for_up_to_a_year(governed, lasts):
    with pytest.raises(InvalidInput):
        governed.approve("alice", lasts=lasts)


def test_approvals_at_the_same_time_are_all_kept(governed):
    names = [f"person-{number}" for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(governed.approve, names))
    assert sorted(each.approver for each in approvals(governed.workspace)) == sorted(names)


def test_lines_that_are_no_approvals_are_none(governed):
    governed.approve("alice")
    path = approvals_file(governed.workspace)
    line = json.loads(path.read_text())
    with path.open("ab") as stream:
        for change in ({"schema": "x/1"}, {"approved_at": "soon"}, {"version": "one"}):
            stream.write(json.dumps({**line, "approver": "mallory", **change}).encode() + b"\n")
        stream.write(b'{"schema": "schema_approval/1", "name": "bars"\n')
        stream.write(b'{"schema": "schema_appr')
    governed.approve("bob")
    found = standing(governed.workspace, governed.bars, governed.clock.now())
    assert [each.approver for each in found] == ["alice", "bob"]


def test_the_window_counts_days_since_the_last_failure(governed):
    governed.approve("alice", "bob")
    governed.days(5)
    governed.days(1, WRONG)
    governed.days(6)
    told = governed.refusal().message
    assert "clean checks on 1 more days" in told
    assert "so far 6 on 6 days, the last failure was at" in told
    governed.days(1)
    assert governed.promote().state == "succeeded"


def test_checks_of_no_rows_show_nothing(governed):
    governed.approve("alice", "bob")
    for _ in range(7):
        governed.clock.advance(DAY)
        governed.registry.check(governed.bars, (), node="daily", rows=0)
    assert "clean checks on 7 more days" in governed.refusal().message
    file = check_file(governed.workspace, "bars", 1)
    assert not file.exists()
    governed.days(7)
    lines = [json.loads(line) | {"rows": 0} for line in file.read_text().splitlines()]
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert "clean checks on 7 more days" in governed.refusal().message


def test_a_check_of_no_rows_that_fails_is_a_failure(governed):
    governed.registry.check(governed.bars, [WRONG], node="daily", rows=0)
    assert evidence(governed.workspace, governed.bars, governed.clock.now()).failures == 1


def test_many_checks_on_one_day_are_one_day(governed):
    governed.approve("alice", "bob")
    for _ in range(20):
        governed.clock.advance(61)
        governed.registry.check(governed.bars, (), node="daily", rows=1)
    assert "on 6 more days" in governed.refusal().message
    assert "1 more clean checks" in governed.refusal(window_checks=21).message
    assert governed.promote(window_checks=20).state == "succeeded"


def test_checks_of_another_content_show_nothing(governed):
    governed.ready()
    schema = own_bars(governed, key=("ts",))
    governed.days(7)
    own_bars(governed, key=("symbol", "ts"))
    governed.approve("alice", "bob")
    assert "so far 0 on 0 days" in governed.refusal().message
    assert evidence(governed.workspace, schema, governed.clock.now()).days == 7


def test_a_strict_version_that_was_changed_is_not_promoted_over_it(governed):
    own_bars(governed)
    governed.ready()
    governed.promote()
    before = read_states(governed.workspace, "bars")
    own_bars(governed, key=("ts",))
    governed.approve("alice", "bob")
    with pytest.raises(PrerequisitesNotMet, match="give the change the next version"):
        governed.promote(window_checks=1)
    assert read_states(governed.workspace, "bars") == before


def test_a_next_version_is_promoted_beside_the_one_before(governed):
    governed.ready()
    governed.promote()
    own_bars(governed, key=("symbol", "ts"))
    governed.days(7)
    governed.approve("alice", "bob")
    checks = governed.runner.sdk.validate_stage(ID, {"schema": "bars"}).checks
    told = {check.name: (check.status, check.detail) for check in checks}
    assert told["compatibility"][0] == "warning"
    assert "key changed" in told["compatibility"][1]
    before = governed.page
    assert governed.promote().state == "succeeded"
    assert governed.page.startswith(before)
    assert [each.version for each in read_states(governed.workspace, "bars")] == [1, 2]


def test_what_people_wrote_into_the_page_stays(governed):
    path = governed.workspace.root / PAGE
    path.parent.mkdir(parents=True)
    path.write_bytes(b"# Ours\r\n\xff no newline at the end")
    governed.ready()
    governed.promote()
    after = path.read_bytes()
    assert after.startswith(b"# Ours\r\n\xff no newline at the end\n\n### ")
    assert after.endswith(b"|\n")


def test_a_page_that_leads_out_of_the_workspace_is_not_written(governed, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (governed.workspace.root / "docs").symlink_to(outside, target_is_directory=True)
    governed.ready()
    record = governed.promote()
    assert record.error["code"] == "outside_workspace"
    assert list(outside.iterdir()) == []
    assert governed.mode == "canary"


@pytest.mark.parametrize("point", ["before_commit", "after_commit", "before_terminal_record"])
def test_a_killed_promotion_is_done_once(governed, point):
    # The child has the machine's clock: its approvals and checks are of now.
    now = FakeClock(datetime.now(UTC) - timedelta(days=8))
    governed.clock = now
    governed.days(7)
    governed.approve("alice", "bob")
    assert governed.runner.run_killed_at(point, ID, schema="bars") == -9
    assert governed.mode == ("canary" if point == "before_commit" else "strict")
    now.advance(DAY)
    governed.runner.sdk.clock = now
    record = governed.promote()
    assert record.state == "succeeded"
    assert governed.mode == "strict"
    assert governed.page.count("bars/1 is strict") == 1
    assert len(governed.runner.events("schema_promoted")) == 1


def test_a_promotion_that_stopped_after_its_entry_adds_none(governed, monkeypatch):
    governed.ready()
    module = "quant_sdk.schemas.promotion.write_states"
    with monkeypatch.context() as patch:
        patch.setattr(module, fail)
        assert governed.promote().state == "failed"
    assert governed.mode == "canary"
    assert governed.page.count("bars/1 is strict") == 1
    assert governed.promote().state == "succeeded"
    assert governed.page.count("bars/1 is strict") == 1


def test_a_promotion_that_died_before_its_event_is_told_by_the_next_run(governed, monkeypatch):
    governed.ready()
    with monkeypatch.context() as patch:
        patch.setattr("quant_stages.schemas.promote._facts", fail)
        died = governed.promote()
    assert died.state == "failed"
    assert governed.mode == "strict"
    assert governed.runner.events("schema_promoted") == []
    for _ in range(2):
        assert governed.promote().state == "succeeded"
    (event,) = governed.runner.events("schema_promoted")
    assert event["promoted_in"] == died.run_id
    assert event["bundle"] == bundle_fingerprint(governed.registry)


def test_a_plan_changes_with_approvals_and_content(governed):
    sdk = governed.runner.sdk
    governed.ready()
    first = sdk.validate_stage(ID, {"schema": "bars"}, rehearse=True)
    assert first.rehearsal["canary"]["days"] == 7
    assert first.plan_hash == sdk.validate_stage(ID, {"schema": "bars"}).plan_hash
    governed.approve("carol")
    assert first.plan_hash != sdk.validate_stage(ID, {"schema": "bars"}).plan_hash
    assert governed.page is None


def test_an_unknown_schema_or_version_is_refused(governed):
    for params in ({"schema": "bras"}, {"schema": "bars/1", "version": 2}, {"schema": "bars/9"}):
        with pytest.raises(PrerequisitesNotMet):
            governed.runner.run(ID, **params)
    governed.ready()
    assert governed.runner.run(ID, schema="bars/1", version=1).state == "succeeded"
