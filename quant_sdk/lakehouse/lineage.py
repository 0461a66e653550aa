"""What became of bars since some commits touched them: each change, and whose state a bar is in.

A state belongs to the commit that made it. An undo or a restore makes none: it goes back to an
earlier one, which is again what it was. So equal values that another run brought are told apart.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from quant_registry.errors import NoData
from quant_sdk.lakehouse.overlap import KEY
from quant_sdk.lakehouse.parts import Part, commit_parts, missing_files
from quant_sdk.lakehouse.rewrite import CHANGE, VALUES, bits, change_between
from quant_sdk.lakehouse.table import METADATA_KEY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from quant_sdk.lakehouse.table import Table

STATE: Final = (*VALUES, "source")
STEP: Final = CHANGE | {
    "version": pl.Int64,
    "before": pl.Int64,
    "after": pl.Int64,
    "now": pl.Int64,
}
"""A change of a bar by a commit. States are numbered a bar: that `before` the change, that `after`
it, and that in which the bar is `now`."""
_BACK: Final = frozenset({"undo", "restore"})


def steps(bars: Table, versions: Sequence[int], source: str | None = None) -> pl.DataFrame:
    """Return what some commits changed, with the columns of `STEP`.

    Args:
        bars: the table.
        versions: of the commits.
        source: only the bars that are of this source afterwards.

    Raises:
        NoData: a commit, or a file that it or a later one added or took away, is gone.
    """
    made = [_changes(bars, version) for version in sorted(versions)]
    all_of_them = pl.concat([pl.DataFrame(schema=CHANGE | {"version": pl.Int64}), *made])
    mine = all_of_them
    if source is not None:
        mine = mine.filter(pl.col("new_source") == pl.lit(source))
    if not mine.height:
        return pl.DataFrame(schema=STEP)
    began = mine.group_by(KEY).agg(began=pl.col("version").min())
    later = pl.concat([all_of_them, *_later(bars, mine, set(versions))])
    since = later.join(began, on=KEY).filter(pl.col("version") >= pl.col("began"))
    found = _numbered(since.drop("began"), _going_back(bars, min(versions)))
    return found.join(mine, on=[*KEY, "version"], how="semi").select(list(STEP))


def _changes(bars: Table, version: int) -> pl.DataFrame:
    """Return the change that one commit made, with its ``version``."""
    adds, removes = commit_parts(bars, version)
    if not any(part.changes for part in (*adds, *removes)):
        return pl.DataFrame(schema=CHANGE | {"version": pl.Int64})
    return _between(bars, version, removes, adds)


def _between(
    bars: Table, version: int, removes: Sequence[Part], adds: Sequence[Part]
) -> pl.DataFrame:
    if gone := missing_files(bars, [part.path for part in (*adds, *removes)]):
        raise NoData(
            f"what version {version} of bars brought cannot be told any more: {len(gone)} of its "
            "files are gone",
            fix="go back to a version that can be restored: quant lakehouse history; or read a "
            "snapshot: quant snapshot list",
        )
    found = change_between(bars, removes, adds)
    return found.with_columns(version=pl.lit(version, dtype=pl.Int64))


def _later(bars: Table, mine: pl.DataFrame, versions: set[int]) -> Iterator[pl.DataFrame]:
    """Yield what other commits since the first of `versions` made of the bars of `mine`.

    From its first change on, a bar stands only in files that came since and may hold it.
    """
    keys = mine.select(KEY).unique()
    places = set(mine.select("timeframe", "bucket").unique().iter_rows())
    bounds = [(name, mine[name].min(), mine[name].max()) for name in ("symbol", "ts")]
    near: dict[str, Part] = {}
    for commit in bars.history(min(versions) - 1):
        version = int(commit["version"])
        adds, removes = commit_parts(bars, version)
        gone = [near.pop(part.path) for part in removes if part.path in near]
        come = [
            part
            for part in adds
            if (part.partition["timeframe"], part.partition["bucket"]) in places
            and all(part.may_hold(*bound) for bound in bounds)
        ]
        near.update((part.path, part) for part in come)
        changes = any(part.changes for part in (*adds, *removes))
        if changes and version not in versions and (gone or come):
            yield _between(bars, version, gone, come).join(keys, on=KEY, how="semi")


def _going_back(bars: Table, first: int) -> list[int]:
    """Return the versions from `first` on that an undo or a restore made."""
    return [int(commit["version"]) for commit in bars.history(first - 1) if _kind(commit) in _BACK]


def _kind(commit: dict[str, Any]) -> str:
    ours = json.loads(commit.get(METADATA_KEY, "{}"))
    return str(ours.get("operation") or commit.get("operation", "")).lower()


def _numbered(changes: pl.DataFrame, back: Sequence[int]) -> pl.DataFrame:
    """Add ``before``, ``after`` and ``now``; the changes of a bar are all since its first."""
    ordered = changes.with_columns(
        place=pl.col("version").rank("ordinal").over(KEY).cast(pl.Int64),
        goes_back=pl.col("version").is_in(back),
    )
    returned = pl.col("goes_back").any().over(KEY)
    simple = ordered.filter(~returned).with_columns(after="place")
    others = _with_states(ordered.filter(returned)).sort(*KEY, "place")
    rows = others.select("place", "goes_back", "old", "new").iter_rows()
    numbers = pl.Series("after", list(_after(rows)), dtype=pl.Int64)
    both = pl.concat([simple, others.drop("old", "new").with_columns(numbers)])
    return both.sort(*KEY, "place").with_columns(
        before=pl.col("after").shift(1).over(KEY).fill_null(0), now=pl.col("after").last().over(KEY)
    )


def _with_states(changes: pl.DataFrame) -> pl.DataFrame:
    """Add ``old`` and ``new``: numbers that are equal where the values and the source are."""
    sides = ("old", "new")
    states = [changes.select(bits(f"{side}_{name}") for name in STATE) for side in sides]
    named = [frame.rename(lambda name: name.partition("_")[2]) for frame in states]
    known = pl.concat(named).unique().with_row_index("state")
    for side, frame in zip(sides, named, strict=True):
        met = frame.join(known, on=STATE, how="left", nulls_equal=True, maintain_order="left")
        changes = changes.with_columns(met["state"].alias(side))
    return changes


def _after(rows: Iterable[tuple[int, bool, int, int]]) -> Iterator[int]:
    """Yield the number of the state after each change, the changes of a bar in their order."""
    made: dict[int, tuple[int, int | None]] = {}
    now = 0
    for place, goes_back, old, new in rows:
        if place == 1:
            made, now = {0: (old, None)}, 0
        earlier = _earlier(made, now, new) if goes_back else None
        if earlier is None:
            made[place] = (new, now)
        now = place if earlier is None else earlier
        yield now


def _earlier(made: dict[int, tuple[int, int | None]], now: int, state: int) -> int | None:
    """Return what is gone back to: a state that led to the present one, else the newest such."""
    at = made[now][1]
    while at is not None:
        if made[at][0] == state:
            return at
        at = made[at][1]
    return max((number for number, (held, _) in made.items() if held == state), default=None)
