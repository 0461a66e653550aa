"""What holds for every command: help, options, light start, one way to answer and to fail."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest
from _quant import Quant, fill
from click.testing import CliRunner

from quant_cli.lazy import StageGroup
from quant_cli.main import COMMANDS, root

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEAVY = {"polars", "pyarrow", "deltalake", "httpx", "pydantic", "rich", "watchdog", "asyncio"}


def leaves(
    group: click.Group, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group) and not isinstance(command, StageGroup):
            yield from leaves(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS_FOUND = list(leaves(root, ()))


def loaded_after(*args: str, cwd: Path) -> set[str]:
    code = (
        "import sys; from quant_cli.main import main; "
        f"main({list(args)!r}) if {bool(args)} else None; "
        "print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=True
    )
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("path", "command"),
    COMMANDS_FOUND,
    ids=lambda item: " ".join(item) if isinstance(item, tuple) else "",
)
def test_every_command_has_help_and_answers_in_json(path, command):
    names = {option for parameter in command.params for option in parameter.opts}
    assert command.help
    assert {"--json", "--workspace"} <= names
    assert all(
        parameter.help for parameter in command.params if isinstance(parameter, click.Option)
    )
    shown = CliRunner().invoke(root, [*path, "--help"])
    assert shown.exit_code == 0
    assert command.help.splitlines()[0][:20] in shown.output


def test_help_of_the_root_is_the_help_of_its_commands():
    for name, (_, text) in COMMANDS.items():
        command = root.get_command(click.Context(root), name)
        assert command is not None
        assert text.endswith(".")
        assert command.name == name


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("--help",),
        ("stage", "list", "--json"),
        ("status", "--json"),
        ("run", "list"),
        ("lock", "show"),
        ("stage", "run", "--help"),
        ("doctor",),
        ("audit", "verify"),
        ("watch", "--once"),
        ("wait", "nobody"),
        ("explain", "nobody"),
    ],
)
def test_a_command_that_only_looks_loads_nothing_heavy(tmp_path, args):
    assert not HEAVY & loaded_after(*args, cwd=tmp_path)


def test_a_no_op_run_loads_nothing_heavy(quant):
    assert not HEAVY & loaded_after("stage", "run", "demo.noop", cwd=quant.root)


ANSWERS = [
    (("stage", "list"), "stages"),
    (("stage", "show", "demo.kinds"), "params_schema"),
    (("stage", "validate", "demo.noop"), "checks"),
    (("stage", "run", "demo.noop"), "run_id"),
    (("stage", "run", "demo.noop", "--dry-run"), "plan"),
    (("run", "list"), "runs"),
    (("status",), "runs"),
    (("status", "demo.noop"), "runs"),
    (("pause",), "outcome"),
    (("resume",), "outcome"),
    (("cancel",), "outcome"),
    (("throttle", "2", "--for", "30m"), "outcome"),
    (("throttle", "--off"), "outcome"),
    (("watch", "--once"), "runs"),
    (("audit", "verify"), "chains"),
    (("doctor",), "probes"),
    (("lock", "show"), "locks"),
    (("lock", "show", "demo.noop"), "locks"),
    (("schema", "list"), "schemas"),
    (("schema", "show", "run"), "properties"),
    (("schema", "show", "bars"), "columns"),
    (("schema", "diff", "bars", "ticks"), "changes"),
    (("schema", "approve", "bars", "--as", "alice"), "approvers"),
    (("schema", "drift"), "drift"),
    (("lakehouse", "tables"), "tables"),
    (("lakehouse", "coverage"), "series"),
    (("lakehouse", "wipe", "--yes"), "removed"),
    (("quarantine", "list"), "quarantine"),
    (("quarantine", "show"), "rows"),
    (("snapshot", "list"), "snapshots"),
    (("snapshot", "verify"), "ok"),
    (("--version",), "version"),
]


@pytest.mark.parametrize(
    ("args", "key"), ANSWERS, ids=lambda item: " ".join(item) if isinstance(item, tuple) else ""
)
def test_json_is_all_that_stands_on_stdout(quant, args, key):
    quant("stage", "run", "demo.noop")
    head, rest = (("--json",), args) if args[0] == "--version" else ((), (*args, "--json"))
    done = quant(*head, *rest)
    assert done.returncode == 0, done.stderr
    assert key in json.loads(done.stdout)
    assert done.stdout.count("\n") == 1


def test_output_format_may_come_from_the_environment(quant):
    done = quant("stage", "list", QUANT_OUTPUT="json")
    assert json.loads(done.stdout)["truncated"] is False


def test_common_options_may_stand_before_the_command(quant, tmp_path_factory):
    elsewhere = Quant(tmp_path_factory.mktemp("elsewhere"))
    done = elsewhere("--workspace", str(quant.root), "--json", "stage", "list")
    assert "demo.noop" in {stage["id"] for stage in json.loads(done.stdout)["stages"]}


def test_a_stage_is_found_in_the_workspace_named_behind_it(quant, tmp_path_factory):
    elsewhere = Quant(tmp_path_factory.mktemp("elsewhere"))
    record = elsewhere.json("stage", "run", "demo.noop", "--workspace", str(quant.root))
    assert record["state"] == "succeeded"
    assert not list(elsewhere.root.iterdir())


def test_the_nearest_workspace_wins(quant, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    fill(other)
    quant("--workspace", str(quant.root), "stage", "run", "demo.noop", "--workspace", str(other))
    assert (other / "data").exists()
    assert not (quant.root / "data").exists()


@pytest.mark.parametrize(
    ("args", "code", "exits"),
    [
        (("stag",), "usage", 2),
        (("stage", "lst"), "usage", 2),
        (("stage", "list", "--nonsense"), "usage", 2),
        (("stage", "show", "demo.nop"), "unknown_stage", 2),
        (("stage", "run", "demo.nop"), "unknown_stage", 2),
        (("stage", "run", "demo.kinds", "--batch-size", "0"), "invalid_params", 2),
        (("stage", "run", "demo.kinds", "--batch-size", "x"), "usage", 2),
        (("stage", "run", "demo.kinds", "--extra", "{"), "usage", 2),
        (("stage", "run", "demo.noop", "--lock-id", "../x"), "invalid_identifier", 2),
        (("stage", "run", "demo.unready"), "prerequisites_not_met", 3),
        (("run", "show", "demo.nop"), "unknown_run", 2),
        (("run", "tail", "nobody", "--follow"), "unknown_run", 2),
        (("run", "tail", "--since-seq", "3"), "invalid_input", 2),
        (("run", "list", "--stage", "demo.nop"), "unknown_stage", 2),
        (("status", "nobody"), "unknown_run", 2),
        (("wait", "nobody"), "unknown_run", 2),
        (("explain", "nobody"), "unknown_run", 2),
        (("audit", "verify", "nobody"), "unknown_run", 2),
        (("audit", "tail", "nobody", "--follow"), "unknown_run", 2),
        (("lock", "recover", "demo.noop", "nobody"), "invalid_input", 2),
        (("watch",), "usage", 2),
        (("schema", "show", "rnu"), "unknown_schema", 2),
        (("schema", "diff", "bars", "bras"), "unknown_schema", 2),
        (("schema", "approve", "bras", "--as", "alice"), "unknown_schema", 2),
        (("schema", "approve", "bars", "--as", "a b"), "invalid_identifier", 2),
        (("schema", "approve", "bars"), "usage", 2),
        (("pause", "--for", "soon"), "usage", 2),
        (("throttle",), "usage", 2),
        (("throttle", "0"), "invalid_input", 2),
        (("throttle", "--off", "--for", "30m"), "invalid_input", 2),
        (("pause", "--scope", "nobody"), "invalid_input", 2),
        (("lakehouse", "wipe"), "invalid_input", 2),
        (("lakehouse", "bars", "BINANCE:ADABTC", "5m"), "no_data", 3),
        (("stage", "list", "--workspace", "nowhere"), "invalid_input", 2),
    ],
    ids=lambda item: " ".join(item) if isinstance(item, tuple) else "",
)  # fmt: skip
def test_an_error_has_code_message_fix_and_exit_code(quant, args, code, exits):
    answer = quant.json(*args, exits=exits)
    assert list(answer) == ["error"]
    assert answer["error"]["code"] == code
    assert answer["error"]["exit_code"] == exits
    assert answer["error"]["fix"]
    said = quant(*args)
    assert said.returncode == exits
    assert not said.stdout
    assert said.stderr.startswith("error: ")
    assert "\nfix: " in said.stderr


def test_an_unknown_name_answers_with_the_nearest(quant):
    assert "demo.noop" in quant.json("stage", "run", "demo.nop", exits=2)["error"]["fix"]
    assert "stage" in quant.json("stagee", exits=2)["error"]["message"]


def test_an_unexpected_exception_is_one_line_and_a_traceback_on_request(quant):
    (quant.root / "data").write_text("a file where a folder should be")
    done = quant("pause")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert "Traceback" in quant("pause", QUANT_DEBUG="1").stderr


def test_quant_alone_shows_its_help(quant):
    done = quant()
    assert done.returncode == 2
    assert "Commands:" in done.stderr


def test_a_reader_that_leaves_is_no_error(quant):
    quant("stage", "run", "demo.noop")
    for args in (("run", "tail", "--follow"), ("stage", "list"), ("stage", "run", "demo.noop")):
        process = quant.start(*args)
        process.stdout.close()
        said = process.stderr.read()
        process.stderr.close()
        if args[0] == "run":
            # It notices with the next event.
            quant("stage", "run", "demo.noop")
        assert process.wait() == 0
        assert "error" not in said
        assert "Traceback" not in said


def test_broken_plugins_are_warnings_in_text_and_listed_in_json(quant):
    (quant.root / "quant.yml").write_text('stages: ["mystages:STAGES", "gone:STAGES"]\n')
    assert "gone" in quant("stage", "list").stderr
    [broken] = quant.json("stage", "list")["broken"]
    assert broken["code"] == "broken_plugin"
    assert "gone" in quant.json("stage", "run", "gone.stage", exits=2)["error"]["fix"]
    assert quant.json("stage", "run", "demo.noop")["state"] == "succeeded"


def test_wipe_asks_on_a_terminal(quant):
    (quant.root / "data" / "lakehouse").mkdir(parents=True)
    for answer, kept in ((b"n\n", True), (b"y\n", False)):
        leader, follower = pty.openpty()
        process = quant.start("lakehouse", "wipe", stdin=follower, stderr=follower)
        os.close(follower)
        os.write(leader, answer)
        process.communicate()
        os.close(leader)
        assert process.returncode == (130 if kept else 0)
        assert (quant.root / "data" / "lakehouse").exists() is kept


def test_every_schema_that_is_listed_is_shown(quant):
    names = [schema["name"] for schema in quant.json("schema", "list")["schemas"]]
    assert "status" in names
    for name in names:
        assert {"$schema", "schema"} & set(quant.json("schema", "show", name))
