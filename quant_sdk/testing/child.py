"""A run in a process of its own that is killed at a fault point.

The parent hands over everything on standard input: stages are data, so they travel as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from quant_registry.registry import StageRegistry
from quant_registry.spec import Effects, StageSpec
from quant_sdk.sdk import QuantSDK
from quant_sdk.testing.faults import POINTS, UnknownPoint, fault_points
from quant_sdk.testing.patience import SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from quant_registry.workspace import Workspace

_ACTOR = "test-child"


def run_child(
    workspace: Workspace,
    spec: StageSpec,
    params: Mapping[str, Any],
    *,
    point: str,
    occurrence: int,
) -> int:
    """Run the stage in a child that is killed at `point`; return the child's exit code."""
    if point not in POINTS:
        raise UnknownPoint(point, POINTS)
    order = {
        "root": str(workspace.root),
        "spec": asdict(spec),
        "params": dict(params),
        "point": point,
        "occurrence": occurrence,
    }
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(  # noqa: S603 - this interpreter, this module, no shell
        [sys.executable, "-m", __name__],
        input=json.dumps(order, default=str),
        env={**os.environ, "PYTHONPATH": path},
        text=True,
        timeout=2 * SECONDS,
        check=False,
    )
    return done.returncode


def main() -> int:
    """Do what standard input orders; return the run's exit code if nothing kills it."""
    order = json.load(sys.stdin)
    parts = {**order["spec"], "effects": Effects(**order["spec"]["effects"])}
    spec = StageSpec(**{**parts, "tags": tuple(parts["tags"])})
    sdk = QuantSDK(order["root"], registry=StageRegistry((spec,)), actor=_ACTOR)
    with fault_points() as faults:
        faults.kill_at(order["point"], occurrence=order["occurrence"])
        return sdk.run_stage(spec.id, order["params"]).exit_code


if __name__ == "__main__":
    sys.exit(main())
