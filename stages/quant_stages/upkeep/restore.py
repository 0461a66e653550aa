"""`lakehouse.restore`: back to an earlier version of a table, with nobody else at work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from quant_sdk.lakehouse.locks import writing
from quant_sdk.lakehouse.restore import alone, restore, way_back
from quant_sdk.lakehouse.rewrite import by_series, counts
from quant_stages.tables import SHOWN, make_whole, table_named
from quant_stages.upkeep.params import ChangedSeries, RestoreResult

if TYPE_CHECKING:
    from quant_sdk import CheckContext, Commit, Run
    from quant_sdk.lakehouse.amend import Amended
    from quant_sdk.lakehouse.restore import Return
    from quant_stages.upkeep.params import RestoreParams


def restore_table(run: Run, params: RestoreParams) -> RestoreResult:
    """Go back to a version, as a new version; bars that go are kept in quarantine.

    Raises:
        LiveRun: another run is live.
        InvalidInput: there is no such version, or the table is a record.
        NoData: files of that version are gone.
    """
    table = table_named(run.workspace, params.table)
    with run.step("restore"), alone(run.workspace, run.run_id):
        make_whole(run)
        way = way_back(table, params.version)
        if not way.is_needed:
            return _result(way, -1)
        done = run.commit(
            lambda commit: _go(run, way, commit),
            batch_id=f"restore-{table.spec.name}-{way.version}-from-{way.newest}",
            event="table_restored",
            describe=lambda done: {"status": "success", **_facts(way), "made": done.version},
        )
    return _result(way, done.version)


def rehearse(context: CheckContext) -> dict[str, Any]:
    """Tell which bars would go, change and come back."""
    params: RestoreParams = context.params
    way = way_back(table_named(context.workspace, params.table), params.version)
    return {**_facts(way), "series": by_series(way.change, SHOWN)}


def _go(run: Run, way: Return, commit: Commit) -> Amended:
    with writing(run.workspace.locks, way.table.spec.name):
        return restore(run.workspace, way, commit, run.clock.now())


def _facts(way: Return) -> dict[str, Any]:
    return {
        "table": way.table.spec.name,
        "version": way.version,
        "rows": way.rows,
        **counts(way.change),
    }


def _result(way: Return, made: int) -> RestoreResult:
    series = [ChangedSeries(**item) for item in by_series(way.change, SHOWN)]
    return RestoreResult(
        message=_message(way, made), committed=made >= 0, made=made, series=series, **_facts(way)
    )


def _message(way: Return, made: int) -> str:
    name = way.table.spec.name
    if made < 0:
        return f"nothing to do: {name} holds the rows of version {way.version}"
    told = f"version {made} of {name} holds the rows of version {way.version}"
    gone = way.change.filter(pl.col("new_source").is_null()).height
    return f"{told}; {gone} bars went to quarantine, rule withdrawn" if gone else told
