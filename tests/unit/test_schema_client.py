"""Canonical schemas in files, which version is in force, and what a check does in each mode."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import threading
from dataclasses import replace

import jsonschema
import pytest

from quant_registry.schemas import read_schema, schema_names
from quant_registry.workspace import Workspace
from quant_sdk.conformance.pipeline import ConformancePipeline
from quant_sdk.errors import ConformanceError, Corrupted, InvalidIdentifier, UnknownSchema
from quant_sdk.schemas import (
    CanonicalSchema,
    Column,
    FileSchemaRegistry,
    Finding,
    MemorySchemaRegistry,
    SchemaRegistryClient,
    bundle_fingerprint,
)
from quant_sdk.schemas.checks import check_file, recorded
from quant_sdk.schemas.client import CANONICAL, OWN, read_canonical, read_schema_file
from quant_sdk.schemas.journal import append_line, read_lines
from quant_sdk.schemas.state import State, read_states, state_file, write_states
from quant_sdk.testing import FakeClock

WRONG = Finding(code="dtype", severity="block", column="close", detail="text, not float64")
ODD = Finding(code="unexpected", severity="note", column="vwap", detail="not asked for")


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def registry(workspace, clock):
    return FileSchemaRegistry(workspace, clock=clock)


def make_strict(workspace, schema, **fields):
    state = State(
        name=schema.name,
        version=schema.version,
        fingerprint=schema.fingerprint,
        bundle="0" * 64,
        approvers=("alice", "bob"),
        promoted_by="carol",
        promoted_at="2026-02-03T10:00:00.000000Z",
        run_id="r",
    )
    others = [
        each for each in read_states(workspace, schema.name) if each.version != schema.version
    ]
    write_states(workspace, schema.name, [*others, replace(state, **fields)])


def own_schema(workspace, schema):
    path = workspace.root / OWN / schema.name / f"{schema.version}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(schema.to_dict()))
    return path


def lines_of(workspace, schema):
    return list(read_lines(check_file(workspace, schema.name, schema.version)))


def test_the_schemas_of_the_package_are_valid_documents():
    validator = jsonschema.Draft202012Validator(read_schema("canonical_schema"))
    paths = list(CANONICAL.glob("*/*.json"))
    assert len(paths) >= 11
    for path in paths:
        validator.validate(json.loads(path.read_bytes()))
        schema = read_canonical(path)
        assert schema.title
        assert schema.key
        assert all(column.description for column in schema.columns)


def test_no_schema_of_data_has_the_name_of_one_of_files():
    assert not set(FileSchemaRegistry().names()) & set(schema_names())


def test_every_instant_is_utc_microseconds_and_every_number_of_a_market_has_a_unit():
    for schema in FileSchemaRegistry():
        for column in schema.columns:
            if column.dtype == "timestamp":
                assert (column.unit, column.timezone) == ("us", "UTC"), (schema.id, column.name)
            if column.dtype == "float64":
                assert column.unit, (schema.id, column.name)


def test_a_fingerprint_is_the_same_in_every_process():
    code = "from quant_sdk.schemas import *; print(bundle_fingerprint(FileSchemaRegistry()))"
    prints = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        for _ in range(2)
    }
    assert prints == {bundle_fingerprint(FileSchemaRegistry())}


def test_reading_schemas_loads_nothing_heavy():
    code = (
        "from quant_sdk.schemas import FileSchemaRegistry; from quant_sdk.schemas import promotion;"
        "[s.fingerprint for s in FileSchemaRegistry()]; import sys; print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"polars", "pyarrow", "deltalake", "pydantic", "numpy"}


def test_a_bundle_is_named_by_its_content_not_by_its_order():
    schemas = list(FileSchemaRegistry())
    assert bundle_fingerprint(schemas) == bundle_fingerprint(schemas[::-1])
    assert bundle_fingerprint(schemas) != bundle_fingerprint(schemas[1:])


class Client:
    """A client, and the way to make one of its schemas strict."""

    def __init__(self, client: SchemaRegistryClient, make_strict) -> None:
        self.client = client
        self.make_strict = make_strict


@pytest.fixture(params=["files", "memory"])
def either(request, workspace, clock):
    """Both implementations, with two versions of bars."""
    package = list(FileSchemaRegistry())
    second = replace(FileSchemaRegistry().get("bars"), version=2)
    if request.param == "memory":
        memory = MemorySchemaRegistry([*package, second])
        return Client(memory, lambda schema: memory.strict.add(schema.id))
    own_schema(workspace, second)
    files = FileSchemaRegistry(workspace, clock=clock)
    return Client(files, lambda schema: make_strict(workspace, schema))


def test_a_client_knows_its_schemas(either):
    client = either.client
    assert client.names() == FileSchemaRegistry().names()
    assert client.versions("bars") == (1, 2)
    assert client.get("bars").id == "bars/2"
    assert client.get("bars", 1).id == "bars/1"
    for name, version in (("bras", None), ("bras", 1), ("bars", 9)):
        with pytest.raises(UnknownSchema):
            client.get(name, version)
    with pytest.raises(UnknownSchema):
        client.versions("bras")


def test_a_client_blocks_in_strict_only(either):
    client = either.client
    bars = client.get("bars", 1)
    assert client.mode(bars) == "canary"
    assert not client.check(bars, [WRONG], node="n", rows=1).passed
    either.make_strict(bars)
    assert client.mode(bars) == "strict"
    assert client.get("bars") == bars
    assert client.check(bars, [ODD], node="n", rows=1).passed
    with pytest.raises(ConformanceError) as caught:
        client.check(bars, [WRONG], node="n", rows=1)
    assert caught.value.findings == (WRONG,)
    assert client.mode(client.get("bars", 2)) == "canary"


def test_a_registry_without_a_workspace_records_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    registry = FileSchemaRegistry()
    assert registry.mode(registry.get("bars")) == "canary"
    assert not registry.check(registry.get("bars"), [WRONG], node="n", rows=1).passed
    registry.flush()
    assert list(tmp_path.iterdir()) == []


def test_names_and_versions_are_found(registry):
    assert registry.names() == tuple(sorted(registry.names()))
    assert registry.versions("bars") == (1,)
    assert registry.find("bars/1") is registry.find("bars") is registry.get("bars", 1)
    assert (
        registry.get("bars").required
        == registry.get("bars").names[:2] + registry.get("bars").names[3:9]
    )


@pytest.mark.parametrize(
    "text", ["bras", "bars/9", "bars/x", "bars/", "bars/1/2", "bars/-1", "bars/٣"]
)
def test_an_unknown_schema_answers_with_the_nearest(registry, text):
    with pytest.raises(UnknownSchema) as caught:
        registry.find(text)
    assert "bars" in caught.value.fix


def test_a_workspace_adds_schemas_and_versions_of_its_own(registry, workspace):
    bars = registry.get("bars")
    own_schema(workspace, replace(bars, version=2))
    own_schema(workspace, CanonicalSchema(name="mine", version=1, columns=bars.columns))
    again = FileSchemaRegistry(workspace)
    assert again.versions("bars") == (1, 2)
    assert again.get("mine").names == bars.names


def test_a_workspace_cannot_put_another_schema_in_the_place_of_the_packages(registry, workspace):
    own_schema(workspace, replace(registry.get("bars"), key=("symbol",)))
    again = FileSchemaRegistry(workspace)
    for version in (None, 1):
        with pytest.raises(Corrupted, match="bars/1"):
            again.get("bars", version)
    assert again.get("ticks").name == "ticks"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"schema": "other/1"}, "schema is"),
        ({"name": "ticks"}, "holds ticks/1"),
        ({"name": "../bars"}, "cannot name"),
        ({"version": 2}, "holds bars/2"),
        ({"version": True}, "not a whole number"),
        ({"version": "1"}, "not a whole number"),
        ({"columns": []}, "has no column"),
        ({"columns": [{"name": "a"}]}, "malformed"),
        ({"columns": [{"name": "a", "dtype": "decimal"}]}, "none of"),
        ({"columns": [{"name": "a b", "dtype": "bool"}]}, "cannot name a column"),
        ({"columns": [{"name": "a", "dtype": "timestamp"}]}, "unit"),
        ({"columns": [{"name": "a", "dtype": "timestamp", "unit": "days"}]}, "unit"),
        ({"columns": [{"name": "a", "dtype": "bool", "timezone": "UTC"}]}, "zone"),
        ({"columns": [{"name": "a", "dtype": "bool", "enumeration": ["x"]}]}, "enumerated"),
        ({"columns": [{"name": "a", "dtype": "string", "enumeration": []}]}, "names a value"),
        ({"columns": [{"name": "a", "dtype": "string", "enumeration": ["x", "x"]}]}, "twice"),
        ({"columns": [{"name": "a", "dtype": "bool"}] * 2}, "twice"),
        ({"columns": 3}, "malformed"),
        ({"columns": [{"name": "a", "dtype": "bool", "nullable": "yes"}]}, "true nor false"),
        ({"columns": [{"name": "a", "dtype": "string", "enumeration": "ab"}]}, "no list"),
        ({"columns": [{"name": "a", "dtype": "bool", "nulable": True}]}, "nobody knows nulable"),
        (
            {"columns": [{"name": "a", "dtype": "timestamp", "unit": "us", "timezone": "Mars/X"}]},
            "'Mars/X' is no zone",
        ),
        ({"keys": ["symbol"]}, "nobody knows keys"),
        ({"key": "ts"}, "no list"),
        ({"key": ["nobody"]}, "no column nobody"),
        ({"key": ["symbol", "symbol"]}, "twice"),
        ({"derived": ["nobody"]}, "no column nobody"),
        ({"key": None}, "malformed"),
    ],
)
def test_a_malformed_schema_is_refused_with_its_place(registry, tmp_path, change, told):
    folder = tmp_path / "schemas" / "bars"
    folder.mkdir(parents=True)
    document = {"key": [], "columns": [], **registry.get("bars").to_dict(), **change}
    if "columns" in change and "key" not in change:
        document |= {"key": [], "derived": []}
    (folder / "1.json").write_text(json.dumps(document))
    with pytest.raises(Corrupted, match=told) as caught:
        FileSchemaRegistry(folder=tmp_path / "schemas").get("bars")
    assert str(folder / "1.json") in caught.value.message
    assert caught.value.fix


def test_a_broken_file_stops_its_schema_and_no_other(registry, workspace):
    path = own_schema(workspace, replace(registry.get("bars"), version=3))
    path.write_text("{")
    again = FileSchemaRegistry(workspace)
    assert again.names() == registry.names()
    assert again.get("ticks") == registry.get("ticks")
    assert again.get("bars", 1) == registry.get("bars")
    for find in (
        lambda: again.get("bars"),
        lambda: again.newest("bars"),
        lambda: again.find("bars/3"),
    ):
        with pytest.raises(Corrupted, match=r"configs/schemas/bars/3\.json"):
            find()
    assert ["configs/schemas/bars/3.json" in each.message for each in again.broken] == [True]


def test_a_schema_that_is_no_json_is_refused(tmp_path):
    (tmp_path / "1.json").write_text("{")
    with pytest.raises(Corrupted, match="not JSON"):
        read_schema_file(tmp_path / "1.json")


def test_an_epoch_in_an_integer_can_have_unit_and_zone():
    column = Column(name="ts", dtype="int64", unit="ms", timezone="UTC")
    assert Column.from_dict(column.to_dict()) == column


def test_canary_records_what_deviates_and_blocks_nothing(registry, workspace):
    bars = registry.get("bars")
    diagnosis = registry.check(bars, [ODD, WRONG], node="daily", rows=7)
    assert not diagnosis.passed
    assert not diagnosis.stopped
    (line,) = lines_of(workspace, bars)
    jsonschema.validate(line, read_schema("schema_check"))
    assert (line["passed"], line["rows"], line["node"]) == (False, 7, "daily")
    assert line["findings"] == [WRONG.to_dict(), ODD.to_dict()]


def test_notes_and_warnings_do_not_fail_a_check(registry):
    told = [ODD, replace(WRONG, severity="warn")]
    assert registry.check(registry.get("bars"), told, node="n", rows=1).passed


def test_strict_stops_what_deviates_and_says_so(registry, workspace):
    bars = registry.get("bars")
    make_strict(workspace, bars)
    assert registry.mode(bars) == "strict"
    assert registry.check(bars, [ODD], node="daily", rows=7).passed
    assert lines_of(workspace, bars) == []
    with pytest.raises(ConformanceError) as caught:
        registry.check(bars, [WRONG, ODD], node="daily", rows=7)
    assert caught.value.findings == (WRONG, ODD)
    assert caught.value.exit_code == 8
    assert "close" in caught.value.message
    assert pickle.loads(pickle.dumps(caught.value)).findings == (WRONG, ODD)
    (line,) = lines_of(workspace, bars)
    jsonschema.validate(line, read_schema("schema_check"))
    assert line["mode"] == "strict"


def test_a_strict_schema_that_was_changed_blocks_every_response(registry, workspace):
    bars = registry.get("bars")
    make_strict(workspace, bars, fingerprint="1" * 64)
    with pytest.raises(ConformanceError) as caught:
        registry.check(bars, [], node="daily", rows=7)
    assert [each.code for each in caught.value.findings] == ["schema_drifted"]


def test_the_newest_strict_version_is_in_force(registry, workspace):
    bars = registry.get("bars")
    for version in (2, 3):
        own_schema(workspace, replace(bars, version=version))
    again = FileSchemaRegistry(workspace)
    assert again.get("bars").version == 3
    for version in (1, 2):
        make_strict(workspace, again.get("bars", version))
        assert again.get("bars").version == version
    assert again.newest("bars").version == 3
    assert [again.mode(each) for each in (again.get("bars", 2), again.newest("bars"))] == [
        "strict",
        "canary",
    ]


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "{}",
        '{"schema": "x", "strict": []}',
        '{"schema": "schema_state/1", "strict": [{"name": "bars"}]}',
    ],
)
def test_a_state_that_cannot_be_read_is_not_taken_for_canary(registry, workspace, content):
    path = state_file(workspace, "bars")
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(Corrupted):
        registry.mode(registry.newest("bars"))


def test_a_name_that_is_no_name_never_comes_near_a_path(workspace):
    with pytest.raises(InvalidIdentifier):
        state_file(workspace, "../../etc")


@pytest.mark.parametrize("deformation", ["prices_as_text", "column_added", "volume_in_32_bits"])
def test_what_the_pipeline_finds_is_judged_as_it_is(
    registry, workspace, seamless_fault_injection, deformation
):
    deformed = seamless_fault_injection.deform(deformation)
    report = ConformancePipeline.shadow().run(deformed.frame, node="daily").report
    bars = registry.get("bars")
    make_strict(workspace, bars)
    rows = {"node": report.node, "rows": report.rows_in}
    if deformed.severity != "block":
        assert registry.check(bars, report.schema_findings, **rows).passed
        return
    with pytest.raises(ConformanceError) as caught:
        registry.check(bars, report.schema_findings, **rows)
    assert deformed.code in {each.code for each in caught.value.findings}


def test_clean_checks_are_counted_and_written_once_a_minute(registry, workspace, clock):
    bars = registry.get("bars")
    for _ in range(100):
        registry.check(bars, [], node="n", rows=10)
    assert [line["checks"] for line in lines_of(workspace, bars)] == [1]
    clock.advance(61)
    registry.check(bars, [], node="n", rows=10)
    assert [line["checks"] for line in lines_of(workspace, bars)] == [1, 100]
    assert [line["rows"] for line in lines_of(workspace, bars)] == [10, 1000]
    registry.check(bars, [], node="n", rows=10)
    registry.flush()
    registry.flush()
    assert [line["checks"] for line in lines_of(workspace, bars)] == [1, 100, 1]
    for line in lines_of(workspace, bars):
        jsonschema.validate(line, read_schema("schema_check"))


def test_nodes_are_counted_apart_and_failures_are_written_at_once(registry, workspace):
    bars = registry.get("bars")
    for node in ("a", "b", "a"):
        registry.check(bars, [], node=node, rows=1)
        registry.check(bars, [WRONG], node=node, rows=1)
    told = [(line["node"], line["passed"]) for line in lines_of(workspace, bars)]
    assert told == [("a", True), ("a", False), ("b", True), ("b", False), ("a", False)]


def test_checks_of_many_threads_are_all_counted(registry, workspace):
    bars = registry.get("bars")

    def work():
        for number in range(50):
            registry.check(bars, [WRONG] if number % 10 == 0 else [], node="n", rows=1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    registry.flush()
    told = list(recorded(workspace, "bars", 1))
    assert sum(each.checks for each in told if each.passed) == 8 * 45
    assert sum(each.checks for each in told if not each.passed) == 8 * 5


def test_a_long_list_of_findings_is_bounded_and_counted(registry, workspace):
    bars = registry.get("bars")
    many = [replace(ODD, column=f"c{number}") for number in range(300)]
    registry.check(bars, [*many, replace(WRONG, detail="x" * 10_000)], node="n", rows=1)
    (line,) = lines_of(workspace, bars)
    jsonschema.validate(line, read_schema("schema_check"))
    assert line["count"] == 301
    assert line["findings"][0]["code"] == "dtype"
    assert len(line["findings"][0]["detail"]) == 500


def test_a_torn_line_swallows_no_other(tmp_path):
    path = tmp_path / "some" / "file.jsonl"
    append_line(path, {"n": 1})
    with path.open("ab") as stream:
        stream.write(b'{"n": 2')
    append_line(path, {"n": 3}, durable=True)
    append_line(path, {"n": 4})
    assert [line["n"] for line in read_lines(path)] == [1, 3, 4]
    assert list(read_lines(tmp_path / "nowhere")) == []
