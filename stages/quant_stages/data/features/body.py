"""Features: today's technicals, then history; each alone where the other is not wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quant_sdk.errors import SourceError, SourceUnreadable
from quant_sdk.features import FeatureStore
from quant_stages.data.features.history import Computed, compute_history
from quant_stages.data.features.params import FeaturesResult, RowCounts
from quant_stages.data.features.put import MOST_REFUSED
from quant_stages.data.features.scope import scope_of
from quant_stages.data.features.technicals import Technicals, take_in_technicals

if TYPE_CHECKING:
    from collections.abc import Iterable

    from quant_sdk import Run
    from quant_sdk.features import Stored
    from quant_stages.data.features.params import FeaturesParams

MOST_FAILURES = 50


def ingest_features(run: Run, params: FeaturesParams) -> FeaturesResult:
    """Take in technicals and compute history; a scanner that fails degrades the run.

    Raises:
        SourceError: the scanner failed, and the run is strict or wants technicals alone. What came
            is written before.
        MissingExtra: history is wanted, and TA-Lib is not installed.
    """
    run.report(health_check="pending")
    scope = scope_of(run.workspace, params)
    run.report(candidate_count=len(scope.candidates))
    store = FeatureStore(run.workspace.lakehouse, run.workspace.locks)
    if torn := store.mend():
        run.emit("table_mended", status="success", set_aside=torn)
    technicals, computed = Technicals(), Computed()
    if params.technicals:
        with run.step("technicals"):
            technicals = take_in_technicals(run, store, scope)
    if params.history:
        with run.step("history"):
            computed = compute_history(run, store, scope, params)
    run.report(health_check="degraded" if technicals.failures else "passed")
    alone = not params.history and not technicals.answered
    if technicals.failures and (params.strict or alone):
        raise _failed(technicals)
    return _result(len(scope.candidates), technicals, computed)


def _failed(technicals: Technicals) -> SourceError:
    kind = SourceError if technicals.retryable else SourceUnreadable
    first = technicals.failures[0]
    return kind(f"technicals failed for {first.part}: {first.message}", fix=first.fix)


def _result(symbols: int, technicals: Technicals, computed: Computed) -> FeaturesResult:
    stored = [*technicals.stored, *computed.stored]
    refused = sorted({symbol for each in stored for symbol in each.refused})
    history = _counts(computed.stored)
    standing = computed.bars - computed.pending
    return FeaturesResult(
        message=_message(technicals, computed, refused),
        committed=any(each.version >= 0 for each in stored),
        health_check="degraded" if technicals.failures else "passed",
        source=technicals.source,
        symbols=symbols,
        without_technicals=technicals.without,
        technicals=_counts(technicals.stored),
        series=computed.series,
        bars=computed.bars,
        history=history.model_copy(update={"unchanged": history.unchanged + standing}),
        refused_symbols=len(refused),
        refused=refused[:MOST_REFUSED],
        failed=len(technicals.failures),
        failures=technicals.failures[:MOST_FAILURES],
    )


def _counts(stored: Iterable[Stored]) -> RowCounts:
    counts = RowCounts()
    for each in stored:
        counts = RowCounts(
            added=counts.added + each.added,
            replaced=counts.replaced + each.replaced,
            removed=counts.removed + each.removed,
            unchanged=counts.unchanged + each.unchanged,
        )
    return counts


def _message(technicals: Technicals, computed: Computed, refused: list[str]) -> str:
    parts = []
    if technicals.stored:
        told = sum(each.added + each.replaced for each in technicals.stored)
        parts.append(f"{told} rows of technicals are new")
    if computed.series:
        written = sum(each.added + each.replaced for each in computed.stored)
        parts.append(f"{written} of {computed.bars} bars of {computed.series} series have new rows")
    if refused:
        parts.append(
            f"{len(refused)} symbols are unknown and were refused (quant stage run data.metadata)"
        )
    if technicals.failures:
        failed = ", ".join(each.part for each in technicals.failures)
        parts.append(f"technicals failed for {failed}")
    return "; ".join(parts) or "nothing to do: there are neither candidates nor bars"
