from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_registry.control import ANY, Directive, Target, dump_control, in_force, parse_control
from quant_registry.control import supersede as issue
from quant_registry.errors import InvalidControl

NOW = datetime(2026, 2, 3, 10, tzinfo=UTC)
RUN = "20260203T095000.000000Z-a.b-123456"
TARGET = Target(run_id=RUN, stage_id="a.b", started_at=NOW - timedelta(minutes=10))


def _at(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


def _one(action, scope=ANY, issued=-5.0, expires=None) -> Directive:
    return Directive(
        scope=scope,
        action=action,
        issued_at=_at(issued),
        expires_at=None if expires is None else _at(expires),
    )


def _action(*directives, now=NOW, target=TARGET):
    found = in_force(directives, target, now)
    return found.action if found else None


def test_the_short_form_is_for_every_run_since_the_file_was_written():
    (found,) = parse_control(b'{"action": "pause"}', NOW)
    assert found == Directive(scope=ANY, action="pause", issued_at=NOW)


def test_the_full_form_keeps_every_field():
    first = Directive(
        scope="a.b",
        action="pause",
        issued_at=_at(-1),
        expires_at=_at(5),
        reason="bandwidth",
        actor="agent",
    )
    second = _one("cancel", RUN)
    assert parse_control(dump_control([first, second]), NOW) == (first, second)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '"pause"',
        "null",
        "{}",
        '{"acton": "pause"}',
        '{"action": "stop"}',
        '{"action": null}',
        '{"action": ["pause"]}',
        '{"directives": {}}',
        '{"directives": [1]}',
        '{"directives": [{}]}',
        '{"action": "pause", "scope": 1}',
        '{"action": "pause", "scope": ""}',
        '{"action": "pause", "issued_at": "yesterday"}',
        '{"action": "pause", "issued_at": "2026-02-03T10:00:00"}',
        '{"action": "pause", "issued_at": 5}',
        '{"action": "pause", "expires_at": "0001-01-01T00:00:00+12:00"}',
        '{"action": "pause", "expires_at": "9999-12-31T23:59:59-12:00"}',
        '{"action": "pause", "reason": "\\ud800"}',
    ],
)
def test_what_is_of_neither_form_is_refused_with_a_fix(text):
    with pytest.raises(InvalidControl) as caught:
        parse_control(text.encode(), NOW)
    assert caught.value.fix


@given(st.binary() | st.recursive(st.none() | st.text(), st.lists, max_leaves=5).map(orjson.dumps))
def test_any_bytes_are_read_or_refused(content):
    with suppress(InvalidControl):
        parse_control(content, NOW)


def test_the_most_specific_scope_wins_then_the_latest():  # req: control-precedence
    assert _action(_one("pause"), _one("resume", "a.b")) is None
    assert _action(_one("resume", issued=-1), _one("pause", "a.b", issued=-9)) == "pause"
    assert _action(_one("resume", RUN), _one("pause", "a.b"), _one("pause")) is None
    assert _action(_one("pause", issued=-2), _one("resume", issued=-1)) is None
    assert _action(_one("resume", issued=-2), _one("pause", issued=-1)) == "pause"
    assert _action(_one("pause"), _one("resume")) is None
    assert _action(_one("resume"), _one("pause")) == "pause"


def test_another_runs_scope_does_not_matter():
    assert _action(_one("pause", "a.c"), _one("cancel", "other")) is None


def test_cancel_touches_only_runs_started_before_it():  # req: cancel-edge
    assert _action(_one("cancel", issued=-5)) == "cancel"
    assert _action(_one("cancel", issued=-10)) is None
    assert _action(_one("cancel", issued=-15)) is None
    assert _action(_one("pause", issued=-20), _one("cancel", issued=-15)) == "pause"


def test_an_expired_directive_is_void():
    assert _action(_one("pause", expires=1)) == "pause"
    assert _action(_one("pause", expires=1), now=_at(1)) is None
    assert _action(_one("pause", issued=-9), _one("resume", issued=-5, expires=-1)) == "pause"


_directives = st.lists(
    st.builds(
        _one,
        st.sampled_from(["pause", "resume", "cancel"]),
        st.sampled_from([ANY, "a.b", RUN, "a.c"]),
        st.integers(-15, 0),
        st.none() | st.integers(-5, 5),
    ),
    max_size=8,
)


@given(_directives)
def test_in_force_agrees_with_looking_at_each_scope_in_turn(directives):
    expected = None
    for scope in (RUN, "a.b", ANY):
        live = [
            item
            for item in directives
            if item.scope == scope
            and (item.expires_at is None or item.expires_at > NOW)
            and not (item.action == "cancel" and item.issued_at <= TARGET.started_at)
        ]
        latest = [item for item in live if item.issued_at == max(other.issued_at for other in live)]
        if latest:
            expected = None if latest[-1].action == "resume" else latest[-1]
            break
    assert in_force(directives, TARGET, NOW) == expected


@given(_directives, st.sampled_from(["pause", "cancel"]), st.sampled_from([ANY, "a.b", RUN]))
def test_a_pause_or_cancel_that_is_issued_is_obeyed_unless_a_narrower_one_is(before, action, scope):
    after = issue(before, _one(action, scope, issued=0), NOW)
    found = in_force(after, TARGET, NOW)
    assert found is not None
    assert found.scope == scope or TARGET.specificity(found.scope) > TARGET.specificity(scope)


@given(st.lists(_directives, max_size=3), st.sampled_from([ANY, "a.b", RUN]))
def test_a_resume_that_is_issued_leaves_only_a_narrower_hold(lists, scope):
    after: tuple[Directive, ...] = ()
    for item in [directive for directives in lists for directive in directives]:
        after = issue(after, replace(item, issued_at=NOW, expires_at=None), NOW)
    after = issue(after, _one("resume", scope, issued=1), NOW)
    found = in_force(after, TARGET, NOW)
    assert (
        found is None
        or found.action == "cancel"
        or TARGET.specificity(found.scope) > TARGET.specificity(scope)
    )


def test_a_resume_does_not_shadow_the_pauses_of_next_week():
    held = issue(issue((), _one("pause"), NOW), _one("resume", "a.b"), NOW)
    assert [item.action for item in held] == ["pause", "resume"]
    assert issue(held, _one("resume"), NOW) == ()
    again = issue(held, _one("pause", issued=-1), NOW)
    assert _action(*again) == "pause"


def test_what_was_superseded_or_expired_is_dropped():
    old = (_one("pause", "a.b"), _one("pause", "a.c", expires=-1), _one("pause", ANY))
    new = _one("pause", "a.b", issued=0)
    assert issue(old, new, NOW) == (old[2], new)
