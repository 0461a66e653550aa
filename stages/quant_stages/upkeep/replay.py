"""`quarantine.replay`: quarantined rows, checked again among the bars that stand now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quant_sdk.lakehouse.amend import Amended
from quant_sdk.lakehouse.locks import writing
from quant_sdk.lakehouse.replay import replay, replaying
from quant_sdk.lakehouse.rewrite import by_series, difference
from quant_stages.tables import SHOWN, make_whole
from quant_stages.upkeep.params import ChangedSeries, ReplayResult

if TYPE_CHECKING:
    from quant_sdk import CheckContext, Commit, Run, Workspace
    from quant_sdk.lakehouse.replay import Replay
    from quant_stages.upkeep.params import ReplayParams


def replay_rows(run: Run, params: ReplayParams) -> ReplayResult:
    """Publish the rows that pass now, and mark them; those that fail stay as they are."""
    with run.step("replay"):
        make_whole(run)
        found = _look(run.workspace, params)
        if not found.bars.height and not found.standing.height:
            return _result(found, Amended())
        found, done = run.commit(
            lambda commit: _publish(run, params, commit),
            batch_id=f"replay-{run.run_id}",
            event="quarantine_replayed",
            describe=lambda both: {
                "status": "success",
                "rows": both[0].bars.height,
                "marked": both[1].marked,
                "bars_version": both[1].version,
            },
        )
    return _result(found, done)


def rehearse(context: CheckContext) -> dict[str, Any]:
    """Tell which rows would pass."""
    found = _look(context.workspace, context.params)
    return {"rows": found.rows, "published": found.bars.height, "series": _series(found)}


def _look(workspace: Workspace, params: ReplayParams) -> Replay:
    return replaying(
        workspace.lakehouse, symbol=params.symbol, rule=params.rule, source=params.source
    )


def _publish(run: Run, params: ReplayParams, commit: Commit) -> tuple[Replay, Amended]:
    with writing(run.workspace.locks, "bars"):
        found = _look(run.workspace, params)
        return found, replay(run.workspace.lakehouse, found, commit, run.clock.now())


def _series(found: Replay) -> list[dict[str, Any]]:
    return by_series(difference(found.bars.clear(), found.bars), SHOWN)


def _result(found: Replay, done: Amended) -> ReplayResult:
    published = found.bars.height
    return ReplayResult(
        message=f"{published} of {found.rows} quarantined rows pass now"
        if published
        else f"nothing to do: none of {found.rows} quarantined rows passes",
        committed=done.version >= 0,
        rows=found.rows,
        published=published,
        marked=done.marked,
        made=done.version,
        series=[ChangedSeries(**item) for item in _series(found)],
    )
