"""Approved bundles, code and live tables: what differs is found, and nothing else."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime

import polars as pl
import pytest
from deltalake import write_deltalake

from quant_registry.run import Commit
from quant_registry.workspace import Workspace
from quant_sdk.lakehouse.specs import BARS, QUARANTINE, TABLES, TableSpec
from quant_sdk.lakehouse.table import Table
from quant_sdk.schemas import Column, FileSchemaRegistry
from quant_sdk.schemas.approvals import approve
from quant_sdk.schemas.client import CANONICAL
from quant_sdk.schemas.drift import find_drift
from quant_sdk.schemas.promotion import promote, standing_of
from quant_sdk.schemas.state import bundle_file, read_states, state_file
from quant_sdk.testing import FakeClock

COMMIT = Commit(batch_id="b", run_id="r", stage_id="t.x", epoch=1, lock_id="l")


class House:
    """A workspace beside a copy of the package's schemas, which can be changed."""

    def __init__(self, root):
        self.workspace = Workspace(root / "workspace")
        self.folder = root / "canonical"
        self.clock = FakeClock()
        shutil.copytree(CANONICAL, self.folder)

    @property
    def registry(self):
        return FileSchemaRegistry(self.workspace, folder=self.folder)

    def edit(self, name, version=1, **fields):
        path = self.folder / name / f"{version}.json"
        schema = replace(self.registry.newest(name), version=version, **fields)
        path.write_text(json.dumps(schema.to_dict()))

    def edit_column(self, name, column, **fields):
        columns = self.registry.newest(name).columns
        changed = tuple(
            replace(each, **fields) if each.name == column else each for each in columns
        )
        self.edit(name, columns=changed)

    def promote(self, name):
        schema, registry = self.registry.newest(name), self.registry
        for person in ("alice", "bob"):
            approve(self.workspace, schema, approver=person, actor="a", clock=self.clock)
        promote(
            registry,
            self.workspace,
            standing_of(registry, self.workspace, schema, self.clock.now()),
            promoter="carol",
            commit=COMMIT,
            now=self.clock.now(),
        )

    def write(self, frame, spec):
        Table(self.workspace.lakehouse, spec).append(frame, COMMIT, {})

    def live(self, frame, name="bars"):
        path = self.workspace.lakehouse / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_deltalake(str(path), frame, mode="overwrite", schema_mode="overwrite")

    @property
    def report(self):
        return find_drift(self.registry, self.workspace)

    @property
    def drift(self):
        return [(each.subject, each.schema_id, each.severity) for each in self.report.drift]

    @property
    def changes(self):
        (found,) = self.report.drift
        return [(each.code, each.column, each.severity) for each in found.changes]


@pytest.fixture
def house(tmp_path):
    (tmp_path / "workspace").mkdir()
    return House(tmp_path)


def bars(**columns) -> pl.DataFrame:
    row = {
        "symbol": "X:ADABTC",
        "timeframe": "1h",
        "bucket": "2024-01",
        "ts": datetime(2024, 1, 1, tzinfo=UTC),
        **dict.fromkeys(("open", "high", "low", "close", "volume"), 1.0),
        "source": "s",
    }
    return pl.DataFrame([row], schema=BARS.columns).with_columns(**columns)


def test_a_fresh_workspace_has_no_drift(house):
    assert house.drift == []
    assert house.report.approved_bundle is None
    assert house.report.tables == ()


@pytest.mark.parametrize("spec", TABLES.values(), ids=lambda spec: spec.name)
def test_a_table_as_the_lakehouse_makes_it_has_no_drift(house, spec):
    house.write(spec.empty, spec)
    assert house.report.tables == (spec.name,)
    assert house.drift == []


def test_what_was_promoted_and_not_touched_has_no_drift(house):
    house.promote("bars")
    house.promote("ticks")
    house.write(bars(), BARS)
    report = house.report
    assert report.drift == ()
    assert report.bundle == report.approved_bundle
    assert not report.breaks


