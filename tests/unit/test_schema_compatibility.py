"""What changes of a schema mean."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from quant_sdk.schemas import CanonicalSchema, Column
from quant_sdk.schemas import compatibility as module
from quant_sdk.schemas.compatibility import CODES, breaking, compare, widens
from quant_sdk.schemas.schema import DTYPES, FLOATS, SIGNED, TIME_UNITS, TIMESTAMP, UNSIGNED

BREAKS, PASSES = "breaking", "compatible"
TEXT = Column(name="a", dtype="string")
PRICE = Column(name="a", dtype="float64", unit="quote")
INSTANT = Column(name="a", dtype=TIMESTAMP, unit="us", timezone="UTC")
SIDE = Column(name="a", dtype="string", enumeration=("buy", "sell"))


def of(*columns: Column, **rest) -> CanonicalSchema:
    return CanonicalSchema(
        name="t", version=1, columns=(Column(name="z", dtype="bool"), *columns), **rest
    )


def changed(column: Column, **fields) -> tuple[CanonicalSchema, CanonicalSchema]:
    return of(column), of(replace(column, **fields))


TABLE = [
    ("a column is dropped", (of(TEXT), of()), "column_dropped", BREAKS),
    (
        "a nullable one is dropped",
        (of(replace(TEXT, nullable=True)), of()),
        "column_dropped",
        BREAKS,
    ),
    ("a nullable one is added", (of(), of(replace(TEXT, nullable=True))), "column_added", PASSES),
    ("a required one is added", (of(), of(TEXT)), "column_added", BREAKS),
    ("float becomes text", changed(PRICE, dtype="string"), "dtype_changed", BREAKS),
    ("text becomes float", changed(TEXT, dtype="float64"), "dtype_changed", BREAKS),
    (
        "whole becomes broken",
        changed(replace(PRICE, dtype="int32"), dtype="float64"),
        "dtype_changed",
        BREAKS,
    ),
    ("narrower float", changed(PRICE, dtype="float32"), "dtype_changed", BREAKS),
    (
        "narrower whole",
        changed(replace(TEXT, dtype="int64"), dtype="int32"),
        "dtype_changed",
        BREAKS,
    ),
    (
        "a sign is lost",
        changed(replace(TEXT, dtype="int32"), dtype="uint64"),
        "dtype_changed",
        BREAKS,
    ),
    (
        "no room for the sign",
        changed(replace(TEXT, dtype="uint32"), dtype="int32"),
        "dtype_changed",
        BREAKS,
    ),
    (
        "wider float",
        changed(replace(PRICE, dtype="float32"), dtype="float64"),
        "dtype_widened",
        PASSES,
    ),
    ("wider whole", changed(replace(TEXT, dtype="int8"), dtype="int64"), "dtype_widened", PASSES),
    (
        "room for the sign",
        changed(replace(TEXT, dtype="uint32"), dtype="int64"),
        "dtype_widened",
        PASSES,
    ),
    (
        "day becomes instant",
        changed(replace(TEXT, dtype="date", unit="us"), dtype=TIMESTAMP),
        "dtype_changed",
        BREAKS,
    ),
    (
        "nullable becomes required",
        changed(replace(TEXT, nullable=True), nullable=False),
        "nullable_required",
        BREAKS,
    ),
    ("required becomes nullable", changed(TEXT, nullable=True), "required_nullable", PASSES),
    ("another unit", changed(PRICE, unit="base"), "unit_changed", BREAKS),
    ("a unit is declared", changed(replace(PRICE, unit=None), unit="base"), "unit_changed", BREAKS),
    ("no unit any more", changed(PRICE, unit=None), "unit_changed", BREAKS),
    ("milliseconds", changed(INSTANT, unit="ms"), "unit_changed", BREAKS),
    ("another zone", changed(INSTANT, timezone="Asia/Seoul"), "timezone_changed", BREAKS),
    ("naive", changed(INSTANT, timezone=None), "timezone_changed", BREAKS),
    ("a value less", changed(SIDE, enumeration=("buy",)), "enumeration_changed", BREAKS),
    (
        "a value more",
        changed(SIDE, enumeration=("buy", "sell", "none")),
        "enumeration_changed",
        BREAKS,
    ),
    ("values enumerated", changed(TEXT, enumeration=("buy",)), "enumeration_changed", BREAKS),
    ("values set free", changed(SIDE, enumeration=None), "enumeration_changed", BREAKS),
    ("values reordered", changed(SIDE, enumeration=("sell", "buy")), "order_changed", "note"),
    ("another key", (of(TEXT, key=("a",)), of(TEXT, key=("a", "z"))), "key_changed", BREAKS),
    ("no key", (of(TEXT, key=("a",)), of(TEXT)), "key_changed", BREAKS),
    (
        "key reordered",
        (of(TEXT, key=("a", "z")), of(TEXT, key=("z", "a"))),
        "order_changed",
        "note",
    ),
    ("derived now", (of(TEXT), of(TEXT, derived=("a",))), "derived_added", PASSES),
    ("derived no more", (of(TEXT, derived=("a",)), of(TEXT)), "derived_dropped", BREAKS),
    (
        "columns reordered",
        (of(TEXT), replace(of(TEXT), columns=of(TEXT).columns[::-1])),
        "order_changed",
        "note",
    ),
    ("another sentence", changed(TEXT, description="b"), "text_changed", "note"),
    ("another title", (of(TEXT), of(TEXT, title="b")), "text_changed", "note"),
    ("another name", (of(TEXT), replace(of(TEXT), name="u")), "renamed", BREAKS),
]


@pytest.mark.parametrize(
    ("pair", "code", "severity"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_a_change_means_what_the_table_says(pair, code, severity):
    (change,) = compare(*pair)
    assert (change.code, change.severity) == (code, severity)
    assert change.detail


def test_every_code_and_severity_is_in_the_table_above_and_in_the_module():
    shown = {(code, severity) for _, _, code, severity in TABLE}
    assert shown == {(code, each) for code, severities in CODES.items() for each in severities}
    for code in CODES:
        assert f"``{code}``" in module.__doc__


def test_a_version_of_the_same_content_differs_in_nothing():
    assert compare(of(TEXT), replace(of(TEXT), version=2)) == ()


def test_several_changes_of_one_column_are_all_told():
    old = of(Column(name="a", dtype="float64", nullable=True, unit="quote"))
    new = of(Column(name="a", dtype="string", unit="base"))
    assert [each.code for each in compare(old, new)] == [
        "dtype_changed",
        "nullable_required",
        "unit_changed",
    ]


def test_a_type_widens_exactly_where_every_value_fits():
    bounds = {
        **{
            name: (-(2**bits), 2**bits - 1)
            for name, bits in zip(SIGNED, (7, 15, 31, 63), strict=True)
        },
        **{name: (0, 2**bits - 1) for name, bits in zip(UNSIGNED, (8, 16, 32, 64), strict=True)},
    }
    for old in DTYPES:
        for new in DTYPES:
            whole = old in bounds and new in bounds and old != new
            fits = whole and bounds[new][0] <= bounds[old][0] <= bounds[old][1] <= bounds[new][1]
            assert widens(old, new) == (fits or (old, new) == FLOATS), (old, new)


names = st.sampled_from("abcdefgh")


@st.composite
def columns(draw, name):
    dtype = draw(st.sampled_from(DTYPES))
    instant = dtype == TIMESTAMP
    values = st.lists(st.sampled_from(["x", "y", "z"]), min_size=1, unique=True).map(tuple)
    return Column(
        name=name,
        dtype=dtype,
        nullable=draw(st.booleans()),
        unit=draw(st.sampled_from(TIME_UNITS if instant else (None, "quote", "base"))),
        timezone=draw(st.sampled_from((None, "UTC", "Asia/Seoul"))) if instant else None,
        enumeration=draw(st.none() | values) if dtype == "string" else None,
        description=draw(st.sampled_from(("", "a word"))),
    )


@st.composite
def schemas(draw):
    named = draw(st.lists(names, min_size=1, unique=True))
    some = st.lists(st.sampled_from(named), unique=True).map(tuple)
    return CanonicalSchema(
        name="t",
        version=1,
        columns=tuple(draw(columns(name)) for name in named),
        key=draw(some),
        derived=draw(some),
        title=draw(st.sampled_from(("", "a title"))),
    )


@st.composite
def next_columns(draw, old):
    """A column with one change, which may be none."""
    fresh = draw(columns(old.name))
    wider = [dtype for dtype in DTYPES if widens(old.dtype, dtype)]
    return draw(
        st.sampled_from(
            [
                old,
                replace(old, nullable=not old.nullable),
                replace(old, nullable=True),
                replace(old, description="another"),
                replace(old, dtype=draw(st.sampled_from(wider)) if wider else old.dtype),
                fresh,
            ]
        )
    )


@st.composite
def next_schemas(draw, old):
    """The next version of a schema: most of it stays."""
    held = {*old.key, *old.derived}
    kept = [
        draw(next_columns(each))
        for each in old.columns
        if each.name in held or draw(st.integers(0, 9))
    ]
    free = sorted(set("abcdefgh") - set(old.names))
    more = draw(st.lists(st.sampled_from(free), unique=True, max_size=2)) if free else []
    added = [replace(draw(columns(name)), nullable=bool(draw(st.integers(0, 4)))) for name in more]
    if not kept and not added:
        return old
    return replace(old, columns=tuple(draw(st.permutations([*kept, *added]))))


def pairs():
    """Two versions of a schema."""
    return schemas().flatmap(lambda old: st.tuples(st.just(old), next_schemas(old)))


@given(schemas())
def test_a_schema_differs_from_itself_in_nothing(schema):
    assert compare(schema, schema) == ()


@given(pairs() | st.tuples(schemas(), schemas()))
def test_fingerprints_differ_exactly_where_more_than_notes_do(pair):
    old, new = pair
    meant = [change for change in compare(old, new) if change.severity != "note"]
    assert (old.fingerprint == new.fingerprint) == (not meant)


@given(pairs(), st.randoms())
def test_reordering_neither_hides_nor_makes_a_change(pair, chance):
    old, new = pair

    def shuffled(items):
        return tuple(chance.sample(items, len(items)))

    def mixed(column):
        return column.enumeration and shuffled(column.enumeration)

    other = replace(
        new,
        columns=shuffled([replace(each, enumeration=mixed(each)) for each in new.columns]),
        key=shuffled(new.key),
        derived=shuffled(new.derived),
    )

    def meant(changes):
        return [
            (each.code, each.severity, each.column) for each in changes if each.severity != "note"
        ]

    assert meant(compare(old, other)) == meant(compare(old, new))
    assert other.fingerprint == new.fingerprint


@given(pairs())
def test_what_is_compatible_lets_every_old_column_be_read(pair):
    old, new = pair
    assume(not breaking(compare(old, new)))
    for before in old.columns:
        after = new.column(before.name)
        assert after is not None
        assert after.dtype == before.dtype or widens(before.dtype, after.dtype)
        assert after.nullable or not before.nullable
        assert (after.unit, after.timezone) == (before.unit, before.timezone)
    assert set(old.key) == set(new.key)


@st.composite
def gently_changed(draw, old):
    """The next version of a schema, with changes that break nothing."""
    wider = {each: [new for new in DTYPES if widens(each, new)] or [each] for each in DTYPES}
    kept = [
        replace(
            each,
            nullable=each.nullable or draw(st.booleans()),
            dtype=draw(st.sampled_from([each.dtype, *wider[each.dtype]])),
        )
        for each in old.columns
    ]
    free = sorted(set("abcdefgh") - set(old.names))
    added = [replace(draw(columns(free[0])), nullable=True)] if free else []
    return replace(old, columns=tuple(draw(st.permutations([*kept, *added]))))


@given(st.data())
def test_compatible_changes_in_a_row_are_a_compatible_change(data):
    one = data.draw(schemas())
    two = data.draw(gently_changed(one))
    three = data.draw(gently_changed(two))
    for old, new in ((one, two), (two, three), (one, three)):
        assert not breaking(compare(old, new))


@given(schemas())
def test_a_schema_comes_back_from_its_json(schema):
    assert CanonicalSchema.from_dict(schema.to_dict()) == schema
