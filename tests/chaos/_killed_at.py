"""Run the migration in this process and kill it, with SIGKILL, at a named point.

``python _killed_at.py WORKSPACE POINT NTH BATCH_SYMBOLS``
"""

from __future__ import annotations

import os
import signal
import sys

from quant_registry.lifecycle import Lifecycle
from quant_registry.run import Run
from quant_sdk import QuantSDK
from quant_sdk.lakehouse import snapshot
from quant_sdk.lakehouse.ledger import Ledger
from quant_sdk.lakehouse.table import Table

# Where: (class or module, function, before or after it).
POINTS = {
    "before_quarantine_or_bars": (Table, "append", "before"),
    "after_quarantine_or_bars": (Table, "append", "after"),
    "before_ledger": (Ledger, "add", "before"),
    "after_ledger": (Ledger, "add", "after"),
    "before_checkpoint": (Run, "checkpoint", "before"),
    "in_snapshot": (snapshot, "_link_table", "after"),
    "before_terminal_record": (Lifecycle, "finish", "before"),
    "before_record_head": (Lifecycle, "persist_head", "before"),
}


def die(home: object, name: str, when: str, nth: int) -> None:
    """Replace a function by one that ends this process at its nth call."""
    real = getattr(home, name)
    calls = iter(range(1, 1_000_000))

    def killed(*args: object, **kwargs: object) -> object:
        last = next(calls) == nth
        if last and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        outcome = real(*args, **kwargs)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)
        return outcome

    setattr(home, name, killed)


if __name__ == "__main__":
    workspace, point, nth, batch = sys.argv[1:]
    die(*POINTS[point], int(nth))
    QuantSDK(workspace).run_stage("ops.migration.dataops_v2", {"batch_symbols": int(batch)})
