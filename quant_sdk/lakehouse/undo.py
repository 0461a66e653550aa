"""Taking back what a run published to `bars`, and nothing else.

What a run brought is read from its commits: the rows of the files before and after each. A bar is
taken back only while it is still as the run left it, and nobody brought it anew since; one that a
later run has changed stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl

from quant_registry.errors import Conflict, LiveRun, UnknownName, UnknownRun
from quant_registry.record import records
from quant_registry.steering import live_runs
from quant_sdk.lakehouse.amend import Amended, Amender, Amendment
from quant_sdk.lakehouse.ledger import Ledger
from quant_sdk.lakehouse.lineage import STATE, steps
from quant_sdk.lakehouse.overlap import KEY
from quant_sdk.lakehouse.rewrite import CHANGE, bits
from quant_sdk.lakehouse.specs import BARS
from quant_sdk.lakehouse.table import Table
from quant_sdk.lakehouse.versions import versions_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from pathlib import Path

    from quant_registry.run import Commit
    from quant_registry.workspace import Workspace
    from quant_sdk.lakehouse.ledger import Entry

_AT: Final = tuple(f"at_{name}" for name in STATE)
_WAS: Final = tuple(f"was_{name}" for name in STATE)
_OLD: Final = tuple(f"old_{name}" for name in STATE)
_NEW: Final = tuple(f"new_{name}" for name in STATE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is to be taken back.

    Attributes:
        of: its name: a run's id, or a source's.
        versions: the commits of `bars` that brought it.
        source: only what this source brought; None for all of it.
        spec_digest: of the declaration under which it came, where that is what is taken back.
    """

    of: str
    versions: Sequence[int]
    source: str | None = None
    spec_digest: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Undoing:
    """What taking it back would do.

    Attributes:
        target: what is taken back.
        change: what is to change, with the columns of `rewrite.CHANGE`.
        kept: symbol, timeframe, ts of bars that others have changed since; they stay.
        already: how many bars are as they were before.
    """

    target: Target
    change: pl.DataFrame
    kept: pl.DataFrame
    already: int


def family(workspace: Workspace, run_id: str) -> set[str]:
    """Return a run and its child runs, and theirs.

    Raises:
        UnknownRun: there is no such run.
        LiveRun: one of them is live.
    """
    parents = {record.run_id: record.parent_run_id for record in records(workspace, limit=None)}
    if run_id not in parents:
        raise UnknownRun(run_id, parents)
    found = {run_id}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    for record in live_runs(workspace):
        if record.run_id in found:
            raise LiveRun(
                f"run {record.run_id} is live",
                fix=f"wait for it, or cancel it: quant cancel --scope {record.run_id}",
            )
    return found


def of_runs(lakehouse: Path, run_id: str, children: Iterable[str] = ()) -> Target:
    """Return what a run published to `bars`, and its child runs with it."""
    bars = Table(lakehouse, BARS)
    return Target(of=run_id, versions=versions_of(bars, {run_id, *children}))


def of_superseded(lakehouse: Path, source: str) -> Target:
    """Return what earlier declarations of a source brought that the present one does not give.

    Raises:
        UnknownName: the ledger knows no such source.
        Conflict: the present declaration gives some of the same bars; which, cannot be told.
    """
    entries = Ledger(lakehouse).entries()
    history = [entry for entry in entries if entry.source == source]
    if not history:
        raise UnknownName(source, sorted({entry.source for entry in entries}))
    present = history[-1].spec_digest
    earlier = [entry for entry in history if entry.spec_digest != present]
    now = [entry for entry in history if entry.spec_digest == present]
    shared = {_series(entry) for entry in now} & {_series(entry) for entry in earlier}
    if shared and any(entry.unchanged or entry.corrected for entry in now):
        raise Conflict(
            f"the present declaration of {source} confirms some of the bars that the earlier one "
            "brought, and nothing tells which",
            fix="wipe the lakehouse and migrate again: quant lakehouse wipe --yes",
        )
    made = {entry.version for entry in earlier if entry.table == BARS.name}
    return Target(
        of=source,
        versions=sorted(version for version in made if version >= 0),
        source=source,
        spec_digest=earlier[-1].spec_digest if earlier else None,
    )


