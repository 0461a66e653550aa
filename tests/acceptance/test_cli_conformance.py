"""``quant conformance`` as a user runs it: on reports made by hand, and on the demo."""

from __future__ import annotations

import re
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from _quant import Quant
from _reports import NOW, daily_of, report_of, series_of
from test_cli_data import fresh_clone

from quant_registry.workspace import Workspace
from quant_sdk.conformance.settings import read_conformance_settings
from quant_sdk.observability import ReportStore

ROOT = Path(__file__).resolve().parents[2]
STAGE = "seamless.conformance"
PREFIX = "qmtl://observability/seamless/"


@pytest.fixture
def kept(quant):
    """Three reports of one node and one of another."""
    store = ReportStore(Workspace.resolve(quant.root))
    series = tuple(series_of(f"X:{at:02d}", missing=at) for at in range(60))
    made = [
        store.save(report, now=NOW + timedelta(hours=at))
        for at, report in enumerate(
            (
                report_of("table:bars", counts={"return_spike": 2}),
                report_of("table:bars", counts={"return_spike": 1}, series=series),
                report_of("table:bars", counts={"off_grid": 3}, daily=daily_of(["X:00"], 9)),
                report_of("ticks"),
            )
        )
    ]
    return [saved.uri for saved in made]


def test_reports_are_listed_by_node_and_for_one_node(quant, kept):
    answer = quant.json("conformance", "list")
    assert {item["node"]: item["uri"] for item in answer["reports"]} == {
        "table:bars": kept[2],
        "ticks": kept[3],
    }
    answer = quant.json("conformance", "list", "table:bars", "--limit", "2")
    assert [item["uri"] for item in answer["reports"]] == [kept[2], kept[1]]
    assert answer["truncated"] is True
    said = quant("conformance", "list", "table:bars").stdout
    assert kept[0] in said
    assert quant.json("conformance", "list", "nobody")["reports"] == []


@pytest.mark.parametrize(
    "name", ["table:bars", f"{PREFIX}table:bars", f"{PREFIX}table:bars/DIGEST", "table:bars/DIGEST"]
)
def test_a_report_is_found_by_node_and_by_uri(quant, kept, name):
    digest = kept[2].rpartition("/")[2]
    answer = quant.json("conformance", "report", name.replace("DIGEST", digest[:12]))
    assert answer["uri"] == kept[2]
    assert answer["report"]["digest"] == digest
    assert answer["report"]["verdict"] == "block"
    assert answer["flags"] == 3
    assert answer["regression"]["outcome"] == "mixed"
    assert (quant.root / answer["path"]).is_file()


def test_without_a_name_it_is_the_last_report_of_all(quant, kept):
    assert quant.json("conformance", "report")["uri"] == kept[3]


def test_the_answer_is_bounded_and_says_so(quant, kept):
    answer = quant.json("conformance", "report", kept[1], "--limit", "5")
    assert answer["truncated"] is True
    assert [item["missing"] for item in answer["report"]["series"]] == [59, 58, 57, 56, 55]
    assert "daily" not in answer["report"]
    assert "raise --limit" in quant("conformance", "report", kept[1]).stdout


def test_a_report_in_text_says_verdict_counts_and_changes(quant, kept):
    said = quant("conformance", "report", "table:bars").stdout
    assert said.splitlines()[0] == "block"
    for part in ("off_grid", "strict-blocking", "against the report before: mixed", kept[2]):
        assert part in said


def test_a_link_or_a_strange_folder_among_the_reports_is_named_and_passed_over(
    quant, kept, tmp_path_factory
):
    home = quant.root / "data" / "artifacts" / "observability" / "seamless"
    (home / "Bad Name").mkdir()
    (home / "link").symlink_to(tmp_path_factory.mktemp("elsewhere"))
    (home / "note.txt").write_text("x")
    said = quant("conformance", "list")
    assert said.returncode == 0
    assert kept[3] in said.stdout
    for name in ("Bad Name", "link", "note.txt"):
        assert f"seamless/{name} is no folder of reports" in said.stderr


