from __future__ import annotations

import math
import threading
from datetime import timedelta

import jsonschema
import orjson
import pytest
from _stages import BY_ID, STAGES, stage_of, stay
from hypothesis import given
from hypothesis import strategies as st

from quant_registry.clock import SystemClock
from quant_registry.control import (
    ANY,
    Directive,
    Target,
    dump_control,
    in_force,
    parse_control,
    supersede,
    throttle_in_force,
)
from quant_registry.errors import InvalidControl, InvalidInput
from quant_registry.schemas import read_schema
from quant_registry.status import read_status
from quant_sdk import QuantSDK, StageRegistry
from quant_sdk.testing.clock import START

RUN = "20260203T095000.000000Z-a.b-123456"
TARGET = Target(run_id=RUN, stage_id="a.b", started_at=START - timedelta(minutes=10))
SCOPES = [ANY, "a.b", RUN, "a.c"]


def _one(action, scope=ANY, rate=None, issued=-5.0, expires=None) -> Directive:
    return Directive(
        scope=scope,
        action=action,
        issued_at=START + timedelta(minutes=issued),
        expires_at=None if expires is None else START + timedelta(minutes=expires),
        max_requests_per_second=rate if action == "throttle" else None,
    )


def _rate(*directives) -> float | None:
    found = throttle_in_force(directives, TARGET, START)
    return found.max_requests_per_second if found else None


directives = st.lists(
    st.builds(
        _one,
        st.sampled_from(["pause", "resume", "cancel", "throttle"]),
        st.sampled_from(SCOPES),
        st.sampled_from([None, 0.5, 2.0]),
        st.integers(-15, 0),
        st.none() | st.integers(-5, 5),
    ),
    max_size=8,
)


@pytest.fixture
def sdk(workspace) -> QuantSDK:
    return QuantSDK(workspace.root, registry=StageRegistry(STAGES), actor="tester")


def test_the_short_form_throttles_every_run():
    (found,) = parse_control(b'{"action": "throttle", "max_requests_per_second": 2}', START)
    assert found == Directive(
        scope=ANY, action="throttle", issued_at=START, max_requests_per_second=2.0
    )
    assert parse_control(dump_control([found]), START) == (found,)


@pytest.mark.parametrize("rate", ["0", "-1", "true", '"2"', "[]", "1e-9", "1e99", None])
def test_a_rate_that_is_none_is_refused_and_a_forgotten_one_lifts_nothing(rate):
    field = "" if rate is None else f', "max_requests_per_second": {rate}'
    content = f'{{"action": "throttle"{field}}}'.encode()
    with pytest.raises(InvalidControl, match="max_requests_per_second") as caught:
        parse_control(content, START)
    assert "use pause" in caught.value.fix
    validator = jsonschema.Draft202012Validator(read_schema("control"))
    assert not validator.is_valid(orjson.loads(content))


def test_null_lifts_a_throttle_and_is_written_as_null():
    lifted = _one("throttle", rate=None)
    (entry,) = orjson.loads(dump_control([lifted]))["directives"]
    assert entry["max_requests_per_second"] is None
    jsonschema.Draft202012Validator(read_schema("control")).validate({"directives": [entry]})
    assert _rate(_one("throttle", rate=2.0, issued=-6), lifted) is None


def test_the_most_specific_throttle_wins_then_the_latest():
    wide, narrow = _one("throttle", rate=5.0, issued=-1), _one("throttle", "a.b", rate=2.0)
    assert _rate(wide, narrow) == 2.0
    assert _rate(narrow, _one("throttle", "a.b", rate=1.0, issued=-4)) == 1.0
    assert _rate(wide, _one("throttle", RUN, rate=None)) is None
    assert _rate(_one("throttle", "a.c", rate=1.0)) is None
    assert _rate(_one("throttle", rate=1.0, expires=0)) is None


