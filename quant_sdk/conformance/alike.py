"""Files whose columns differ in type, brought to one type where that loses nothing.

A CSV whose volumes happen to be whole numbers has another type than the next one; both hold the
same kind of bars.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import polars as pl

from quant_sdk.conformance.casts import EXACT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    Scans = Mapping[Path, pl.LazyFrame]

_UNITS: Final = {"ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_DAY: Final = 86_400
_MOST: Final = 2**63 - 1
_TEXTS: Final = (pl.String, pl.Categorical, pl.Enum)


def made_alike(scans: Scans) -> dict[Path, pl.LazyFrame]:
    """Return the files with each column in the type that holds the values of all of them.

    Only columns whose types differ are read for it. Where there is no such type, a column stays as
    it is in each file.
    """
    schemas = {path: scan.collect_schema() for path, scan in scans.items()}
    names = dict.fromkeys(name for schema in schemas.values() for name in schema)
    casts = {name: _wanted(name, scans, schemas) for name in names}
    return {
        path: scan.with_columns(
            _as(name, schemas[path][name], wanted)
            for name, wanted in casts.items()
            if wanted is not None and schemas[path].get(name, wanted) != wanted
        )
        for path, scan in scans.items()
    }


def _wanted(name: str, scans: Scans, schemas: Mapping[Path, pl.Schema]) -> Any:
    """Return the type that a column can have in all files; None: as it is."""
    given = {path: schema[name] for path, schema in schemas.items() if name in schema}
    if len(set(given.values())) == 1:
        return None
    told = {path: kind for path, kind in given.items() if not _is_empty(name, kind, scans[path])}
    wanted = _common(set(told.values()))
    fits = wanted is not None and all(
        kind == wanted or _fits(name, kind, wanted, scans[path]) for path, kind in told.items()
    )
    return wanted if fits else None


def _is_empty(name: str, given: Any, scan: pl.LazyFrame) -> bool:
    """Tell whether a column says nothing about its type: all of it is null."""
    if given == pl.Null:
        return True
    if given != pl.String:  # what a CSV without a value is read as
        return False
    return bool(scan.select(pl.col(name).is_null().all()).collect(engine="streaming").item())


def _common(given: set[Any]) -> Any:
    """Return a type that may hold the values of all others, None where there is none."""
    if len(given) < 2:  # noqa: PLR2004
        return next(iter(given), None)
    if all(kind in _TEXTS for kind in given):
        return pl.String
    if all(kind.is_integer() for kind in given):
        return pl.Int64
    if all(kind.is_integer() or kind.is_float() for kind in given):
        return pl.Float64
    return _common_time(given)


def _common_time(given: Iterable[Any]) -> Any:
    times = [pl.Datetime("ms") if kind == pl.Date else kind for kind in given]
    if not all(isinstance(kind, pl.Datetime) for kind in times):
        return None
    zones = {kind.time_zone for kind in times}
    if len(zones) > 1 and None in zones:
        return None
    unit = max((kind.time_unit for kind in times), key=_UNITS.__getitem__)
    return pl.Datetime(unit, zones.pop() if len(zones) == 1 else "UTC")


def _fits(name: str, given: Any, wanted: Any, scan: pl.LazyFrame) -> bool:
    """Tell from the ends of the values that another type holds all of them."""
    bound = _bound(given, wanted)
    if bound is None:
        return True
    raw = pl.col(name).to_physical()
    least, most = (
        scan.select(raw.min().alias("least"), raw.max().alias("most"))
        .collect(engine="streaming")
        .row(0)
    )
    return least is None or (-bound <= least and most <= bound)


def _bound(given: Any, wanted: Any) -> int | None:
    """Return how far from zero a value may be; None: as far as its type goes."""
    if isinstance(wanted, pl.Datetime):
        of_wanted = _UNITS[wanted.time_unit]
        if given == pl.Date:
            return _MOST // (of_wanted * _DAY)
        return _MOST // (of_wanted // _UNITS[given.time_unit])
    if given.is_integer():
        return EXACT.get(wanted, _MOST)
    return None


def _as(name: str, given: Any, wanted: Any) -> pl.Expr:
    """Return the column in another type that holds all its values."""
    if given in (pl.Null, pl.String):
        return pl.lit(None, dtype=wanted).alias(name)  # it is empty
    if given == pl.Date and isinstance(wanted, pl.Datetime):
        return pl.col(name).cast(pl.Datetime("ms")).cast(wanted)
    return pl.col(name).cast(wanted)
