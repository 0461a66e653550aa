"""What a caller asks for when a stage is to run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping

    from .record import RunRecord
    from .registry import StageRegistry


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """One request.

    Attributes:
        params: for the stage's params model.
        actor: who asks: a person, or an agent's name.
        lock_id: the caller's own, such as its session id; made where None.
        fresh: start over instead of continuing an unfinished run.
        idempotency_key: the same key twice is one piece of work, see `quant_registry.idempotency`.
        plan_hash: of the validation; a plan that has drifted since is refused.
        parent_run_id: the run on whose behalf this one works.
        run_id: of a run that is recorded as queued already, and admitted.
        stop: set it to have the run cancelled at its next safe point.
        on_start: called once the run is recorded durably; what it raises ends the run.
        registry: where the run finds stages for its children; discovered where None.
    """

    params: Mapping[str, Any] = field(default_factory=dict)
    actor: str = "sdk"
    lock_id: str | None = None
    fresh: bool = False
    idempotency_key: str | None = None
    plan_hash: str | None = None
    parent_run_id: str | None = None
    run_id: str | None = None
    stop: threading.Event | None = None
    on_start: Callable[[RunRecord], None] | None = None
    registry: StageRegistry | None = None