def test_the_list_tells_the_verdicts(quant, kept):
    shown = quant.json("conformance", "list", "table:bars")["reports"]
    assert [item["verdict"] for item in shown] == ["block", "warn", "warn"]
    home = quant.root / "data" / "artifacts" / "observability" / "seamless" / "ticks"
    for path in home.rglob("*.json"):
        path.write_text("{")
    shown = quant.json("conformance", "list")["reports"]
    assert {item["node"]: item["verdict"] for item in shown}["ticks"] == "unreadable"
    assert quant("conformance", "list").stdout.split()[:4] == ["NODE", "SAVED_AT", "VERDICT", "URI"]


def test_a_report_in_text_shows_rows_as_wide_as_the_terminal(quant, kept):
    said = quant("conformance", "report", "table:bars", COLUMNS="60").stdout
    lines = said.splitlines()
    at = lines.index("off_grid: 1 of 3")
    assert "X:A" in lines[at + 1]
    assert len(lines[at + 1]) <= 60


def test_a_page_in_a_folder_that_is_not_there_is_refused(quant, kept):
    error = quant.json("conformance", "report", "--html", "nowhere/page.html", exits=2)["error"]
    assert "nowhere" in error["message"]
    assert not (quant.root / "nowhere").exists()


@pytest.mark.parametrize(
    "option",
    [
        ("--since", "tomorrow"),
        ("--preset", "nope"),
        ("--node", "a b"),
        ("--timeframe", "7x"),
    ],
)
def test_what_is_wrong_by_itself_exits_2(quant, option):
    assert quant.json("conformance", "run", *option, exits=2)["error"]["code"] == "invalid_params"


def test_the_page_is_written_where_it_is_wanted(quant, kept):
    (quant.root / "out").mkdir()
    answer = quant.json("conformance", "report", "table:bars", "--html", "out/page.html")
    page = (quant.root / "out" / "page.html").read_text(encoding="utf-8")
    assert answer["html"] == "out/page.html"
    assert page.startswith("<!DOCTYPE html>")
    assert page.count("<rect") > 3
    assert "Flags in the last 3 reports" in page
    said = quant("conformance", "report", "table:bars", "--html", "out/page.html").stdout
    assert "out/page.html" in said


def test_two_reports_are_compared(quant, kept):
    answer = quant.json("conformance", "diff", kept[0], kept[1])
    assert answer["before"] == kept[0]
    assert answer["after"] == kept[1]
    assert answer["outcome"] == "mixed"
    assert answer["counts"] == {"better": 1, "worse": 0, "new": 60, "gone": 1}
    assert "return_spike" in quant("conformance", "diff", kept[0], kept[1]).stdout


def test_one_node_is_compared_with_its_report_before(quant, kept):
    answer = quant.json("conformance", "diff", "table:bars")
    assert (answer["before"], answer["after"]) == (kept[1], kept[2])
    error = quant.json("conformance", "diff", "ticks", exits=3)["error"]
    assert "before" in error["message"]


def test_a_difference_can_be_a_gate(quant, kept):
    assert quant.json("conformance", "diff", "table:bars", "--gate-worse", exits=8)["changes"]
    assert quant.json("conformance", "diff", kept[2], kept[2], "--gate-worse")["outcome"] == "same"


@pytest.mark.parametrize(
    ("args", "code", "exits"),
    [
        (("report", "table:bar"), "no_data", 3),
        (("report", "../etc"), "invalid_identifier", 2),
        (("report", "file:///etc/passwd"), "invalid_identifier", 2),
        (("report", "table:bars/00000000"), "unknown_name", 2),
        (("diff", "nobody"), "no_data", 3),
        (("list", "a/b"), "invalid_identifier", 2),
    ],
)
def test_an_error_names_what_helps(quant, kept, args, code, exits):
    error = quant.json("conformance", *args, exits=exits)["error"]
    assert error["code"] == code
    assert error["fix"]


