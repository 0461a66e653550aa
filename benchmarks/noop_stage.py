"""A stage that does nothing: what is left is the runtime's own cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quant_sdk import StageSpec

if TYPE_CHECKING:
    from quant_sdk import Run


def noop(_run: Run, _params: Any) -> dict[str, Any]:
    return {}


STAGES = (StageSpec(id="bench.noop", category="bench", title="Do nothing", body="noop_stage:noop"),)
