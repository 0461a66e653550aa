"""Looking ahead: what would be asked and computed; no network."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from quant_sdk import Check, Plan
from quant_sdk.features import History, require_talib
from quant_sdk.lakehouse.lakehouse import Lakehouse
from quant_stages.data.features.scope import scope_of

if TYPE_CHECKING:
    from quant_sdk import CheckContext, CheckStatus
    from quant_sdk.features import Series
    from quant_stages.data.features.scope import Scope

Look = tuple["CheckStatus", str, str]


def plan(context: CheckContext) -> Plan:
    """Count the symbols that would be asked for, and the bars that would be looked at."""
    scope = scope_of(context.workspace, context.params)
    groups = _groups(context, scope) if context.params.history else []
    return Plan(
        steps=tuple(name for name in ("technicals", "history") if getattr(context.params, name)),
        candidates=len(scope.candidates),
        files=0,
        rows=sum(group.rows for group in groups),
        inputs=_digest(context, scope),
        notes=(f"technicals of {', '.join(scope.asked)}",) if scope.asked else (),
    )


def rehearse(context: CheckContext) -> dict[str, Any]:
    """Compute what history lacks, without writing; the scanner is not asked."""
    scope = scope_of(context.workspace, context.params)
    counts = {"series": 0, "bars": 0, "rows": 0, "gone": 0}
    if context.params.history:
        history = _history(context)
        for group in _groups(context, scope):
            found = history.pending(group)
            counts["series"] += found.series
            counts["bars"] += found.bars
            counts["rows"] += found.rows.height
            counts["gone"] += found.gone.height
    return {"technicals_of": len(scope.candidates), **counts}


def _groups(context: CheckContext, scope: Scope) -> list[Series]:
    return _history(context).series(scope.symbols, scope.timeframes)


def _history(context: CheckContext) -> History:
    calendar_of = Lakehouse(context.workspace).calendars()
    return History(context.workspace.lakehouse, calendar_of, context.clock.now())


def _digest(context: CheckContext, scope: Scope) -> str:
    """Name the symbols, the timeframes and the state of the bars."""
    digest = hashlib.sha256()
    version = Lakehouse(context.workspace).table("bars").version()
    candidates = [each.symbol for each in scope.candidates]
    for text in (str(version), *scope.asked, *candidates, *(scope.symbols or ("*",))):
        digest.update(f"{text}\0".encode())
    return digest.hexdigest()


def _scope(context: CheckContext) -> Look:
    scope = scope_of(context.workspace, context.params)
    history = "every symbol in bars" if scope.symbols is None else f"{len(scope.symbols)} symbols"
    return "passed", f"technicals of {len(scope.candidates)} symbols, history of {history}", ""


def _symbols(context: CheckContext) -> Look:
    table = Lakehouse(context.workspace).table("symbols")
    rows = table.facts()["rows"]
    if not rows:
        return (
            "failed",
            "the table symbols is empty, and features of unknown symbols are refused",
            "run: quant stage run data.metadata",
        )
    return "passed", f"{rows} versions of symbols", ""


def _talib(context: CheckContext) -> Look:
    if not context.params.history:
        return "not_applicable", "no history is wanted", ""
    require_talib()
    return "passed", "TA-Lib is installed", ""


CHECKS = (
    Check(name="scope", look=_scope),
    Check(name="symbols", look=_symbols),
    Check(name="talib", look=_talib),
)