def test_without_reports_the_fix_is_to_make_one(quant):
    assert quant.json("conformance", "list")["reports"] == []
    error = quant.json("conformance", "report", exits=3)["error"]
    assert "quant conformance run" in error["fix"]


@pytest.fixture(scope="module")
def migrated(tmp_path_factory) -> Quant:
    quant = fresh_clone(tmp_path_factory.mktemp("migrated"))
    assert quant("stage", "run", "ops.migration.dataops_v2").returncode == 0
    return quant


@pytest.fixture
def copied(migrated, tmp_path) -> Quant:
    return Quant(Path(shutil.copytree(migrated.root, tmp_path / "copy")))


def test_the_demo_conforms_and_its_page_can_be_made(copied):
    answer = copied.json("conformance", "run", "--actor", "me")
    assert (answer["state"], answer["stage_id"], answer["actor"]) == ("succeeded", STAGE, "me")
    result = answer["result"]
    assert (result["verdict"], result["flags"]) == ("pass", 0)
    assert result["missing"] > 0
    shown = copied.json("conformance", "report", result["uri"], "--html", "page.html")
    assert shown["report"]["rows_in"] == result["rows_in"]
    assert "BINANCE:ADABTC" in (copied.root / "page.html").read_text(encoding="utf-8")
    again = copied("conformance", "run")
    assert again.returncode == 0
    assert "same" in again.stdout


def test_what_blocks_exits_8_and_leads_to_its_report(copied):
    bars = copied.json("lakehouse", "bars", "BINANCE:ADABTC", "5m", "--limit", "20")["bars"]
    lines = [",".join(bars[0]), *(",".join(map(str, bar.values())) for bar in bars)]
    lines[5] = lines[5].replace(f",{bars[4]['low']},", ",-1.0,", 1)
    (copied.root / "mine.csv").write_text("\n".join(lines) + "\n")
    only = ("--symbol", "BINANCE:ADABTC", "--timeframe", "5m", "--node", "mine")
    run = ("conformance", "run", "--path", "mine.csv", *only)
    answer = copied.json(*run, exits=8)
    assert answer["error"]["code"] == "conformance_blocked"
    uri = answer["error"]["fix"].rpartition(" ")[2]
    counts = {
        rule["rule"]: rule["count"]
        for rule in copied.json("conformance", "report", uri)["report"]["rules"]
    }
    assert counts["non_positive_price"] == 1
    assert copied.json(*run, "--mode", "partial_ok")["result"]["quarantined"] == 1
    said = copied(*run)
    assert said.returncode == 8
    assert "fix: see it: quant conformance report qmtl://" in said.stderr


def test_a_dry_run_checks_and_writes_nothing(copied):
    before = sorted(copied.root.rglob("*"))
    answer = copied.json("conformance", "run", "--dry-run", "--timeframe", "5m")
    assert answer["rehearsal"]["verdict"] == "pass"
    assert sorted(copied.root.rglob("*")) == before


def test_the_rules_are_listed_as_a_preset_has_them(copied):
    strict = copied.json("conformance", "rules")
    lax = copied.json("conformance", "rules", "--preset", "permissive-dev", "--kind", "bars")
    severities = [
        {rule["id"]: rule["severity"] for rule in item["rules"]} for item in (strict, lax)
    ]
    assert (severities[0]["return_spike"], severities[1]["return_spike"]) == ("block", "warn")
    assert {rule["kind"] for rule in strict["rules"]} == {"bars", "ticks", "quotes"}
    assert strict["presets"] == ["permissive-dev", "strict-blocking"]
    assert "off_grid" in copied("conformance", "rules").stdout
    assert copied.json("conformance", "rules", "--preset", "lax", exits=2)["error"]["fix"]


def test_the_settings_that_the_page_shows_are_accepted(tmp_path):
    page = (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8")
    [shown] = re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "quant.yml").write_text(shown)
    found = read_conformance_settings(Workspace.resolve(tmp_path))
    assert (found.mode, found.thresholds["max_return"]) == ("shadow", 20)
