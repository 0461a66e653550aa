"""Changing rows that stand: the files that hold them are written again, the others left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import polars as pl

from quant_registry.errors import Corrupted
from quant_sdk.lakehouse.fingerprint import key_hash, value_hash
from quant_sdk.lakehouse.overlap import KEY
from quant_sdk.lakehouse.parts import (
    Part,
    Swap,
    live_parts,
    new_parts,
    scan_parts,
    swap_parts,
    tally,
    write_part,
)
from quant_sdk.lakehouse.specs import BARS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from quant_registry.run import Commit
    from quant_sdk.lakehouse.table import Table

VALUES: Final = ("open", "high", "low", "close", "volume")
SIDES: Final = ("old", "new")
CHANGE: Final = {
    **{name: BARS.columns[name] for name in ("symbol", "timeframe", "bucket", "ts")},
    **{f"{side}_{name}": BARS.columns[name] for side in SIDES for name in (*VALUES, "source")},
}
"""A change of bars, a row a bar: as it was and as it is to be. The source of a side on which there
is no bar is null: bars that go have no ``new_source``, bars that come no ``old_source``."""
WAS: Final = pl.col("old_source").is_not_null()
IS: Final = pl.col("new_source").is_not_null()
_ROWS: Final = {"withdrawn": WAS & ~IS, "corrected": WAS & IS, "brought": ~WAS & IS}
_WHOLE: Final = 2**64
_Sums = tuple[int, int, int]


def bits(name: str) -> pl.Expr:
    """Return what is compared of a column of a bar: of a number its bits, as the ledger hashes.

    ``0.0`` and ``-0.0`` differ.
    """
    column = pl.col(name)
    return column if name.endswith("source") else column.reinterpret(dtype=pl.UInt64)


def difference(before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """Return the change from one state of some bars to another, with the columns of `CHANGE`."""
    place = ["symbol", "timeframe", "bucket", "ts"]
    old, new = (
        frame.select(*place, pl.col(*VALUES, "source").name.prefix(f"{side}_"))
        for side, frame in zip(SIDES, (before, after), strict=True)
    )
    both = old.join(new, on=place, how="full", coalesce=True)
    other = pl.any_horizontal(
        bits(f"old_{name}").ne_missing(bits(f"new_{name}")) for name in (*VALUES, "source")
    )
    return both.filter(other).select(list(CHANGE))


def change_between(bars: Table, removes: Sequence[Part], adds: Sequence[Part]) -> pl.DataFrame:
    """Return the change that it makes to put some files of `bars` in the place of others."""
    pieces = []
    for place in sorted({part.place for part in (*removes, *adds)}):
        with bars.reading():
            before, after = (
                scan_parts(bars, [part.path for part in parts if part.place == place]).collect()
                for parts in (removes, adds)
            )
        pieces.append(difference(before, after))
    return pl.concat(pieces) if pieces else pl.DataFrame(schema=CHANGE)


def side(change: pl.DataFrame, name: str) -> pl.DataFrame:
    """Return the bars of one side of a change, ``old`` or ``new``, with the columns of `bars`."""
    bars = change.filter(pl.col(f"{name}_source").is_not_null())
    return bars.select(
        f"{name}_{column}" if f"{name}_{column}" in CHANGE else column for column in BARS.columns
    ).rename({f"{name}_{column}": column for column in (*VALUES, "source")})


def counts(change: pl.DataFrame) -> dict[str, int]:
    """Return how many bars a change takes away (``withdrawn``), alters and brings."""
    return {name: change.filter(rows).height for name, rows in _ROWS.items()}


def by_series(change: pl.DataFrame, most: int) -> list[dict[str, Any]]:
    """Return symbol, timeframe and `counts` of at most so many series."""
    totals = {name: rows.sum() for name, rows in _ROWS.items()}
    series = change.group_by("symbol", "timeframe").agg(**totals)
    return series.sort("symbol", "timeframe").head(most).to_dicts()


def apply_change(bars: Table, change: pl.DataFrame) -> Swap:
    """Write the files in which `change` is made; no version names them yet.

    The caller holds the table's lock, and has seen the old side of `change` under it.

    Raises:
        Corrupted: the new files do not hold what they should; they are gone again.
    """
    parts = live_parts(bars.delta()) if bars.exists() else []
    removes: list[Part] = []
    with new_parts(bars) as adds:
        for place, piece in change.group_by("timeframe", "bucket", maintain_order=True):
            partition = dict(zip(("timeframe", "bucket"), map(str, place), strict=True))
            touched = piece.filter(WAS)
            for part in _candidates(parts, partition, touched):
                _rewrite(bars, part, touched, adds, removes)
            come = side(piece.filter(~WAS), "new")
            if come.height:
                adds.append(write_part(bars, come.sort("symbol", "ts"), partition))
        swap = Swap(adds=adds, removes=removes)
        _check(bars, swap, change)
    return swap


def _candidates(
    parts: Iterable[Part], partition: dict[str, str], touched: pl.DataFrame
) -> Iterable[Part]:
    """Return the files of a partition that may hold bars of `touched`, by their statistics."""
    if not touched.height:
        return []
    place = tuple(sorted(partition.items()))
    bounds = [(key, touched[key].min(), touched[key].max()) for key in ("symbol", "ts")]
    return [
        part
        for part in parts
        if part.place == place and all(part.may_hold(*bound) for bound in bounds)
    ]


def _rewrite(
    bars: Table, part: Part, touched: pl.DataFrame, adds: list[Part], removes: list[Part]
) -> None:
    """Write the file again without the old and with the new bars, if it holds any of them."""
    with bars.reading():
        rows = scan_parts(bars, [part.path]).collect()
    mine = touched.join(rows, on=KEY, how="semi")
    if not mine.height:
        return
    removes.append(part)
    kept = rows.join(mine, on=KEY, how="anti")
    rest = pl.concat([kept, side(mine, "new")]).sort("symbol", "ts")
    if rest.height:
        adds.append(write_part(bars, rest, part.partition))


def _check(bars: Table, swap: Swap, change: pl.DataFrame) -> None:
    """Compare what the new files hold with what the old files and the change make."""
    before, after = (
        _sums(scan_parts(bars, [part.path for part in parts]))
        for parts in (swap.removes, swap.adds)
    )
    less, more = (_sums(side(change, name).lazy()) for name in SIDES)
    wanted = tuple(
        (was - gone + come) % _WHOLE for was, gone, come in zip(before, less, more, strict=True)
    )
    if wanted != after:
        raise Corrupted(
            f"the change of {change.height} bars came out as {after}, not as {wanted}; "
            "the table was left as it is",
            fix="run the stage again; if it comes again, verify the newest snapshot",
        )


def _sums(rows: pl.LazyFrame) -> _Sums:
    return rows.select(pl.len(), key_hash(), value_hash()).collect().row(0)


def mark_replayed(quarantine: Table, bars: pl.DataFrame, commit: Commit) -> int:
    """Mark the quarantined rows of which these bars stand now, in one commit; return how many.

    Args:
        quarantine: the table.
        bars: bars that stand, with the columns of `bars`; a row is one of them by series, time
            and values, whoever brought it.
        commit: whose commit it is; its run is the one that the mark names.

    Raises:
        Conflict: the table was changed meanwhile, by a writer without its lock.
    """
    if not bars.height or not quarantine.exists():
        return 0
    standing = bars.select(*KEY, *VALUES, _stands=pl.lit(value=True))
    low, high = standing["symbol"].min(), standing["symbol"].max()
    removes: list[Part] = []
    marked = 0
    with new_parts(quarantine) as adds:
        for part in live_parts(quarantine.delta()):
            if not part.may_hold("symbol", low, high):
                continue
            with quarantine.reading():
                rows = scan_parts(quarantine, [part.path]).collect()
            rows, count = _marked(rows, standing, commit)
            if count:
                marked += count
                removes.append(part)
                adds.append(write_part(quarantine, rows, {}))
        swap = Swap(adds=adds, removes=removes)
        _check_marks(quarantine, swap)
    if not marked:
        return 0
    swap_parts(quarantine, swap, commit, {"operation": "replay", "rows": marked})
    return marked


def _marked(rows: pl.DataFrame, standing: pl.DataFrame, commit: Commit) -> tuple[pl.DataFrame, int]:
    met = rows.join(
        standing, on=[*KEY, *VALUES], how="left", nulls_equal=True, maintain_order="left"
    )
    new = pl.col("_stands").fill_null(value=False) & pl.col("replayed_by").is_null()
    count = int(met.select(new.sum()).item())
    mark: Any = pl.when(new).then(pl.lit(commit.run_id)).otherwise("replayed_by")
    return met.with_columns(replayed_by=mark).drop("_stands"), count


def _check_marks(quarantine: Table, swap: Swap) -> None:
    before, after = (
        tally(scan_parts(quarantine, [part.path for part in parts]), without="replayed_by")
        for parts in (swap.removes, swap.adds)
    )
    if before != after:
        raise Corrupted(
            f"marking rows of the quarantine changed them from {before} to {after}; "
            "the table was left as it is",
            fix="run the stage again; if it comes again, verify the newest snapshot",
        )