@given(directives)
def test_throttles_and_pauses_are_weighed_apart(listed):
    throttles = [item for item in listed if item.action == "throttle"]
    others = [item for item in listed if item.action != "throttle"]
    assert in_force(listed, TARGET, START) == in_force(others, TARGET, START)
    assert throttle_in_force(listed, TARGET, START) == throttle_in_force(throttles, TARGET, START)


@given(directives, st.sampled_from(SCOPES), st.sampled_from([None, 1.0]))
def test_issuing_a_throttle_changes_nothing_of_pauses(listed, scope, rate):
    before = _issued(listed)
    after = supersede(before, _one("throttle", scope, rate=rate, issued=1), START)
    assert in_force(after, TARGET, START) == in_force(before, TARGET, START)


@given(directives, st.sampled_from(SCOPES), st.sampled_from(["pause", "resume", "cancel"]))
def test_issuing_anything_else_changes_nothing_of_throttles(listed, scope, action):
    before = _issued(listed)
    after = supersede(before, _one(action, scope, issued=1), START)
    assert throttle_in_force(after, TARGET, START) == throttle_in_force(before, TARGET, START)


@given(directives, st.sampled_from(SCOPES[:3]), st.sampled_from([None, 1.0]))
def test_a_throttle_that_is_issued_is_kept_unless_a_narrower_one_is(listed, scope, rate):
    after = supersede(_issued(listed), _one("throttle", scope, rate=rate, issued=1), START)
    found = throttle_in_force(after, TARGET, START)
    if found is None or found.scope == scope:
        assert (found.max_requests_per_second if found else None) == rate
    else:
        assert TARGET.specificity(found.scope) > TARGET.specificity(scope)


def test_what_lifts_a_throttle_is_kept_only_under_a_wider_one():
    wide = _one("throttle", rate=5.0)
    off = _one("throttle", "a.b", rate=None, issued=-4)
    assert supersede([wide], off, START) == (wide, off)
    assert supersede([_one("pause")], off, START) == (_one("pause"),)
    assert supersede([wide, off], _one("throttle", rate=None, issued=-3), START) == ()


def _issued(listed) -> tuple[Directive, ...]:
    """Return what stands after the wishes were issued one after the other."""
    standing: tuple[Directive, ...] = ()
    for item in listed:
        standing = supersede(standing, item, START)
    return standing


def test_a_live_run_hears_a_throttle_shows_it_and_tells_of_its_end(sdk, workspace, background):
    spec = BY_ID["test.hang"]
    run = background(spec)
    run.wait_for_event("at_work")
    answer = sdk.throttle(2, spec.id, reason="others need the venue")
    assert (answer.outcome, answer.standing) == ("throttled", (spec.id,))
    status = read_status(workspace.status_file(spec, run.run_id))
    jsonschema.Draft202012Validator(read_schema("status")).validate(status)
    assert status["control"]["throttle"]["max_requests_per_second"] == 2
    assert (status["state"], status["control"]["directive"]) == ("running", None)
    assert sdk.throttle(5).outcome == "still_throttled"
    exempt = sdk.throttle(None, spec.id)
    assert (exempt.outcome, exempt.lifted, exempt.standing) == ("unthrottled", (spec.id,), ("*",))
    assert sdk.throttle(5).outcome == "throttled"  # the exception was to an earlier throttle
    assert sdk.throttle(None).outcome == "unthrottled"
    run.cancel()
    told = [event for event in run.events() if event["event"] in {"throttled", "unthrottled"}]
    rates = [event["max_requests_per_second"] for event in told]
    assert rates == [2.0, None, 5.0, None]
    for event in told:
        jsonschema.Draft202012Validator(read_schema("audit")).validate(event)
    assert told[0]["directive"]["reason"] == "others need the venue"


