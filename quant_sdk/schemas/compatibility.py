"""What a change of a schema means: `compare` names each change, and says whether it breaks.

A change is *compatible* where data written under the old version passes under the new one, and
every column that a reader asks for is still there, with values of the same meaning. Everything else
is *breaking*. A *note* has no meaning for data at all.

======================  ===========  ==============================================================
change                  severity     why
======================  ===========  ==============================================================
``renamed``             breaking     another schema is no version of this one
``column_dropped``      breaking     readers ask for it
``column_added``        compatible   where it is nullable: data before has none
                        breaking     where it is not: data before does not pass
``dtype_widened``       compatible   every old value is a value of the new type: ``int32`` to
                                     ``int64``, ``float32`` to ``float64``, ``uint8`` to ``int16``
``dtype_changed``       breaking     any other, such as float to text, or whole to broken numbers
``nullable_required``   breaking     data before, and sources, may have none
``required_nullable``   compatible   data before passes; readers are told that it may be absent now
``unit_changed``        breaking     the same number means another thing, or nobody knows
``timezone_changed``    breaking     the same number means another instant
``enumeration_changed`` breaking     less: data before does not pass; more: readers do not know it
``key_changed``         breaking     what was one row is two, or the other way round
``derived_added``       compatible   a frame on its way in may now lack it
``derived_dropped``     breaking     a frame on its way in must have it now
``order_changed``       note         columns are matched by name
``text_changed``        note         titles and descriptions are for people
======================  ===========  ==============================================================
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from quant_sdk.schemas.schema import FLOATS, SIGNED, UNSIGNED, CanonicalSchema, Column

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Severity = Literal["breaking", "compatible", "note"]

CODES: Final[dict[str, tuple[Severity, ...]]] = {
    "renamed": ("breaking",),
    "column_dropped": ("breaking",),
    "column_added": ("compatible", "breaking"),
    "dtype_widened": ("compatible",),
    "dtype_changed": ("breaking",),
    "nullable_required": ("breaking",),
    "required_nullable": ("compatible",),
    "unit_changed": ("breaking",),
    "timezone_changed": ("breaking",),
    "enumeration_changed": ("breaking",),
    "key_changed": ("breaking",),
    "derived_added": ("compatible",),
    "derived_dropped": ("breaking",),
    "order_changed": ("note",),
    "text_changed": ("note",),
}
"""Every code, with the severities it can have."""

_RANK: Final = {"breaking": 0, "compatible": 1, "note": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change between two schemas.

    Attributes:
        code: one of `CODES`.
        severity: what it means for data.
        column: the column; empty for the schema as a whole.
        old, new: what stood and what stands, as text; empty where nothing did.
    """

    code: str
    severity: Severity
    column: str = ""
    old: str = ""
    new: str = ""

    @property
    def detail(self) -> str:
        """The change in words."""
        words = self.code.replace("_", " ")
        sides = f"{self.old or 'nothing'} -> {self.new or 'nothing'}"
        return f"{self.column}: {words}: {sides}" if self.column else f"{words}: {sides}"

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)


def compare(old: CanonicalSchema, new: CanonicalSchema) -> tuple[Change, ...]:
    """Return what differs, the breaking changes first; empty where nothing does.

    Two versions of one schema with the same content differ in nothing.
    """
    found = [*_of_schema(old, new), *_of_columns(old, new)]
    return tuple(sorted(found, key=lambda each: (_RANK[each.severity], each.column, each.code)))


def breaking(changes: Iterable[Change]) -> tuple[Change, ...]:
    """Return the changes that break."""
    return tuple(change for change in changes if change.severity == "breaking")


def widens(old: str, new: str) -> bool:
    """Tell whether every value of the type `old` is one of `new`, and both count the same way."""
    for family in (SIGNED, UNSIGNED, FLOATS):
        if old in family and new in family:
            return family.index(new) > family.index(old)
    if old in UNSIGNED and new in SIGNED:  # a sign takes a bit
        return SIGNED.index(new) > UNSIGNED.index(old)
    return False


def _of_schema(old: CanonicalSchema, new: CanonicalSchema) -> Iterator[Change]:
    if old.name != new.name:
        yield Change(code="renamed", severity="breaking", old=old.name, new=new.name)
    if set(old.key) != set(new.key):
        yield Change(
            code="key_changed", severity="breaking", old=", ".join(old.key), new=", ".join(new.key)
        )
    shared = [name for name in old.names if name in new.names]
    order = [name for name in new.names if name in old.names]
    if shared != order or _reordered(old.key, new.key):
        yield Change(code="order_changed", severity="note")
    if old.title != new.title:
        yield Change(code="text_changed", severity="note", old=old.title, new=new.title)


def _reordered(old: tuple[str, ...], new: tuple[str, ...]) -> bool:
    return old != new and set(old) == set(new)


def _of_columns(old: CanonicalSchema, new: CanonicalSchema) -> Iterator[Change]:
    before = {each.name: each for each in old.columns}
    after = {each.name: each for each in new.columns}
    for name in before.keys() - after.keys():
        yield Change(
            code="column_dropped", severity="breaking", column=name, old=said(before[name])
        )
    for name in after.keys() - before.keys():
        added = after[name]
        severity: Severity = "compatible" if added.nullable else "breaking"
        yield Change(code="column_added", severity=severity, column=name, new=said(added))
    for name in before.keys() & after.keys():
        yield from _of_column(before[name], after[name])
        yield from _derivation(name, derived=name in old.derived, now=name in new.derived)


def _of_column(old: Column, new: Column) -> Iterator[Change]:
    def change(code: str, severity: Severity, before: object, after: object) -> Change:
        return Change(
            code=code, severity=severity, column=old.name, old=_shown(before), new=_shown(after)
        )

    if old.dtype != new.dtype:
        wider = widens(old.dtype, new.dtype)
        code = "dtype_widened" if wider else "dtype_changed"
        yield change(code, "compatible" if wider else "breaking", old.dtype, new.dtype)
    if old.nullable and not new.nullable:
        yield change("nullable_required", "breaking", "nullable", "required")
    if new.nullable and not old.nullable:
        yield change("required_nullable", "compatible", "required", "nullable")
    if old.unit != new.unit:
        yield change("unit_changed", "breaking", old.unit, new.unit)
    if old.timezone != new.timezone:
        yield change("timezone_changed", "breaking", old.timezone, new.timezone)
    if _values(old) != _values(new):
        yield change("enumeration_changed", "breaking", old.enumeration, new.enumeration)
    elif old.enumeration != new.enumeration:
        yield change("order_changed", "note", old.enumeration, new.enumeration)
    if old.description != new.description:
        yield change("text_changed", "note", old.description, new.description)


def _derivation(name: str, *, derived: bool, now: bool) -> Iterator[Change]:
    if now and not derived:
        yield Change(code="derived_added", severity="compatible", column=name)
    if derived and not now:
        yield Change(code="derived_dropped", severity="breaking", column=name)


def said(column: Column) -> str:
    """Return a column's type in words: ``timestamp us UTC, nullable``."""
    parts = [column.dtype, column.unit or "", column.timezone or ""]
    return " ".join(filter(None, parts)) + (", nullable" if column.nullable else "")


def _values(column: Column) -> frozenset[str] | None:
    return None if column.enumeration is None else frozenset(column.enumeration)


def _shown(value: object) -> str:
    if value is None:
        return ""
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