def test_a_strict_schema_that_was_changed_in_code_is_drift(house):
    house.promote("bars")
    house.edit_column("bars", "close", dtype="string", unit=None)
    report = house.report
    (found,) = report.drift
    assert (found.subject, found.schema_id, found.severity) == ("approved", "bars/1", "breaking")
    assert [each.code for each in found.changes] == ["dtype_changed", "unit_changed"]
    assert report.breaks
    assert report.bundle != report.approved_bundle
    assert found.expected == read_states(house.workspace, "bars")[0].fingerprint
    assert found.found == house.registry.get("bars").fingerprint


def test_a_compatible_change_of_a_strict_schema_is_drift_that_breaks_nothing(house):
    house.promote("bars")
    columns = house.registry.get("bars").columns
    house.edit("bars", columns=(*columns, Column(name="vwap", dtype="float64", nullable=True)))
    assert house.drift == [("approved", "bars/1", "compatible")]
    assert not house.report.breaks


def test_another_sentence_is_no_drift(house):
    house.promote("bars")
    house.edit_column("bars", "close", description="in other words")
    house.edit("ticks", title="in other words")
    assert house.drift == []


def test_a_strict_schema_that_is_gone_from_code_is_breaking(house):
    house.promote("bars")
    shutil.rmtree(house.folder / "bars")
    assert house.drift == [("approved", "bars/1", "breaking")]


def test_schemas_in_canary_may_change_and_are_told(house):
    house.promote("bars")
    house.edit("ticks", key=("trade_id",))
    shutil.rmtree(house.folder / "quotes")
    house.edit("symbols", version=2)
    assert house.drift == [
        ("bundle", "quotes/1", "note"),
        ("bundle", "symbols/2", "note"),
        ("bundle", "ticks/1", "note"),
    ]


def test_each_strict_version_is_held_against_its_own_bundle(house):
    house.promote("bars")
    house.edit("ticks", key=("trade_id",))
    house.promote("ticks")
    assert house.drift == []
    house.edit("ticks", key=("symbol", "trade_id"))
    assert house.drift == [("approved", "ticks/1", "breaking")]


@pytest.mark.parametrize("damage", ["gone", "changed", "torn", "another"])
def test_a_bundle_that_is_not_what_was_approved_is_breaking(house, damage):
    house.promote("bars")
    path = bundle_file(house.workspace, house.registry and house.report.approved_bundle)
    if damage == "gone":
        path.unlink()
    elif damage == "torn":
        path.write_bytes(path.read_bytes()[:100])
    else:
        document = json.loads(path.read_bytes())
        if damage == "changed":
            document["schemas"][0]["key"] = []
        else:
            document["schemas"] = document["schemas"][:1]
        path.write_text(json.dumps(document))
    assert house.drift == [("approved", "bars/1", "breaking")]


def test_a_column_that_a_live_table_lacks_is_breaking(house):
    house.live(bars().drop("close"))
    assert house.drift == [("table", "bars/1", "breaking")]
    assert house.changes[0] == ("column_dropped", "close", "breaking")


@pytest.mark.parametrize(
    ("columns", "change"),
    [
        ({"close": pl.lit("1.0")}, ("dtype_changed", "close", "breaking")),
        ({"close": pl.lit(1.0, dtype=pl.Float32)}, ("dtype_changed", "close", "breaking")),
        ({"close": pl.lit([1.0])}, ("dtype_changed", "close", "breaking")),
        ({"ts": pl.lit(datetime(2024, 1, 1))}, ("timezone_changed", "ts", "breaking")),  # noqa: DTZ001
        ({"vwap": pl.lit(1.0)}, ("column_added", "vwap", "compatible")),
        ({"legs": pl.lit([1.0])}, ("dtype_changed", "legs", "compatible")),
    ],
)
def test_other_columns_of_a_live_table_are_found(house, columns, change):
    house.live(bars(**columns))
    # Written from a frame, every column is nullable.
    eased = {
        ("required_nullable", each.name, "breaking") for each in house.registry.get("bars").columns
    }
    assert set(house.changes) - eased == {change}


