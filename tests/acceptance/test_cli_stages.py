"""``quant stage``: options from the params model, outcomes as exit codes."""

from __future__ import annotations

import json

import pytest

from quant_cli.options import StageOptions, flag_of


def test_options_come_from_the_params_model(quant):
    text = " ".join(quant("stage", "run", "demo.kinds", "--help").stdout.split())
    for expected in (
        "--manifest PATH", "Where the manifest is.", "[default: data/manifest.json]",
        "--profile TEXT", "[default: first]", "--strict / --no-strict", "--batch-size INTEGER",
        "--share FLOAT", "--mode [fast|safe]", "--colour [red|blue]", "--levels INTEGER",
        "--extra JSON", "--stage-fresh / --no-stage-fresh", "--dry-run", "--lock-id",
    ):  # fmt: skip
        assert expected in text
    assert "--batch-size" in quant("stage", "validate", "demo.kinds", "--help").stdout
    assert "--batch-size" in quant("stage", "show", "demo.kinds").stdout


def test_options_of_all_kinds_reach_the_body(quant):
    record = quant.json(
        "stage", "run", "demo.kinds",
        "--manifest", "other.json", "--profile", "a", "--profile", "b", "--strict", "--no-keep",
        "--batch-size", "7", "--share", "0.5", "--mode", "fast", "--colour", "blue",
        "--levels", "1", "--levels", "2", "--extra", '{"x": 1}', "--stage-fresh",
    )  # fmt: skip
    assert record["result"] == {
        "manifest": "other.json",
        "profile": ["a", "b"],
        "strict": True,
        "keep": False,
        "batch_size": 7,
        "share": 0.5,
        "mode": "fast",
        "colour": "blue",
        "levels": [1, 2],
        "extra": {"x": 1},
        "fresh": True,
    }


def test_options_left_out_are_left_to_the_model(quant):
    record = quant.json("stage", "run", "demo.kinds")
    assert record["result"]["profile"] == ["first"]
    assert record["result"]["keep"] is True
    assert record["result"]["share"] is None


@pytest.mark.parametrize(
    ("field", "kind", "many"),
    [
        ({"type": "string"}, "text", False),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "integer", False),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, "text", False),
        ({"$ref": "#/$defs/Mode"}, "choice", False),
        ({"anyOf": [{"$ref": "#/$defs/Mode"}, {"type": "null"}]}, "choice", False),
        ({"type": "array", "items": {"$ref": "#/$defs/Mode"}}, "choice", True),
        ({"const": "only", "type": "string"}, "choice", False),
        ({"type": "array", "items": {"type": "object"}}, "text", False),
        ({"type": "object"}, "text", False),
        ({}, "text", False),
    ],
)
def test_every_form_of_a_field_becomes_an_option(field, kind, many):
    schema = {
        "properties": {"some_field": field},
        "$defs": {"Mode": {"enum": ["a", "b"], "type": "string"}},
    }
    [option] = StageOptions(schema).options
    assert option.opts == ["--some-field"]
    assert option.type.name == kind
    assert option.multiple is many


def test_a_required_field_is_a_required_option():
    schema = {"properties": {"symbol": {"type": "string"}}, "required": ["symbol"]}
    [option] = StageOptions(schema).options
    assert option.required


def test_a_taken_name_gets_a_prefix():
    assert flag_of("lock_id") == "--stage-lock-id"
    assert flag_of("lock_name") == "--lock-name"


@pytest.mark.parametrize(
    ("stage", "state", "exits", "code"),
    [
        ("demo.noop", "succeeded", 0, None),
        ("demo.unlocked", "succeeded", 0, None),
        ("demo.fail", "failed", 1, "run_failed"),
        ("demo.source", "failed", 6, "source_error"),
    ],
)
def test_the_outcome_is_the_exit_code(quant, stage, state, exits, code):
    record = quant.json("stage", "run", stage, exits=exits)
    assert record["state"] == state
    assert record["exit_code"] == exits
    assert (record["error"] or {}).get("code") == code
    assert record["next_actions"]


def test_text_ends_with_result_state_and_next_step(quant):
    done = quant("stage", "run", "demo.noop")
    *_, result, state, following = done.stdout.splitlines()
    assert result == "rows  3"
    assert state.startswith("succeeded in ")
    assert following.startswith("next: quant run show ")
    assert done.stderr.splitlines()[0].startswith("run ")
    assert "a body that prints" in done.stderr


def test_text_of_a_failure_names_error_and_fix(quant):
    done = quant("stage", "run", "demo.source")
    assert "failed in" in done.stdout
    assert "error: the venue is away\nfix: try again later" in done.stderr


def test_a_failed_run_is_continued_and_fresh_starts_over(quant):
    first = quant.json("stage", "run", "demo.fail", exits=1)
    second = quant.json("stage", "run", "demo.fail", exits=1)
    assert second["continues"] == first["run_id"]
    assert quant.json("stage", "run", "demo.fail", "--fresh", exits=1)["continues"] is None


def test_lock_id_and_actor_are_the_callers(quant):
    record = quant.json("stage", "run", "demo.noop", "--lock-id", "session-7", "--actor", "agent-1")
    assert (record["lock_id"], record["actor"]) == ("session-7", "agent-1")
    [view] = quant.json("lock", "show", "demo.noop")["locks"]
    assert (view["state"], view["lock_id"], view["epoch"]) == ("free", "session-7", 1)


def test_a_dry_run_writes_nothing(quant):
    before = {path: path.stat().st_mtime_ns for path in quant.root.rglob("*.*")}
    answer = quant.json("stage", "run", "demo.noop", "--dry-run")
    assert answer["ok"] is True
    after = [path for path in quant.root.rglob("*.*") if "__pycache__" not in path.parts]
    assert all(before.get(path) == path.stat().st_mtime_ns for path in after)
    assert not (quant.root / "data").exists()


@pytest.mark.parametrize("args", [("stage", "validate"), ("stage", "run", "--dry-run")])
def test_a_stage_that_could_not_start_is_exit_code_3(quant, args):
    answer = quant.json(*args[:2], "demo.unready", *args[2:], exits=3)
    assert answer["ok"] is False
    assert answer["success_probability"] == 0
    assert "credentials" in {check["name"] for check in answer["checks"]}
    assert "cannot run" in quant(*args[:2], "demo.unready", *args[2:]).stdout


def test_stages_are_found_by_category_and_tag(quant):
    found = quant.json("stage", "list", "--category", "demo", "--tag", "quick")["stages"]
    assert [stage["id"] for stage in found] == ["demo.noop"]
    text = quant("stage", "list", "--category", "other").stdout.splitlines()
    assert text[0].split() == ["ID", "VERSION", "CATEGORY", "TAGS", "TITLE"]
    assert [line.split()[0] for line in text[1:]] == [
        "demo.fail", "demo.source", "demo.unlocked", "demo.unready",
    ]  # fmt: skip


def test_params_schema_is_part_of_show(quant):
    schema = quant.json("stage", "show", "demo.kinds")["params_schema"]
    assert schema["properties"]["batch_size"]["minimum"] == 1
    assert json.dumps(schema)
