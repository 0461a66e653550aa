"""One key of a scanner file at a time, read as what it must be."""

from __future__ import annotations

import difflib
import math
import reprlib
from typing import TYPE_CHECKING, Any, Final

from quant_registry.errors import InvalidInput
from quant_sdk.sources.scanner.documents import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MOST_ITEMS: Final = 20_000
_QUOTES: Final = "write a text, in quotes where YAML reads it otherwise"
_SHORT: Final = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 2, 60, 60


class Fields:
    """The keys of a mapping; every read names the place where the value is wrong.

    Args:
        keys: the mapping.
        place: what error sentences call it.
        origins: by key, what they call it for that one.
    """

    def __init__(
        self, keys: Mapping[str, Any], place: str, origins: Mapping[str, str] | None = None
    ) -> None:
        self.keys = keys
        self.place = place
        self._origins = origins or {}

    def inner(self, keys: Mapping[str, Any], key: str) -> Fields:
        """Return the fields of a mapping that stands at `key`."""
        return Fields(keys, f"{self.place_of(key)}: {key}")

    def place_of(self, key: str) -> str:
        """Return what to call the mapping that `key` was taken from."""
        return self._origins.get(key.partition("[")[0], self.place)

    def text(self, key: str) -> str | None:
        """Return a text that is not empty, or None where the key is missing."""
        value = self.keys.get(key)
        if value is None:
            return None
        if not isinstance(value, str) or not value.strip() or "\0" in value:
            raise self.wrong(key, value, _QUOTES)
        return value.strip()

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts without repetitions; a missing key is an empty one."""
        value = self.keys.get(key)
        if value is None:
            return ()
        if not isinstance(value, list) or len(value) > MOST_ITEMS:
            raise self.wrong(key, value, f"write a list of at most {MOST_ITEMS} texts")
        for item in value:
            if not isinstance(item, str) or not item.strip() or "\0" in item:
                raise self.wrong(
                    key, item, "write texts, in quotes where YAML reads them otherwise"
                )
        return tuple(dict.fromkeys(item.strip() for item in value))

    def one_of(self, key: str, names: Iterable[str], default: str) -> str:
        """Return one of `names`, in lower case as they are, or the default."""
        value = self.keys.get(key, default)
        known = tuple(names)
        if not isinstance(value, str) or value.lower() not in known:
            raise self.wrong(key, value, f"use one of {', '.join(known)}")
        return value.lower()

    def flag(self, key: str, *, default: bool = False) -> bool:
        """Return true or false."""
        value = self.keys.get(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, value, "write true or false")
        return value

    def count(self, key: str, most: int) -> int | None:
        """Return a whole number from 1 to `most`, or None where the key is missing."""
        value = self.keys.get(key)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= most:
            raise self.wrong(key, value, f"write a whole number from 1 to {most}")
        return value

    def number(self, key: str) -> float | None:
        """Return a finite number, or None where the key is missing."""
        value = self.keys.get(key)
        if value is None:
            return None
        if not is_number(value):
            raise self.wrong(key, value, "write a number")
        return float(value)

    def mapping(self, key: str) -> Mapping[str, Any] | None:
        """Return a mapping, or None where the key is missing."""
        value = self.keys.get(key)
        if value is None or isinstance(value, dict):
            return value
        raise self.wrong(key, value, "write keys and values")

    def unknown(self, known: Iterable[str]) -> list[Finding]:
        """Return a finding for every key that is not among `known`."""
        return [self._unknown(key, list(known)) for key in self.keys if key not in known]

    def wrong(self, key: str, value: Any, fix: str) -> InvalidInput:
        """Return the error for a value that is not possible at `key`."""
        return InvalidInput(
            f"{shown(value)} is not possible at `{key}` of {self.place_of(key)}", fix=fix
        )

    def _unknown(self, key: str, known: list[str]) -> Finding:
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.75)
        return Finding(
            code="unknown_key",
            place=f"{self.place_of(key)}: {key}",
            message=f"{key!r} is kept, and nothing reads it",
            fix=f"did you mean {near[0]!r}?" if near else "",
        )


def is_number(value: Any) -> bool:
    """Tell whether `value` is a finite number; true and false are none."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) < 1e300  # noqa: PLR2004 - also false for NaN, and safe for huge integers
        and math.isfinite(value)
    )


def shown(value: Any) -> str:
    """Return `value` for a sentence: short, however large or deep it is."""
    try:
        return _SHORT.repr(value)
    except ValueError:  # an integer of too many digits
        return f"a {type(value).__name__}"