def undoing(lakehouse: Path, target: Target) -> Undoing:
    """Look at what taking it back would do, newest commit first; changes nothing.

    Raises:
        NoData: a commit, or a file that it or a later one added or took away, is gone.
    """
    bars = Table(lakehouse, BARS)
    found = steps(bars, target.versions, target.source)
    if not found.height:
        nothing = pl.DataFrame(schema=CHANGE)
        return Undoing(target=target, change=nothing, kept=nothing.select(KEY), already=0)
    once = found["version"].n_unique() == 1
    newest = pl.col("version").rank("ordinal", descending=True).over(KEY)
    found = found.with_columns(step=pl.lit(1, dtype=pl.UInt32) if once else newest)
    walked = _walked_back(_standing(bars, found), found)
    moved, back = ~_same(_WAS, _AT), _same(_WAS, _OLD)
    renamed = dict(zip((*_WAS, *_AT), (*_OLD, *_NEW), strict=True))
    stays = walked.filter(~moved)
    return Undoing(
        target=target,
        change=walked.filter(moved).drop(_OLD).rename(renamed).select(list(CHANGE)),
        kept=stays.filter(~back).select(KEY),
        already=stays.filter(back).height,
    )


def undo(lakehouse: Path, undoing: Undoing, commit: Commit, now: datetime) -> Amended:
    """Take it back, in one commit; the caller holds the lock of `bars` since `undoing`."""
    target = undoing.target
    amendment = Amendment(
        kind="undo",
        of=target.of,
        reason=f"run {commit.run_id} took back what {target.of} had brought",
        change=undoing.change,
        spec_digest=target.spec_digest,
    )
    return Amender(lakehouse).amend_bars(amendment, commit, now)


def _series(entry: Entry) -> tuple[str, str]:
    return entry.symbol, entry.timeframe


def _standing(bars: Table, steps: pl.DataFrame) -> pl.DataFrame:
    """Return each bar that was touched as it is now (``was_*``), null where there is none."""
    keys = steps.select(*KEY, "bucket", "now").unique()
    now = (
        bars.scan()
        .filter(
            *(
                pl.col(name).is_in(keys[name].unique().to_list())
                for name in ("timeframe", "bucket")
            ),
            *(
                pl.col(name).is_between(pl.lit(keys[name].min()), pl.lit(keys[name].max()))
                for name in ("symbol", "ts")
            ),
        )
        .select(*KEY, pl.col(*STATE).name.prefix("was_"))
        .collect()
    )
    return keys.join(now, on=KEY, how="left")


def _walked_back(state: pl.DataFrame, steps: pl.DataFrame) -> pl.DataFrame:
    """Take each bar back along its steps, newest first, as long as it is in the step's state.

    Returns:
        ``was_*`` as it is, ``at_*`` as it is to be, ``old_*`` as it was before the oldest step.
    """
    state = state.with_columns(pl.col(was).alias(at) for was, at in zip(_WAS, _AT, strict=True))
    done = []
    for step in range(1, steps["step"].n_unique() + 1):
        one = steps.filter(pl.col("step") == step).select(*KEY, *_OLD, "before", "after")
        if step > 1:
            done.append(state.join(one, on=KEY, how="anti"))
            state = state.drop(*_OLD)
        met = state.join(one, on=KEY, how="inner")
        moves = zip((*_OLD, "before"), (*_AT, "now"), strict=True)
        state = met.with_columns(
            pl.when(pl.col("now") == pl.col("after"))
            .then(pl.col(old))
            .otherwise(pl.col(at))
            .alias(at)
            for old, at in moves
        ).drop("before", "after")
    return pl.concat([*done, state])


def _same(some: Iterable[str], others: Iterable[str]) -> pl.Expr:
    pairs = zip(some, others, strict=True)
    return pl.all_horizontal(bits(one).eq_missing(bits(other)) for one, other in pairs)
