"""HTML and SVG, built of elements; whatever is not markup already is escaped."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_VOID: Final = frozenset({"meta", "br", "rect", "circle", "line", "path", "col"})
_STRANGE: Final = "\N{REPLACEMENT CHARACTER}"


class Markup(str):
    """Text that is markup and is not escaped again; only this module makes it of data."""

    __slots__ = ()


def text(value: object) -> Markup:
    """Return a value as escaped text; what does not print, such as a change of direction, shows."""
    if isinstance(value, Markup):
        return value
    plain = "-" if value is None else str(value)
    if not plain.isprintable():
        plain = "".join(sign if sign.isprintable() else _STRANGE for sign in plain)
    return Markup(escape(plain, quote=True))


def tag(name: str, /, *children: object, **attributes: object) -> Markup:
    """Return one element; ``class_`` is the attribute ``class``, ``aria_label`` ``aria-label``."""
    named = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID and not children:
        return Markup(f"<{name}{named}/>")
    return Markup(f"<{name}{named}>{together(children)}</{name}>")


def together(parts: Iterable[object]) -> Markup:
    """Return parts one behind the other; None is left out."""
    return Markup("".join(text(part) for part in parts if part is not None))


def number(value: float) -> str:
    """Return a number with separators of thousands."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"


def share(part: int, whole: int) -> str:
    """Return ``part / whole`` in percent, cut: only what is whole shows as 100 %, or as 0 %."""
    if whole <= 0:
        return "-"
    if part >= whole:
        return "100 %"
    if part <= 0:
        return "0 %"
    hundredths = part * 10_000 // whole
    return f"{hundredths / 100:.2f} %" if hundredths else "under 0.01 %"