def test_a_table_that_is_older_than_a_column_does_not_break(house):
    older = replace(
        QUARANTINE,
        columns={key: kind for key, kind in QUARANTINE.columns.items() if key != "replayed_by"},
        later=frozenset(),
    )
    house.write(older.empty, older)
    assert house.drift == [("table", "quarantine/1", "compatible")]
    assert house.changes == [("column_dropped", "replayed_by", "compatible")]


def test_a_required_column_where_nulls_are_allowed_is_breaking(house):
    stricter = replace(BARS, nullable=frozenset())
    house.write(bars(), stricter)
    assert house.changes == [("nullable_required", "volume", "breaking")]


def test_a_table_of_no_schema_is_told_and_breaks_nothing(house):
    other = TableSpec(name="mine", columns={"a": pl.Int64}, nullable=frozenset(), partition_by=())
    house.write(other.empty, other)
    assert house.drift == [("table", "mine", "note")]


def test_a_live_table_is_held_against_the_version_in_force(house):
    columns = house.registry.get("bars").columns
    house.write(bars(), BARS)
    house.promote("bars")
    more = Column(name="vwap", dtype="float64")
    house.edit("bars", version=2, columns=(*columns, more))
    assert house.drift == [("bundle", "bars/2", "note")]
    house.promote("bars")
    assert ("table", "bars/2", "breaking") in house.drift


def test_a_table_whose_log_cannot_be_read_is_breaking(house):
    house.write(bars(), BARS)
    for log in (house.workspace.lakehouse / "bars" / "_delta_log").glob("*.json"):
        log.write_text("{")
    assert house.drift == [("table", "bars/1", "breaking")]


def test_a_live_column_that_may_be_null_where_the_schema_requires_it_is_breaking(house):
    looser = replace(BARS, nullable=frozenset({"volume", "open"}))
    house.write(bars(), looser)
    assert house.drift == [("table", "bars/1", "breaking")]
    assert house.changes == [("required_nullable", "open", "breaking")]


def test_a_strict_version_whose_state_is_gone_is_breaking(house):
    house.promote("bars")
    house.promote("ticks")
    state_file(house.workspace, "bars").unlink()
    assert house.drift == []  # both stood in one bundle, and no event tells of a promotion
    event = {"event": "schema_promoted", "schema_id": "bars/1", "bundle": house.report.bundle}
    house.workspace.audit.write_text(json.dumps(event) + "\n")
    assert house.drift == [("approved", "bars/1", "breaking")]
    assert "state.json" in house.report.drift[0].detail
    house.promote("bars")
    assert house.drift == []


def test_a_bundle_that_no_state_tells_of_is_breaking(house):
    house.promote("bars")
    state_file(house.workspace, "bars").unlink()
    [found] = house.report.drift
    assert (found.subject, found.severity) == ("approved", "breaking")
    assert "bundles/" in found.detail


def test_a_state_that_cannot_be_read_is_breaking_and_hides_nothing_else(house):
    house.promote("bars")
    state_file(house.workspace, "bars").write_text("{")
    house.live(bars().drop("symbol"), "ticks")
    assert {(each.subject, each.severity) for each in house.report.drift} == {
        ("approved", "breaking"),
        ("table", "breaking"),
    }


def test_a_folder_that_cannot_be_a_schemas_is_named_and_passed_over(house):
    house.promote("bars")
    odd = state_file(house.workspace, "bars").parents[1] / "Bad Name" / "state.json"
    odd.parent.mkdir()
    odd.write_text("{}")
    assert house.drift == []
    assert house.report.strange == ("data/artifacts/schemas/Bad Name",)


def test_a_strict_schema_whose_file_is_broken_is_breaking(house):
    house.promote("bars")
    (house.folder / "bars" / "1.json").write_text("{")
    assert house.drift == [("approved", "bars/1", "breaking")]


def test_looking_for_drift_writes_nothing(house):
    house.promote("bars")
    house.write(bars(), BARS)
    before = {path: path.stat().st_mtime_ns for path in house.workspace.root.rglob("*")}
    assert house.drift == []
    assert before == {path: path.stat().st_mtime_ns for path in house.workspace.root.rglob("*")}
