"""A process that does what lines of JSON on its standard input order, and answers each by a line.

``python _orders.py market`` serves a market; its first line is the address.
``python _orders.py runs WORKSPACE`` runs stages.
``python _orders.py forks`` runs each stage in a fork that may be killed; it answers with its pid,
then with how it ended.

Their clocks are the machine's, put off by the seconds that the last order names.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from datetime import datetime, timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

from _killed_at import die

from quant_registry.clock import SystemClock
from quant_sdk import QuantSDK, StageRegistry
from quant_sdk.errors import QuantError

if TYPE_CHECKING:
    from collections.abc import Iterator

SEED, SYNTHETIC = 5, 100


class OffsetClock(SystemClock):
    """The machine's clock, so many seconds off."""

    def __init__(self, offset: float = 0.0) -> None:
        self.offset = offset

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.offset)


def places() -> dict[str, tuple[Any, str, str]]:
    """Return where a fork can be killed: class or module, function, before or after it."""
    from quant_registry.lifecycle import Lifecycle
    from quant_registry.run import Run
    from quant_sdk.features import store
    from quant_sdk.lakehouse import catalog, optimize, parts, snapshot, table
    from quant_sdk.lakehouse.ledger import Ledger
    from quant_sdk.seamless import holes

    return {
        "before_commit": (Run, "commit", "before"),
        "after_commit": (Run, "commit", "after"),
        "before_checkpoint": (Run, "checkpoint", "before"),
        "before_end": (Lifecycle, "finish", "before"),
        "after_end": (Lifecycle, "finish", "after"),
        "before_head": (Lifecycle, "persist_head", "before"),
        "after_export": (Run, "export", "after"),
        "before_append": (table.Table, "append", "before"),
        "after_append": (table.Table, "append", "after"),
        "before_durable": (table, "sync_commit", "before"),
        "before_ledger": (Ledger, "add", "before"),
        "after_ledger": (Ledger, "add", "after"),
        "in_holes": (holes.Holes, "_rewrite", "after"),
        "in_catalog": (catalog.Catalog, "_write", "after"),
        "in_features": (store.FeatureStore, "put", "after"),
        "after_rewrite": (parts, "sync_path", "after"),
        "before_swap": (optimize, "swap_parts", "before"),
        "after_swap": (optimize, "swap_parts", "after"),
        "in_snapshot": (snapshot, "_link_table", "after"),
        "before_manifest": (snapshot, "write_atomic", "before"),
    }


PLACES = (
    *("before_commit", "after_commit", "before_checkpoint", "before_end", "after_end"),
    *("before_head", "after_export", "before_append", "after_append", "before_durable"),
    *("before_ledger", "after_ledger", "in_holes", "in_catalog", "in_features"),
    *("after_rewrite", "before_swap", "after_swap", "in_snapshot", "before_manifest"),
)


def orders() -> Iterator[dict[str, Any]]:
    for line in sys.stdin:
        yield json.loads(line)


def answer(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document, default=str) + "\n")
    sys.stdout.flush()


def serve() -> None:
    from quant_sdk.market.faults import Correction
    from quant_sdk.market.listing import standard_listing
    from quant_sdk.market.market import Market
    from quant_sdk.market.server import MarketServer

    clock = OffsetClock()
    market = Market(seed=SEED, now=clock.now, listing=standard_listing(synthetic=SYNTHETIC))
    with MarketServer(market) as server:
        answer({"url": server.url})
        for order in orders():
            clock.offset = order["offset"]
            corrections = {
                symbol: Correction(**each) for symbol, each in order["corrections"].items()
            }
            market.faults = replace(market.faults, corrections=corrections)
            answer({"requests": server.requests})


# Imported before the forks, so that a run costs no start of an interpreter. Nothing of them may run
# there: threads of a library do not outlive a fork.
PRELOADED = (
    *("ccxt", "exchange_calendars", "talib", "polars", "deltalake"),
    *("quant_stages.data.discover.body", "quant_stages.data.ingest.body"),
    *("quant_stages.data.repair.body", "quant_stages.data.metadata.body"),
    *("quant_stages.data.features.body", "quant_stages.data.verify.body"),
    *("quant_stages.upkeep.optimize", "quant_stages.upkeep.snapshot"),
)


def fork() -> None:
    for name in PRELOADED:
        import_module(name)
    answer({"ready": True})
    for order in orders():
        pid = os.fork()
        if pid == 0:
            _doomed(order)
        answer({"pid": pid})
        answer({"exit": os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])})


def _doomed(order: dict[str, Any]) -> NoReturn:
    """Run the stage, and never come back."""
    code = 70
    try:
        from quant_stages import STAGES

        if order["place"] is not None:
            home, name, when = places()[order["place"]]
            die(home, name, when, order["nth"])
        clock = OffsetClock(order["offset"])
        sdk = QuantSDK(
            order["workspace"], registry=StageRegistry(STAGES), clock=clock, actor="fork"
        )
        code = sdk.run_stage(order["stage"], order["params"]).exit_code
    finally:
        os._exit(code)


def run(workspace: str) -> None:
    from quant_stages import STAGES

    clock = OffsetClock()
    sdk = QuantSDK(workspace, registry=StageRegistry(STAGES), clock=clock, actor="child")
    answer({"ready": True})
    for order in orders():
        clock.offset = order["offset"]
        try:
            record = sdk.run_stage(order["stage"], order["params"])
        except QuantError as error:
            answer({"run_id": None, "state": "refused", "error": error.to_dict(), "result": None})
        else:
            answer(
                {
                    "run_id": record.run_id,
                    "state": record.state,
                    "error": record.error,
                    "result": record.result,
                }
            )


if __name__ == "__main__":
    {"market": serve, "runs": run, "forks": fork}[sys.argv[1]](*sys.argv[2:])
