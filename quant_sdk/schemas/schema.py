"""`CanonicalSchema`: what a frame of one kind has: columns with their types, units and zones, key.

This module loads no polars; `quant_sdk.schemas.dtypes` has the types in its words.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from quant_registry.errors import Corrupted, InvalidIdentifier

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DOCUMENT: Final = "canonical_schema/1"
"""What the field ``schema`` of a schema's file says."""

SIGNED: Final = ("int8", "int16", "int32", "int64")
UNSIGNED: Final = ("uint8", "uint16", "uint32", "uint64")
FLOATS: Final = ("float32", "float64")
TIMESTAMP: Final = "timestamp"
DTYPES: Final = ("string", "bool", *SIGNED, *UNSIGNED, *FLOATS, "date", TIMESTAMP)
"""The types a column can have. A ``timestamp`` has its resolution as `unit`, and its zone."""

TIME_UNITS: Final = ("s", "ms", "us", "ns")
"""Units of instants: the resolution of a ``timestamp``, or what an epoch in an integer counts."""

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
_COLUMN: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column.

    Attributes:
        name: as in the frame.
        dtype: one of `DTYPES`.
        nullable: whether a row may be without a value.
        unit: what a number is in, such as ``quote currency per base unit``; of an instant, one of
            `TIME_UNITS`. None where there is none to tell.
        timezone: the zone of an instant, such as ``UTC``; None: the values are naive.
        enumeration: the only values there are, where there are only some.
        description: for people; no part of the fingerprint.
    """

    name: str
    dtype: str
    nullable: bool = False
    unit: str | None = None
    timezone: str | None = None
    enumeration: tuple[str, ...] | None = None
    description: str = ""

    def __post_init__(self) -> None:
        """Refuse what means nothing.

        Raises:
            Corrupted: name, type, unit and zone do not fit together.
        """
        _must(_COLUMN.fullmatch(self.name), f"{self.name!r} cannot name a column")
        _must(self.dtype in DTYPES, f"{self.name}: {self.dtype!r} is none of {', '.join(DTYPES)}")
        if self.dtype == TIMESTAMP:
            units = ", ".join(TIME_UNITS)
            _must(self.unit in TIME_UNITS, f"{self.name}: a timestamp's unit is one of {units}")
        else:
            zoned = self.timezone is not None
            _must(
                not zoned or self.unit in TIME_UNITS,
                f"{self.name}: only instants have a zone",
            )
        _must(_is_zone(self.timezone), f"{self.name}: {self.timezone!r} is no zone")
        if self.enumeration is not None:
            _must(self.dtype == "string", f"{self.name}: only texts are enumerated")
            _must(self.enumeration, f"{self.name}: an enumeration names a value at least")
            _must(
                len(set(self.enumeration)) == len(self.enumeration),
                f"{self.name}: its enumeration names a value twice",
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; what there is nothing to say of is left out."""
        found: dict[str, Any] = {
            "name": self.name,
            "dtype": self.dtype,
            "nullable": self.nullable,
        }
        if self.unit is not None:
            found["unit"] = self.unit
        if self.timezone is not None:
            found["timezone"] = self.timezone
        if self.enumeration is not None:
            found["enumeration"] = list(self.enumeration)
        if self.description:
            found["description"] = self.description
        return found

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Column:
        """Return what `to_dict` wrote.

        Raises:
            Corrupted: it is not a column.
        """
        try:
            _known(found, cls)
            values = found.get("enumeration")
            return cls(
                name=_text(found["name"]),
                dtype=_text(found["dtype"]),
                nullable=_flag(found.get("nullable", False)),
                unit=_text_or_none(found.get("unit")),
                timezone=_text_or_none(found.get("timezone")),
                enumeration=None if values is None else _texts(values),
                description=_text(found.get("description", "")),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise _corrupted(f"a column is malformed: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class CanonicalSchema:
    """One version of what a frame of one kind has.

    Attributes:
        name: such as ``bars``.
        version: from 1.
        columns: matched by name; their order has no meaning.
        key: the columns whose values together name a row; empty where nothing does.
        derived: columns that the lakehouse adds when it writes; a frame on its way in may lack
            them.
        title: for people; no part of the fingerprint.
    """

    name: str
    version: int
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    derived: tuple[str, ...] = ()
    title: str = ""

    def __post_init__(self) -> None:
        """Refuse what means nothing.

        Raises:
            Corrupted: a column stands twice, or key and derived name one that is not there.
        """
        _must(_NAME.fullmatch(self.name), f"{self.name!r} cannot name a schema")
        _must(self.version >= 1, f"{self.name}: version {self.version} is below 1")
        _must(self.columns, f"{self.id} has no column")
        names = self.names
        _must(len(set(names)) == len(names), f"{self.id} has a column twice")
        for part in (self.key, self.derived):
            lost = [name for name in part if name not in names]
            _must(not lost, f"{self.id} has no column {', '.join(lost)}")
            _must(len(set(part)) == len(part), f"{self.id} names a key column twice")

    @property
    def id(self) -> str:
        """Name and version, as in ``bars/1``."""
        return f"{self.name}/{self.version}"

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names, in order."""
        return tuple(column.name for column in self.columns)

    @property
    def required(self) -> tuple[str, ...]:
        """The columns that a frame on its way in must have: all but the derived ones."""
        return tuple(name for name in self.names if name not in self.derived)

    @property
    def fingerprint(self) -> str:
        """The sha256, in hex, of all that has a meaning for data.

        Titles, descriptions and the order of columns, key and enumerations have none.
        """
        return digest(
            {
                "name": self.name,
                "version": self.version,
                "columns": sorted(map(_meaning, self.columns), key=lambda each: each["name"]),
                "key": sorted(self.key),
                "derived": sorted(self.derived),
            }
        )

    def column(self, name: str) -> Column | None:
        """Return the column of that name, or None."""
        return next((each for each in self.columns if each.name == name), None)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, as in its file."""
        found: dict[str, Any] = {"schema": DOCUMENT, "name": self.name, "version": self.version}
        if self.title:
            found["title"] = self.title
        found["key"] = list(self.key)
        if self.derived:
            found["derived"] = list(self.derived)
        return {**found, "columns": [column.to_dict() for column in self.columns]}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> CanonicalSchema:
        """Return what `to_dict` wrote.

        Raises:
            Corrupted: it is not a canonical schema.
        """
        try:
            _known(found, cls, "schema")
            _must(found["schema"] == DOCUMENT, f"its schema is {found['schema']!r}, not {DOCUMENT}")
            version = found["version"]
            whole = isinstance(version, int) and not isinstance(version, bool)
            _must(whole, f"version {version!r} is not a whole number")
            return cls(
                name=_text(found["name"]),
                version=version,
                columns=tuple(map(Column.from_dict, _list(found["columns"]))),
                key=_texts(found["key"]),
                derived=_texts(found.get("derived", [])),
                title=_text(found.get("title", "")),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise _corrupted(f"the schema is malformed: {error}") from error


def check_name(text: str) -> str:
    """Return `text` if it can name a schema, and a folder: lower-case letters, digits and ``_``.

    Raises:
        InvalidIdentifier: it cannot.
    """
    if _NAME.fullmatch(text):
        return text
    raise InvalidIdentifier(
        f"{text[:64]!r} cannot name a schema", fix="list the schemas with: quant schema list"
    )


def bundle_fingerprint(schemas: Iterable[CanonicalSchema]) -> str:
    """Return the sha256, in hex, of a bundle: ids and fingerprints, in no order."""
    return digest({schema.id: schema.fingerprint for schema in schemas})


def digest(document: Any) -> str:
    """Return the sha256, in hex, of a document's canonical JSON: sorted keys, no spaces."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _meaning(column: Column) -> dict[str, Any]:
    found = column.to_dict()
    found.pop("description", None)
    if column.enumeration is not None:
        found["enumeration"] = sorted(column.enumeration)
    return found


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is no list")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(map(_text, _list(value)))


def _known(found: Mapping[str, Any], kind: type, *more: str) -> None:
    names = {*(field.name for field in fields(kind)), *more}
    strange = sorted(set(found) - names)
    if strange:
        raise TypeError(f"nobody knows {', '.join(strange)}; there are {', '.join(sorted(names))}")


def _is_zone(name: str | None) -> bool:
    if name in {None, "UTC"}:  # known also where a machine has no zones
        return True
    try:
        ZoneInfo(str(name))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _text_or_none(value: Any) -> str | None:
    return None if value is None else _text(value)


def _must(holds: object, sentence: str) -> None:
    if not holds:
        raise _corrupted(sentence)


def _corrupted(sentence: str) -> Corrupted:
    return Corrupted(
        f"not a canonical schema: {sentence}",
        fix="correct the schema's file: quant schema show bars",
    )
