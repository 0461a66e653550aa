"""The documents that answers carry, built once: for ``--json`` and for the MCP tools."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any

from quant_cli.output import dump, listing

if TYPE_CHECKING:
    from quant_sdk import QuantSDK, RunRecord

BARS = 100
EVENTS = 200


def stages(sdk: QuantSDK, *, category: str | None = None, tag: str | None = None) -> dict[str, Any]:
    """Return the stages that are declared, and the plugins that could not be imported."""
    broken = [
        {"origin": origin, **error.to_dict()} for origin, error in sdk.registry.broken.items()
    ]
    specs = [spec.to_dict() for spec in sdk.stages(category=category, tag=tag)]
    return {**listing("stages", specs), "broken": broken}


def statuses(
    sdk: QuantSDK, scope: str | None = None, *, since_seq: int | None = None
) -> dict[str, Any]:
    """Return where every live run stands, or the last one of a stage, or one run.

    Raises:
        InvalidInput: `since_seq` without `scope`; sequence numbers count per run.
    """
    if since_seq is not None and scope is None:
        from quant_sdk.errors import InvalidInput

        raise InvalidInput("since_seq counts within one run", fix="name the run with scope")
    return {**listing("runs", sdk.status(scope, since_seq=since_seq)), "control": sdk.standing()}


def outcome(record: RunRecord) -> dict[str, Any]:
    """Return a run's record with what to do next; a run that has not ended has no exit code."""
    from quant_sdk import next_actions

    actions = next_actions(record.state, run_id=record.run_id, stage_id=record.stage_id, scope=None)
    exit_code = record.exit_code if record.is_terminal else None
    return {**record.to_dict(), "exit_code": exit_code, "next_actions": actions}


def events(
    sdk: QuantSDK,
    run_id: str | None = None,
    *,
    since_seq: int | None = None,
    stage_id: str | None = None,
    limit: int = EVENTS,
) -> dict[str, Any]:
    """Return events, oldest first: the first `limit` after `since_seq`, else the newest `limit`.

    `truncated` says that there are more of them than these. `next_cursor` is the `since_seq` with
    which to go on in one run's chain, null where there is none to go on with.
    """
    if run_id is not None:
        sdk.run(run_id)  # a misspelt run would look like a silent one
    if stage_id is not None:
        stage_id = sdk.registry[stage_id].id
    wanted = sdk.tail(run_id, since_seq=since_seq, stage_id=stage_id)
    found: list[dict[str, Any]]
    if since_seq is None:
        found = list(deque(wanted, maxlen=limit + 1))
        kept = found[-limit:]
    else:
        found = list(islice(wanted, limit + 1))
        kept = found[:limit]
    last = kept[-1].get("seq") if kept else since_seq
    return {
        "events": kept,
        "truncated": len(found) > limit,
        "next_cursor": None if run_id is None else last,
    }


def bars(  # noqa: PLR0913, PLR0917 - a series, an interval and a bound
    sdk: QuantSDK,
    symbol: str,
    timeframe: str,
    start: str | None = None,
    end: str | None = None,
    limit: int = BARS,
) -> dict[str, Any]:
    """Return the bars of a series in time order; `next_cursor` is the `start` of the next page."""
    frame = sdk.bars(symbol, timeframe, start, end)
    more = frame.height > limit
    return {
        "symbol": symbol,
        "timeframe": timeframe,
        "rows": frame.height,
        "bars": frame.head(limit).to_dicts(),
        "truncated": more,
        "next_cursor": frame["ts"][limit] if more else None,
    }


def as_json(document: Any) -> Any:
    """Return the values that ``--json`` would print: times as text, what is not finite as null."""
    import orjson

    return orjson.loads(dump(document))
