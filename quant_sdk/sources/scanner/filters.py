"""Filters: ``left operation right``, in the scanner's own words."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any, Final

from quant_sdk.sources.scanner.documents import Finding
from quant_sdk.sources.scanner.fields import MOST_ITEMS, Fields, is_number

MOST_FILTERS: Final = 200
COMPARISONS: Final = ("greater", "egreater", "less", "eless", "equal", "nequal")
SETS: Final = ("in_range", "not_in_range", "has", "has_none_of")
OPERATIONS: Final = (
    *COMPARISONS,
    *SETS,
    "match",
    "nmatch",
    "empty",
    "nempty",
    "crosses",
    "crosses_above",
    "crosses_below",
    "above%",
    "below%",
    "in_range%",
    "not_in_range%",
    "in_day_range",
    "in_week_range",
    "in_month_range",
)
_LONE: Final = ("empty", "nempty")


@dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """One condition a symbol must meet.

    Attributes:
        left: a column, such as ``close`` or ``RSI|60``.
        operation: such as ``greater``; see `OPERATIONS`.
        right: a number, a text, another column's name, or a list; None for ``empty``.
    """

    left: str
    operation: str
    right: Any = None

    def to_dict(self) -> dict[str, Any]:
        """Return the form of the request's ``filter``."""
        if self.operation in _LONE:
            return {"left": self.left, "operation": self.operation}
        right = list(self.right) if isinstance(self.right, tuple) else self.right
        return {"left": self.left, "operation": self.operation, "right": right}


def parse_filters(fields: Fields) -> tuple[tuple[Filter, ...], list[Finding]]:
    """Return the filters of a scanner file, and findings about them.

    An operation that is not known here is kept: the venue decides.

    Raises:
        InvalidInput: a filter is not of the form.
    """
    value = fields.keys.get("filters")
    if value is None:
        return (), []
    form = "write a list of {left, operation, right}"
    if not isinstance(value, list) or len(value) > MOST_FILTERS:
        raise fields.wrong("filters", value, form)
    found: list[Filter] = []
    findings: list[Finding] = []
    for number, item in enumerate(value):
        if not isinstance(item, dict):
            raise fields.wrong(f"filters[{number}]", item, form)
        inner = fields.inner(item, f"filters[{number}]")
        found.append(_filter(inner))
        findings += [*inner.unknown(("left", "operation", "right")), *_unheard(inner, found[-1])]
    return tuple(found), findings


def _filter(fields: Fields) -> Filter:
    left, operation = fields.text("left"), fields.text("operation")
    if left is None or operation is None:
        raise fields.wrong("left", fields.keys, "write left and operation, both texts")
    right = fields.keys.get("right")
    if isinstance(right, list) and len(right) <= MOST_ITEMS and all(map(_is_plain, right)):
        return Filter(left=left, operation=operation, right=tuple(right))
    if not (_is_plain(right) or (right is None and operation in _LONE)):
        raise fields.wrong("right", right, "write a number, a text in quotes, or a list of them")
    return Filter(left=left, operation=operation, right=right)


def _unheard(fields: Fields, item: Filter) -> list[Finding]:
    if item.operation in OPERATIONS:
        return []
    near = difflib.get_close_matches(item.operation, OPERATIONS, n=1)
    return [
        Finding(
            code="unknown_operation",
            place=fields.place,
            message=f"{item.operation!r} is passed on as it is",
            fix=f"did you mean {near[0]!r}?" if near else "",
        )
    ]


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | bool) or is_number(value)


def columns_of(filters: tuple[Filter, ...]) -> tuple[str, ...]:
    """Return the columns that filters look at, without repetitions."""
    return tuple(dict.fromkeys(item.left for item in filters))
