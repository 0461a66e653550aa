"""`lakehouse.undo`: what a run published to bars, taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quant_sdk.lakehouse.amend import Amended
from quant_sdk.lakehouse.locks import writing
from quant_sdk.lakehouse.rewrite import by_series, counts
from quant_sdk.lakehouse.undo import family, of_runs, of_superseded, undo, undoing
from quant_stages.tables import SHOWN, make_whole
from quant_stages.upkeep.params import ChangedSeries, KeptSeries, UndoResult

if TYPE_CHECKING:
    from quant_sdk import CheckContext, Commit, Run, Workspace
    from quant_sdk.lakehouse.undo import Target, Undoing
    from quant_stages.upkeep.params import UndoParams


def undo_run(run: Run, params: UndoParams) -> UndoResult:
    """Take back what a run brought; bars that others have changed since stay, and are named.

    Raises:
        UnknownRun, UnknownName: there is no such run, or source.
        LiveRun: that run is live.
        NoData: what it brought cannot be told any more.
        Conflict: what an earlier declaration gave cannot be told apart.
    """
    with run.step("undo"):
        make_whole(run)
        target = _target(run.workspace, params)
        plan = undoing(run.workspace.lakehouse, target)
        if not plan.change.height:
            return _result(plan, Amended())
        plan, done = run.commit(
            lambda commit: _take_back(run, target, commit),
            batch_id=f"undo-{target.of}",
            event="run_undone",
            describe=lambda both: {"status": "success", **_facts(both[0]), "made": both[1].version},
        )
    return _result(plan, done)


def rehearse(context: CheckContext) -> dict[str, Any]:
    """Tell which bars would go, change and come back, and how many would stay."""
    target = _target(context.workspace, context.params)
    plan = undoing(context.workspace.lakehouse, target)
    return {
        **_facts(plan),
        "series": by_series(plan.change, SHOWN),
        "kept_series": _kept(plan),
    }


def _target(workspace: Workspace, params: UndoParams) -> Target:
    if params.source is not None:
        return of_superseded(workspace.lakehouse, params.source)
    assert params.run_id is not None  # noqa: S101 - the model sees to it
    return of_runs(workspace.lakehouse, params.run_id, family(workspace, params.run_id))


def _take_back(run: Run, target: Target, commit: Commit) -> tuple[Undoing, Amended]:
    with writing(run.workspace.locks, "bars"):
        plan = undoing(run.workspace.lakehouse, target)
        return plan, undo(run.workspace.lakehouse, plan, commit, run.clock.now())


def _facts(plan: Undoing) -> dict[str, Any]:
    return {"of": plan.target.of, **counts(plan.change), "kept": plan.kept.height}


def _kept(plan: Undoing) -> list[dict[str, Any]]:
    series = plan.kept.group_by("symbol", "timeframe").len("rows")
    return series.sort("symbol", "timeframe").head(SHOWN).to_dicts()


def _result(plan: Undoing, done: Amended) -> UndoResult:
    return UndoResult(
        message=_message(plan),
        committed=done.version >= 0,
        made=done.version,
        series=[ChangedSeries(**item) for item in by_series(plan.change, SHOWN)],
        kept_series=[KeptSeries(**item) for item in _kept(plan)],
        **_facts(plan),
    )


def _message(plan: Undoing) -> str:
    found = counts(plan.change)
    parts = [
        f"{number} bars {word}"
        for word, number in (
            ("went to quarantine, rule withdrawn", found["withdrawn"]),
            ("have their old values again", found["corrected"]),
            ("came back", found["brought"]),
            ("stay, for others have changed them since", plan.kept.height),
        )
        if number
    ]
    return "; ".join(parts) or f"nothing to do: {plan.target.of} has nothing in bars"
