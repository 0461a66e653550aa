from __future__ import annotations

import os
import threading
from datetime import timedelta

import orjson
import pytest

from quant_registry import control_file
from quant_registry.clock import SystemClock
from quant_registry.control import Directive, supersede
from quant_registry.control_file import ABSENT, ControlFile
from quant_registry.errors import Conflict, InvalidControl


def _pause(scope="*"):
    return Directive(scope=scope, action="pause", issued_at=SystemClock().now())


def _add(new):
    return lambda old: supersede(old, new, new.issued_at)


@pytest.fixture
def control(workspace):
    return ControlFile(workspace)


@pytest.fixture
def editor(workspace):
    """Write the file as an editor does: no lock, a rename."""

    def write(text: str) -> None:
        workspace.lakehouse.mkdir(parents=True, exist_ok=True)
        aside = workspace.lakehouse / ".edited"
        aside.write_text(text)
        aside.replace(workspace.control)

    return write


def test_no_file_means_no_directives(control):
    found = control.read()
    assert (found.directives, found.digest, found.error) == ((), ABSENT, None)


def test_changes_at_once_lose_nothing(workspace):
    scopes = [f"a.s{n}" for n in range(24)]
    threads = [
        threading.Thread(target=lambda s=scope: ControlFile(workspace).change(_add(_pause(s))))
        for scope in scopes
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = ControlFile(workspace).read()
    assert {item.scope for item in found.directives} == set(scopes)


def test_an_editors_change_between_read_and_replace_is_kept(control, editor):
    turns = iter(['{"directives": [{"scope": "a.b", "action": "pause"}]}'])

    def edit(old):
        text = next(turns, None)
        if text is not None:
            editor(text)
        return supersede(old, _pause("a.c"), SystemClock().now())

    found = control.change(edit)
    assert {item.scope for item in found.directives} == {"a.b", "a.c"}


def test_a_file_that_keeps_changing_is_a_conflict(control, editor, monkeypatch):
    monkeypatch.setattr(control_file, "_TRIES", 5)
    count = iter(range(100))

    def edit(old):
        editor(f'{{"action": "pause", "reason": "{next(count)}"}}')
        return old

    with pytest.raises(Conflict):
        control.change(edit)


def test_deleting_the_file_never_resumes(control, workspace, editor):  # req: control-deletion
    editor('{"action": "pause"}')
    control.remember(control.read())
    workspace.control.unlink()
    assert [item.action for item in control.read().directives] == ["pause"]
    found = control.change(_add(_pause("a.b")))
    assert [item.scope for item in found.directives] == ["*", "a.b"]


@pytest.mark.parametrize("text", ["{", "", "[]", '{"action": "halt"}', "{}"])
def test_a_malformed_file_leaves_the_last_good_in_force_and_is_set_aside(
    control, workspace, editor, text
):
    control.change(_add(_pause("a.b")))
    editor(text)
    found = control.read()
    assert isinstance(found.error, InvalidControl)
    assert [item.scope for item in found.directives] == ["a.b"]
    after = control.change(_add(_pause("a.c")))
    assert after.error is None
    assert {item.scope for item in after.directives} == {"a.b", "a.c"}
    (aside,) = workspace.lakehouse.glob("migration_control.json.malformed-*")
    assert aside.read_text() == text


def test_a_broken_last_good_copy_is_set_aside_too(control, workspace):
    control.change(_add(_pause("a.b")))
    workspace.control.unlink()
    workspace.last_control.write_text("{")
    assert control.read().error is not None
    assert control.change(_add(_pause("a.c"))).error is None


def test_what_is_no_file_is_refused_with_its_own_reason(control, workspace):
    workspace.control.mkdir(parents=True)
    assert control.read().error is not None
    with pytest.raises(InvalidControl, match="directory"):
        control.change(_add(_pause()))


def test_a_missing_issue_time_is_the_files_own(control, workspace, editor):
    editor('{"action": "cancel"}')
    moment = SystemClock().now() - timedelta(days=3)
    os.utime(workspace.control, (moment.timestamp(), moment.timestamp()))
    (found,) = control.read().directives
    assert abs(found.issued_at - moment) < timedelta(milliseconds=1)


def test_what_is_written_is_the_full_form(control, workspace):
    control.change(_add(_pause("a.b")))
    document = orjson.loads(workspace.control.read_bytes())
    assert document["schema"] == "control/1"
    assert document["directives"][0]["scope"] == "a.b"
