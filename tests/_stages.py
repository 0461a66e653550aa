"""Little stages for tests, and a way to run one in a process of its own."""

from __future__ import annotations

import itertools
import sys
import threading
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from quant_registry.checks import Check, Plan
from quant_registry.request import RunRequest
from quant_registry.runner import run_stage
from quant_registry.spec import StageSpec
from quant_registry.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable

_count = itertools.count()


class Params(BaseModel):
    model_config = ConfigDict(extra="forbid")
    items: int = 3
    name: str = "x"


def noop(run: Any, params: Any) -> None:
    """Do nothing."""


def count(run: Any, params: Params) -> dict[str, Any]:
    for item in run.track(range(params.items), total=params.items):
        run.emit("counted", symbol=f"S{item}", rows=item, status="success")
    return {"items": params.items}


def remember(run: Any, params: Any) -> dict[str, Any]:
    """Continue a checkpoint, leave one, then stay until told to go."""
    state = run.continued_state or {"done": 0}
    run.checkpoint({"done": state["done"] + 1})
    run.emit("at_work", done=state["done"] + 1)
    stay(run)
    return dict(state)


def hang(run: Any, params: Any) -> None:
    """Work without an end, a safe point every few milliseconds."""
    run.emit("at_work")
    stay(run)


def finish_or_inherit(run: Any, params: Any) -> dict[str, Any]:
    return {"inherited": run.continued_state}


def stay(run: Any) -> None:
    pause = threading.Event()
    while True:
        run.safe_point()
        pause.wait(0.005)


def boom(run: Any, params: Any) -> None:
    raise ValueError("boom")


def failing(context: Any) -> Any:
    return "failed", "it is not there", "put it there"


def crashing(context: Any) -> Any:
    raise RuntimeError("the check broke")


def plan(context: Any) -> Plan:
    return Plan(steps=("one",), candidates=4, files=4, rows=10, bytes=0, readable_share=0.5)


FAILING = (Check(name="thing", look=failing),)
CRASHING = (Check(name="thing", look=crashing),)

STAGES = (
    StageSpec(id="test.noop", category="test", title="Do nothing", body="_stages:noop"),
    StageSpec(
        id="test.count",
        category="test",
        tags=("counting",),
        title="Count",
        body="_stages:count",
        params="_stages:Params",
    ),
    StageSpec(id="test.hang", category="test", title="Hang", body="_stages:hang"),
    StageSpec(id="test.remember", category="test", title="Remember", body="_stages:remember"),
    StageSpec(id="test.boom", category="other", title="Fail", body="_stages:boom"),
    StageSpec(id="test.free", category="other", title="Hang", body="_stages:hang", lock=None),
)
BY_ID = {spec.id: spec for spec in STAGES}


def stage_of(body: Callable[..., Any], stage_id: str = "test.stage", **parts: Any) -> StageSpec:
    """Return a stage whose body is `body`."""
    name = f"_body_{next(_count)}"
    globals()[name] = body
    return StageSpec(
        id=stage_id, category="test", title="A test's own", body=f"_stages:{name}", **parts
    )


def main() -> None:
    """Run the stage ``argv[2]`` in the workspace ``argv[1]``."""
    workspace, stage_id = Workspace.resolve(sys.argv[1]), sys.argv[2]
    record = run_stage(workspace, BY_ID[stage_id], RunRequest(actor="child"))
    sys.exit(record.exit_code)


if __name__ == "__main__":
    main()
