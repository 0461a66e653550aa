"""Where reports are kept, and how a URI finds them."""

from __future__ import annotations

import json
import threading
from datetime import timedelta

import jsonschema
import pytest
from _reports import NOW, changed, report_of

from quant_registry.errors import (
    Corrupted,
    InvalidIdentifier,
    NoData,
    OutsideWorkspace,
    UnknownName,
)
from quant_registry.schemas import read_schema
from quant_sdk.observability import Entry, ReportStore, ReportUri, open_report

NODE = "table:bars"
HOME = "data/artifacts/observability/seamless"


@pytest.fixture
def store(workspace) -> ReportStore:
    return ReportStore(workspace)


def spikes(count: int, node: str = NODE, **fields):
    return report_of(node, counts={"return_spike": count}, **fields)


@pytest.mark.parametrize("node", ["a", "table:bars", "BINANCE.ada-btc_1", "9", "x" * 128])
def test_a_plain_name_is_a_node(node):
    assert ReportUri.parse(f"qmtl://observability/seamless/{node}").node == node
    assert str(ReportUri(node=node)) == f"qmtl://observability/seamless/{node}"


@pytest.mark.parametrize(
    "node",
    ["", "..", ".hidden", "a..b", "../x", "a b", "a\x00", "a\n", "é", "x" * 129, "-x", "a%2e", "~"],
)
def test_what_could_leave_the_folder_is_no_node(store, node):
    with pytest.raises(InvalidIdentifier):
        ReportUri(node=node)
    with pytest.raises(InvalidIdentifier):
        store.save(report_of(node), now=NOW)
    with pytest.raises(InvalidIdentifier):
        store.latest(node)


@pytest.mark.parametrize(
    "uri",
    [
        "qmtl://observability/seamless/",
        "qmtl://observability/other/a",
        "https://observability/seamless/a",
        "qmtl://observability/seamless/a/../b",
        "qmtl://observability/seamless/a/b/c",
        "qmtl://observability/seamless/a/ABCDEF01",
        "qmtl://observability/seamless/a/abc",
    ],
)
def test_what_is_no_uri_of_a_report_is_refused(store, uri):
    with pytest.raises(InvalidIdentifier) as caught:
        store.read(uri)
    assert caught.value.fix


def test_a_report_comes_back_as_it_was_kept(store, workspace):
    report = spikes(3)
    saved = store.save(report, now=NOW, run_id="run-1")
    assert saved.is_new
    assert saved.uri == f"qmtl://observability/seamless/{NODE}/{report.digest}"
    assert saved.path == f"{HOME}/{NODE}/archive/20240601T120000.000000Z-{report.digest}.json"
    for name in (saved.uri, f"qmtl://observability/seamless/{NODE}", NODE, saved.uri[:-50]):
        found = open_report(workspace, name)
        assert found == saved
        assert found.report == report
    latest = json.loads((workspace.root / HOME / NODE / "latest.json").read_bytes())
    assert latest == saved.to_dict()


def test_what_is_kept_is_as_its_schemas_say(store, workspace):
    store.save(spikes(1), now=NOW)
    saved = store.save(spikes(2), now=NOW, run_id="run-1", gate_worse=True)
    document = json.loads((workspace.root / saved.path).read_bytes())
    jsonschema.validate(document, read_schema("saved_report"))
    jsonschema.validate(document["report"], read_schema("conformance"))


def test_reports_are_listed_newest_first_and_told_oldest_first(store):
    made = [store.save(spikes(count), now=NOW + timedelta(hours=count)) for count in range(4)]
    assert [entry.uri for entry in store.entries(NODE)] == [saved.uri for saved in made[::-1]]
    assert store.history(NODE, 3) == tuple(made[1:])
    store.save(report_of("other"), now=NOW)
    assert store.nodes() == ("other", NODE)
    assert ReportStore(store._workspace).entries("nobody") == ()


def test_each_report_is_compared_with_the_one_before(store):
    assert store.save(spikes(2), now=NOW).regression.outcome == "first"
    worse = store.save(spikes(3), now=NOW)
    assert (worse.regression.outcome, worse.regression.is_worse) == ("worse", True)
    assert store.save(spikes(1), now=NOW).regression.outcome == "better"
    assert store.latest(NODE).regression.before == worse.report.digest


def test_a_report_that_says_the_same_is_not_kept_twice(store, workspace):
    first = store.save(spikes(1), now=NOW, run_id="run-1")
    before = sorted((path, path.stat().st_mtime_ns) for path in workspace.root.rglob("*.json"))
    again = store.save(spikes(1), now=NOW + timedelta(days=1), run_id="run-2")
    assert (again.is_new, again.uri, again.run_id) == (False, first.uri, "run-1")
    assert again.regression.outcome == "same"
    assert before == sorted(
        (path, path.stat().st_mtime_ns) for path in workspace.root.rglob("*.json")
    )
    store.save(spikes(2), now=NOW)
    assert store.save(spikes(1), now=NOW).is_new
    assert len(store.entries(NODE)) == 3


def test_a_clock_that_was_put_back_keeps_the_order(store):
    store.save(spikes(1), now=NOW)
    later = store.save(spikes(2), now=NOW - timedelta(days=9))
    assert store.latest(NODE) == later
    assert later.saved_at == "2024-06-01T12:00:00.000001Z"