def test_a_throttle_does_not_shadow_a_pause_nor_the_other_way_round(sdk, background, wait_until):
    run = background(BY_ID["test.hang"])
    run.wait_for_event("at_work")
    assert sdk.pause().runs[0]["outcome"] in {"paused", "pausing"}
    wait_until(lambda: run.events("paused"))
    assert sdk.throttle(3, run.run_id).outcome == "throttled"
    assert sdk.status(run.run_id)[0]["state"] == "paused"
    assert sdk.resume().outcome == "resumed"
    assert sdk.status(run.run_id)[0]["control"]["throttle"]["max_requests_per_second"] == 3
    run.cancel()


def test_a_throttle_holds_for_later_runs_and_expires(sdk, workspace, background, clock):
    now = clock.now()
    throttle = Directive(
        scope=ANY,
        action="throttle",
        issued_at=now,
        expires_at=now + timedelta(minutes=30),
        max_requests_per_second=4.0,
    )
    workspace.lakehouse.mkdir(parents=True)
    workspace.control.write_bytes(dump_control([throttle]))
    seen = []

    def body(run, params):
        seen.append(run.max_requests_per_second)
        run.emit("at_work")
        stay(run)

    run = background(stage_of(body), clock=clock)
    run.wait_for_event("at_work")
    clock.advance(31 * 60)
    run.wait_for_event("unthrottled")
    assert seen == [4.0]
    assert [event["event"] for event in run.events()][:2] == ["run_started", "throttled"]
    run.cancel()


def test_a_child_hears_the_throttle_of_its_parent():
    child = Target(
        run_id="20260203T095100.000000Z-a.c-654321",
        stage_id="a.c",
        started_at=START,
        parent_run_id=RUN,
    )
    found = throttle_in_force([_one("throttle", RUN, rate=2.0)], child, START)
    assert found is not None


def test_standing_throttles_are_told(sdk):
    sdk.throttle(0.5, lasts=timedelta(minutes=5), reason="nightly")
    (throttle,) = sdk.standing()["throttles"]
    assert (throttle["max_requests_per_second"], throttle["reason"]) == (0.5, "nightly")
    assert sdk.standing()["pauses"] == []
    sdk.throttle(None)
    assert sdk.standing()["throttles"] == []


@pytest.mark.parametrize("rate", [0, -1, math.nan, math.inf, True, 10**400])
def test_a_rate_out_of_bounds_is_refused_and_nothing_is_written(sdk, workspace, rate):
    with pytest.raises(InvalidInput) as caught:
        sdk.throttle(rate)
    assert "pause" in caught.value.fix
    assert not workspace.control.exists()


def test_lifting_a_throttle_has_no_duration(sdk):
    with pytest.raises(InvalidInput, match="lasts for a time"):
        sdk.throttle(None, lasts=timedelta(minutes=5))


def test_rest_takes_its_time_and_goes_on(background, clock):
    def body(run, params):
        before = run.clock.monotonic()
        assert run.rest(3600) is True
        assert run.rest(0) is True
        assert run.rest(-5) is True
        return {"rested": run.clock.monotonic() - before}

    record = background(stage_of(body), clock=clock).end()
    assert record.result == {"rested": pytest.approx(3600)}


@pytest.mark.parametrize("how", ["directive", "stop"])
def test_a_cancel_ends_the_rests_of_all_threads(sdk, background, how):
    answers = []
    resting = threading.Barrier(4)

    def ask(item):
        resting.wait(30)
        answers.append((run_of[0].rest(3600), run_of[0].rest(3600)))
        return item

    run_of = []

    def body(run, params):
        run_of.append(run)
        run.emit("at_work")
        list(run.map(ask, range(4), workers=4, ahead=4))

    run = background(stage_of(body))
    run.wait_for_event("at_work")
    began = SystemClock().monotonic()
    if how == "directive":
        sdk.cancel(run.run_id)
        record = run.end()
    else:
        record = run.cancel()
    assert record.state == "cancelled"
    assert answers == [(False, False)] * 4
    assert SystemClock().monotonic() - began < 20
