"""Files that anybody may have written: read, or refused with a sentence; never a crash."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import pytest
from _stages import STAGES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quant_registry.audit import MAX_LINE_BYTES
from quant_registry.audit_reader import tail, verify_chain
from quant_registry.control import Target, dump_control, in_force, parse_control
from quant_registry.lock import view_lock_file
from quant_sdk import QuantSDK, StageRegistry
from quant_sdk.errors import QuantError
from quant_sdk.lakehouse.ledger import Ledger
from quant_sdk.lakehouse.symbols import SYMBOL_PATTERN, check_symbol

NOW = datetime(2026, 2, 3, tzinfo=UTC)
TARGET = Target(run_id="r", stage_id="t.stage", started_at=NOW)
fast = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
times = ["2026-02-03T00:00:00Z", "2026-02-03", "9999-12-31T23:59:59-23:59"]
directive = st.fixed_dictionaries(
    {},
    optional={
        "scope": st.sampled_from(["*", "r", "t.stage", ""]) | anything,
        "action": st.sampled_from(["pause", "resume", "cancel", "throttle"]) | anything,
        "max_requests_per_second": st.floats() | anything,
        "issued_at": st.sampled_from(
            ["2026-02-03T00:00:00Z", "2026-02-03", "9999-12-31T23:59:59-23:59"]
        )
        | anything,
        "expires_at": anything,
        "reason": anything,
    },
)


def answered(ask):
    """Return the answer, or None for a refusal, which must name a fix."""
    fix = None
    try:
        return ask()
    except QuantError as error:
        fix = error.fix
    assert fix
    return None


@fast
@given(content=st.binary(max_size=200) | anything.map(lambda x: json.dumps(x).encode()))
def test_any_bytes_in_the_control_file_are_directives_or_a_refusal(content):
    directives = answered(lambda: parse_control(content, NOW))
    if directives is not None:
        in_force(directives, TARGET, NOW)
        assert parse_control(dump_control(directives), NOW) == directives


@fast
@given(listed=st.lists(directive, max_size=3))
def test_any_directives_are_weighed_or_refused(listed):
    content = json.dumps({"directives": listed}).encode()
    directives = answered(lambda: parse_control(content, NOW))
    found = in_force(directives or (), TARGET, NOW)
    assert found is None or found.action in {"pause", "cancel"}


lines = st.lists(
    st.binary(max_size=60)
    | anything.map(lambda x: json.dumps(x).encode())
    | st.fixed_dictionaries(
        {"run_id": st.just("r"), "seq": anything, "hash": anything, "prev_hash": anything}
    ).map(lambda x: json.dumps(x).encode()),
    max_size=6,
)


@fast
@given(content=lines)
def test_any_audit_log_is_read_line_by_line_and_its_chains_judged(content, tmp_path):
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"\n".join(content))
    assert all(isinstance(event, dict) for event in tail(path))
    assert all(isinstance(event, dict) for event in tail(path, run_id="r", since_seq=0))
    assert all(report.ok or report.reason for report in verify_chain(path, heads={"r": (9, "x")}))


fields = [
    "state",
    "seq",
    "control",
    "progress",
    "owner",
    "epoch",
    "released_at",
    "lock_id",
    "phase",
]
statuses = anything | st.fixed_dictionaries(
    {"run_id": st.just("OWN")}, optional=dict.fromkeys(fields, anything)
)


@settings(fast, max_examples=30)
@given(document=statuses)
def test_any_status_or_owner_file_is_an_answer_or_a_refusal(document, tmp_path_factory):
    root = tmp_path_factory.mktemp("ws")
    sdk = QuantSDK(root, registry=StageRegistry(STAGES))
    record = sdk.run_stage("test.count")
    content = json.dumps(document).replace("OWN", record.run_id).encode()
    sdk.workspace.status_file(sdk.registry["test.count"], record.run_id).write_bytes(content)
    (sdk.workspace.locks / "test.count.owner.json").write_bytes(content)
    for ask in (
        sdk.status,
        lambda: sdk.status("test.count"),
        lambda: sdk.wait(record.run_id, timeout=0.1),
        lambda: sdk.pause(record.run_id),
        lambda: sdk.lock("test.count"),
        lambda: view_lock_file("x", sdk.workspace.locks / "test.count.lock"),
    ):
        answered(ask)


@fast
@given(content=lines)
def test_any_ledger_is_read_over_what_is_no_entry(content, tmp_path):
    (tmp_path / "ledger.jsonl").write_bytes(b"\n".join(content))
    assert Ledger(tmp_path).entries() == []


@given(text=st.text(max_size=40))
def test_any_text_is_a_symbol_or_refused(text):
    found = answered(lambda: check_symbol(text))
    assert found is None or re.fullmatch(SYMBOL_PATTERN, found)


@pytest.mark.parametrize("size", [10, 4 * MAX_LINE_BYTES])
def test_a_line_longer_than_any_of_ours_does_not_stop_a_reader(size, tmp_path):
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"x" * size + b'\n{"event": "after"}\n')
    assert [event["event"] for event in tail(path)] == ["after"]


def test_deeply_nested_json_is_refused_and_not_followed(tmp_path):
    from quant_registry.errors import InvalidControl

    with pytest.raises(InvalidControl):
        parse_control(b"[" * 100_000, NOW)