def test_a_gate_goes_on_refusing_what_is_worse(store):
    store.save(spikes(1), now=NOW)
    refused = store.save(spikes(2), now=NOW, gate_worse=True)
    assert refused.refused
    again = store.save(spikes(2), now=NOW, gate_worse=True)
    assert (again.refused, again.is_new) == (True, False)
    assert again.regression.before == spikes(1).digest
    assert not store.save(spikes(1), now=NOW, gate_worse=True).refused


def test_what_was_refused_is_accepted_by_keeping_it_without_the_gate(store):
    store.save(spikes(1), now=NOW)
    assert store.save(spikes(2), now=NOW, gate_worse=True).refused
    accepted = store.save(spikes(2), now=NOW)
    assert (accepted.refused, accepted.is_new) == (False, True)
    assert not store.save(spikes(2), now=NOW, gate_worse=True).refused
    assert store.save(spikes(3), now=NOW, gate_worse=True).refused


def test_a_first_report_passes_the_gate_however_bad_it_is(store):
    assert not store.save(spikes(99), now=NOW, gate_worse=True).refused


def test_an_unknown_node_answers_with_the_nearest(store):
    store.save(report_of("table:bars"), now=NOW)
    with pytest.raises(NoData) as caught:
        store.latest("table:bar")
    assert "table:bars" in caught.value.fix


def test_an_unknown_digest_answers_with_the_last_ones(store):
    digest = store.save(spikes(1), now=NOW).report.digest
    with pytest.raises(UnknownName) as caught:
        store.read(f"{NODE}/{'0' * 64}")
    assert digest in caught.value.fix


def test_a_digest_that_begins_two_reports_is_refused(store, workspace):
    saved = store.save(spikes(1), now=NOW)
    archive = workspace.root / HOME / NODE / "archive"
    twin = Entry(node=NODE, saved_at=NOW, digest=saved.report.digest[:8] + "0" * 56)
    (archive / twin.name).write_text("{}")
    with pytest.raises(UnknownName, match="unknown") as caught:
        store.read(f"{NODE}/{saved.report.digest[:8]}")
    assert "more digits" in caught.value.fix
    assert store.read(saved.uri) == saved


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace('"rows_in":1000', '"rows_in":1001'),
        lambda text: text.replace("saved_report/1", "saved_report/9"),
        lambda text: text.replace('"regression":{', '"regression":[],"x":{'),
        lambda text: "[]",
        lambda text: "{}",
    ],
)
def test_a_damaged_report_is_told_and_stops_no_later_one(store, workspace, spoil):
    store.save(spikes(1), now=NOW)
    saved = store.save(spikes(2), now=NOW)
    path = workspace.root / saved.path
    path.write_text(spoil(path.read_text()))
    with pytest.raises(Corrupted) as caught:
        store.read(saved.uri)
    assert "archive" in caught.value.fix
    assert [item.report.digest for item in store.history(NODE)] == [spikes(1).digest]
    assert store.save(spikes(3), now=NOW).regression.before == spikes(1).digest


def test_one_report_under_anothers_name_is_damage(store, workspace):
    saved = store.save(spikes(1), now=NOW)
    path = workspace.root / saved.path
    other = path.with_name(path.name.replace(saved.report.digest, "0" * 64))
    path.rename(other)
    with pytest.raises(Corrupted, match="name"):
        store.latest(NODE)


def test_files_that_are_no_reports_are_passed_over(store, workspace):
    saved = store.save(spikes(1), now=NOW)
    archive = workspace.root / HOME / NODE / "archive"
    for name in (".half.tmp", "notes.txt", "x-y.json", "20240601T120000.000000Z-zz.json"):
        (archive / name).write_text("x")
    (workspace.root / HOME / "..x").mkdir()
    assert [entry.uri for entry in store.entries(NODE)] == [saved.uri]
    assert store.nodes() == (NODE,)


def test_the_copy_of_the_last_report_is_made_again(store, workspace):
    store.save(spikes(1), now=NOW)
    latest = workspace.root / HOME / NODE / "latest.json"
    whole = latest.read_bytes()
    for content in (None, b"torn"):
        latest.unlink()
        if content:
            latest.write_bytes(content)
        store.save(spikes(1), now=NOW)
        assert latest.read_bytes() == whole


def test_a_link_out_of_the_workspace_is_not_followed(store, workspace, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    home = workspace.root / HOME
    home.mkdir(parents=True)
    (home / "node").symlink_to(elsewhere)
    with pytest.raises(OutsideWorkspace):
        store.save(report_of("node"), now=NOW)
    assert not list(elsewhere.iterdir())


def test_what_is_no_folder_of_reports_is_passed_over_and_named(store, workspace, tmp_path_factory):
    store.save(report_of("node"), now=NOW)
    (workspace.root / HOME / "link").symlink_to(tmp_path_factory.mktemp("elsewhere"))
    (workspace.root / HOME / "Bad Name").mkdir()
    (workspace.root / HOME / "notes").write_text("x")
    assert store.nodes() == ("node",)
    assert [path.rpartition("/")[2] for path in store.strange()] == ["Bad Name", "link", "notes"]


def test_many_writers_lose_no_report(store):
    reports = [changed(spikes(1), rows_in=at) for at in range(12)]
    threads = [
        threading.Thread(target=store.save, args=(report,), kwargs={"now": NOW})
        for report in reports
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = store.history(NODE)
    assert {saved.report.digest for saved in kept} == {report.digest for report in reports}
    digests = [saved.report.digest for saved in kept]
    assert [saved.regression.before for saved in kept] == [None, *digests[:-1]]
    assert store.latest(NODE) == kept[-1]
