"""The shape of a profile: which keys it may hold, and which values are possible."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from quant_sdk.errors import QuantError
from quant_sdk.lakehouse.timeframe import Timeframe
from quant_sdk.sources.legacy.layouts import LAYOUTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SCANNER_SUFFIXES = (".yaml", ".yml")
MOST_DAYS = 100_000
UNITS = ("s", "ms", "us", "ns")
CALENDARS = ("24x7", "24x5")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What may stand at a place of the manifest.

    Attributes:
        test: tells whether a value is possible.
        fix: what to write instead.
        keys: the known keys of an object, each with its shape; None where any value will do.
        values: the shape of every value of an object whose keys are free.
        items: the shape of a list's items.
        required: keys that must stand.
    """

    test: Callable[[Any], bool] = lambda _: True
    fix: str = ""
    keys: dict[str, Shape | None] = field(default_factory=dict)
    values: Shape | None = None
    items: Shape | None = None
    required: tuple[str, ...] = ()

    def problem(self, value: Any) -> str:
        """Return what is wrong with `value` itself, or an empty text."""
        if not self.test(value):
            return f"{str(value)[:60]!r} is not possible here"
        if isinstance(value, dict):
            missing = [key for key in self.required if key not in value]
            if missing:
                return f"{', '.join(missing)} is missing"
        return ""


def _is_timeframe(value: Any) -> bool:
    try:
        Timeframe.parse(value)
    except (QuantError, TypeError):
        return False
    return True


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and "\0" not in value


def _is_calendar(value: Any) -> bool:
    if value in CALENDARS:
        return True
    from quant_sdk.lakehouse.sessions import is_exchange

    return isinstance(value, str) and is_exchange(value)


def _is_days(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MOST_DAYS


def _one_of(names: tuple[str, ...]) -> Shape:
    return Shape(test=lambda value: value in names, fix=f"use one of {', '.join(names)}")


OBJECT = Shape(test=lambda value: isinstance(value, dict), fix="write an object")
TEXT = Shape(test=_is_text, fix="write a text")
TEXTS = Shape(test=lambda value: isinstance(value, list), fix="write a list of texts", items=TEXT)
TIMEFRAME = Shape(test=_is_timeframe, fix="write a timeframe: 1m, 5m, 1h, 1d")
DAYS = Shape(test=_is_days, fix="write a positive number of days")
CALENDAR = Shape(
    test=_is_calendar,
    fix=f"use {', '.join(CALENDARS)} or a name of exchange-calendars, such as XNYS "
    "(pip install 'quant-stage-sdk[calendars]')",
)
FLAG = Shape(test=lambda value: isinstance(value, bool), fix="write true or false")

LEGACY = Shape(
    test=OBJECT.test,
    fix=OBJECT.fix,
    required=("path", "layout"),
    keys={
        "path": TEXT,
        "layout": _one_of(tuple(LAYOUTS)),
        "exchange": TEXT,
        "timeframe": TIMEFRAME,
        "timestamp_column": TEXT,
        "timestamp_unit": _one_of(UNITS),
        "symbol": TEXT,
        "asset_type": TEXT,
        "calendar": CALENDAR,
        "timezone": TEXT,
    },
)
STRATEGY = Shape(
    test=OBJECT.test,
    fix=OBJECT.fix,
    keys={
        "scanners": TEXTS,
        "interval": TIMEFRAME,
        "ingestion_depth": DAYS,
        "strict_health": FLAG,
    },
)
DISCOVERY = Shape(
    test=OBJECT.test,
    fix=OBJECT.fix,
    keys={
        "enabled_markets": TEXTS,
        "strategies": Shape(test=OBJECT.test, fix=OBJECT.fix, values=STRATEGY),
        "legacy": Shape(
            test=lambda value: isinstance(value, list), fix="write a list of entries", items=LEGACY
        ),
    },
)
PROFILE = Shape(
    test=OBJECT.test,
    fix=OBJECT.fix,
    keys={
        "description": TEXT,
        "discovery": DISCOVERY,
        "sleeves": Shape(test=lambda value: isinstance(value, list), fix="write a list"),
    },
)
MANIFEST: dict[str, Shape | None] = dict.fromkeys(
    ("default_profile", "defaults", "profiles", "pipelines")
)


def scanners(discovery: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield place and path of every scanner that a discovery section names."""
    strategies = discovery.get("strategies")
    for name, strategy in strategies.items() if isinstance(strategies, dict) else ():
        listed = strategy.get("scanners") if isinstance(strategy, dict) else None
        for index, path in enumerate(listed if isinstance(listed, list) else ()):
            if isinstance(path, str):
                yield f"strategies.{name}.scanners[{index}]", path


def scanner_exists(folder: Path, scanner: str) -> bool:
    """Tell whether a scanner file stands at a path written without its suffix."""
    return any(os.path.isfile(folder / f"{scanner}{suffix}") for suffix in SCANNER_SUFFIXES)  # noqa: PTH113 - see `exists`


def exists(path: Path) -> bool:
    """Tell whether something stands at `path`; `Path.exists` raises where it is too long."""
    return os.path.exists(path)  # noqa: PTH110


def legacy(discovery: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the legacy entries of a discovery section that are objects."""
    entries = discovery.get("legacy")
    return [item for item in entries if isinstance(item, dict)] if isinstance(entries, list) else []
