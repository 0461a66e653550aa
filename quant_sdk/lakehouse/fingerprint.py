"""Order-independent fingerprints of series: equal rows give equal hashes, in any row order.

Each row becomes one 64-bit number: the bits of its values, folded, times one odd constant each,
summed, then mixed by the finaliser of MurmurHash3 (fmix64, public domain, A. Appleby). A series'
hash is the wrapping sum of its rows' numbers, so hashes of parts add up to the hash of the whole.
Every step on one value is a bijection: changing any single value always changes the hash. Only
wrapping integer arithmetic is used, never ``Expr.hash``, whose result changes with polars.

This detects damage and difference, not forgery. ``-0.0`` and ``0.0`` differ, as their bits do.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Mapping

SERIES: Final = ("symbol", "timeframe")
KEY: Final = ("ts",)
"""Columns of the key hash: which bars there are."""
VALUE: Final = ("ts", "open", "high", "low", "close", "volume")
"""Columns of the value hash: what the bars say."""

_HASHES: Final = ("key_hash", "value_hash")
_ODD: Final = {
    "ts": 0x9E3779B97F4A7C15,
    "open": 0xC2B2AE3D27D4EB4F,
    "high": 0x165667B19E3779F9,
    "low": 0xD6E8FEB86659FD93,
    "close": 0xA0761D6478BD642F,
    "volume": 0xE7037ED1A0B428DB,
}
_NULL: Final = 0x7FF8_6E75_6C6C_5EED
"""Stands for a null: the bits of a NaN that no computation makes."""
_SEED: Final = 0x27D4EB2F165667C5
_FMIX: Final = (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53)


def fingerprint(frame: pl.DataFrame | pl.LazyFrame, by: tuple[str, ...] = SERIES) -> pl.DataFrame:
    """Return one row per group, sorted by the columns of `by`.

    Args:
        frame: bars with ``symbol``, ``timeframe`` (text), ``ts`` (Datetime, UTC) and ``open``,
            ``high``, ``low``, ``close``, ``volume`` (Float64, nullable). Any row order.
        by: the text columns that make a group; a series by default.

    Returns:
        the columns of `by` (String), ``rows`` (UInt32), ``first``, ``last`` (Datetime us
        UTC, both inclusive bar openings), ``key_hash``, ``value_hash`` (UInt64).
    """
    totals = (
        pl.len().cast(pl.UInt32).alias("rows"),
        pl.col("ts").min().alias("first"),
        pl.col("ts").max().alias("last"),
        pl.col(_HASHES).sum(),
    )
    return row_hashes(frame.lazy(), by).group_by(by).agg(totals).sort(by).collect()


def row_hashes(bars: pl.LazyFrame, by: tuple[str, ...] = SERIES) -> pl.LazyFrame:
    """Return the columns of `by`, ts, and of each row ``key_hash`` and ``value_hash`` (UInt64)."""
    series = (pl.col(name).cast(pl.String) for name in by)
    ts = pl.col("ts").dt.cast_time_unit("us")
    bits = (_bits(name).alias(f"_{name}") for name in VALUE)
    # One step a frame: nested, each fold would double the expression.
    staged = bars.select(*series, ts, *bits).with_columns(
        _sum({name: pl.col(f"_{name}") for name in KEY}).alias("key_hash"),
        _sum({name: pl.col(f"_{name}") for name in VALUE}).alias("value_hash"),
    )
    for factor in _FMIX:
        staged = staged.with_columns(_fold(pl.col(name), 33) * _u64(factor) for name in _HASHES)
    return staged.select(*by, "ts", *(_fold(pl.col(name), 33) for name in _HASHES))


def row_names(bars: pl.DataFrame) -> pl.Series:
    """Return a name for each row of bars (String): it is the same for the same values alone."""
    # polars 2.1 panics in format on a frame of several chunks.
    hashes = row_hashes(bars.lazy()).collect().rechunk()
    return hashes.select(name=pl.format("row:{}", "value_hash")).to_series()


def key_hash() -> pl.Expr:
    """Return the hash of all rows' ``ts``: a UInt64 aggregate for ``select`` or ``agg``."""
    return _row_hash(KEY).sum().alias("key_hash")


def value_hash() -> pl.Expr:
    """Return the hash of all rows' ts, prices and volume: a UInt64 aggregate."""
    return _row_hash(VALUE).sum().alias("value_hash")


def merge(*parts: pl.DataFrame) -> pl.DataFrame:
    """Return the fingerprint of the union of disjoint parts from their fingerprints."""
    totals = (
        pl.col("rows").sum(),
        pl.col("first").min(),
        pl.col("last").max(),
        pl.col(_HASHES).sum(),
    )
    return pl.concat(parts).group_by(SERIES).agg(totals).sort(SERIES)


def incremental(
    parts: Mapping[str, pl.DataFrame | pl.LazyFrame], known: Mapping[str, pl.DataFrame]
) -> dict[str, pl.DataFrame]:
    """Return the fingerprint of each part; what is known already is not computed again.

    `merge` makes that of the whole of them.

    Args:
        parts: by a name that another content never has, such as the path of a file that is written
            once, or a partition with its version.
        known: what was returned before; parts that are gone are left out.
    """
    return {
        name: known[name] if name in known else fingerprint(part) for name, part in parts.items()
    }


def combine(prints: pl.DataFrame) -> str:
    """Return the content hash of a table, sha256 in hex, from the `fingerprint` of its series."""
    ends = pl.col("first", "last").dt.timestamp("us")
    facts = prints.sort(SERIES).select(*SERIES, "rows", ends, *_HASHES)
    lines = ("\t".join(map(str, row)) + "\n" for row in facts.iter_rows())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _row_hash(columns: tuple[str, ...]) -> pl.Expr:
    """Return what `row_hashes` computes, as one expression; struct fields name its steps."""
    row = pl.struct(_bits(name).alias(name) for name in columns)
    x = _step(row, _sum({name: pl.field(name) for name in columns}))
    for factor in _FMIX:
        x = _step(pl.struct(x), _fold(pl.field("x"), 33) * _u64(factor))
    return _step(pl.struct(x), _fold(pl.field("x"), 33))


def _step(row: pl.Expr, value: pl.Expr) -> pl.Expr:
    return row.struct.with_fields(value.alias("x")).struct.field("x")


def _bits(name: str) -> pl.Expr:
    value = pl.col(name).dt.timestamp("us") if name == "ts" else pl.col(name).cast(pl.Float64)
    return value.reinterpret(dtype=pl.UInt64).fill_null(_u64(_NULL))


def _sum(bits: Mapping[str, pl.Expr]) -> pl.Expr:
    total = _u64(_SEED)
    for name, value in bits.items():
        total += _fold(value, 32) * _u64(_ODD[name])
    return total


def _fold(x: pl.Expr, shift: int) -> pl.Expr:
    return x ^ (x // _u64(2**shift))


def _u64(value: int) -> pl.Expr:
    return pl.lit(value, dtype=pl.UInt64)
