"""`QuantSDK`: the same primitives for agents, people and programs."""

from __future__ import annotations

import getpass
import os
import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

from quant_registry.clock import Clock, SystemClock
from quant_registry.registry import StageRegistry
from quant_registry.workspace import Workspace
from quant_sdk._bound import on_class_or_instance

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime, timedelta

    import polars as pl

    from quant_registry.lock import LockView
    from quant_registry.record import RunRecord
    from quant_registry.spec import StageSpec
    from quant_registry.steering import Answer
    from quant_registry.validate import Validation
    from quant_registry.waiting import Waited
    from quant_sdk.explain import Explanation
    from quant_sdk.lakehouse.lakehouse import Lakehouse
    from quant_sdk.observability import SavedReport

ACTOR = "QUANT_ACTOR"
ANY = "*"


class QuantSDK:
    """Drives the stages of one workspace.

    Every method works on the class too (``QuantSDK.run_stage("ops.migration.dataops_v2")``), then
    in the workspace of ``QUANT_WORKSPACE`` or of the current folder.

    Args:
        workspace: its root; default ``QUANT_WORKSPACE``, else the current folder.
        registry: the stages; default: installed plugins and the workspace's ``quant.yml``.
        actor: who acts, in audit and records; default ``QUANT_ACTOR``, else the user's name.
        clock: the time; default the machine's.

    Raises:
        InvalidInput: the workspace is not a folder.
    """

    def __init__(
        self,
        workspace: str | os.PathLike[str] | None = None,
        *,
        registry: StageRegistry | None = None,
        actor: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.workspace = Workspace.resolve(workspace)
        self.actor = actor or os.environ.get(ACTOR) or _user()
        self.clock = clock or SystemClock()
        self._registry = registry

    @cached_property
    def registry(self) -> StageRegistry:
        """The stages this SDK knows, found on first use."""
        if self._registry is not None:
            return self._registry
        return StageRegistry.discover(self.workspace)

    @on_class_or_instance
    def run_stage(  # noqa: PLR0913 - each is a choice of the caller's
        self,
        stage_id: str,
        params: Mapping[str, Any] | None = None,
        *,
        lock_id: str | None = None,
        fresh: bool = False,
        detach: bool = False,
        idempotency_key: str | None = None,
        plan_hash: str | None = None,
        stop: threading.Event | None = None,
        on_start: Callable[[RunRecord], None] | None = None,
    ) -> RunRecord:
        """Run a stage to its end; return the run's record, whatever its outcome.

        Args:
            stage_id: such as ``ops.migration.dataops_v2``.
            params: for the stage's params model; see `describe`.
            lock_id: the caller's own id for the stage's lock, such as an agent's session.
            fresh: start over instead of continuing the last unfinished run of these params.
            detach: start it in a process of its own that outlives this one, and return its record,
                ``queued``, as soon as that is durable; `stop` and `on_start` are not used.
            idempotency_key: the same key twice is one piece of work: a live run is attached to, one
                that succeeded is returned, any other is continued.
            plan_hash: from `validate_stage`; a plan that has drifted since is refused.
            stop: set it, from any thread, to cancel the run at its next safe point.
            on_start: called with the record as soon as it is durable.

        Raises:
            UnknownStage, InvalidParams, PrerequisitesNotMet, StageLocked, PlanDrifted,
            IdempotencyConflict: nothing was started.
        """
        from quant_registry.request import RunRequest
        from quant_registry.runner import run_stage, start_stage

        request = RunRequest(
            params=params or {},
            actor=self.actor,
            lock_id=lock_id,
            fresh=fresh,
            idempotency_key=idempotency_key,
            plan_hash=plan_hash,
            stop=stop,
            on_start=on_start,
            registry=self.registry,
        )
        begin = start_stage if detach else run_stage
        return begin(self.workspace, self.registry[stage_id], request, clock=self.clock)

    @on_class_or_instance
    def wait(self, run_id: str, until: str = "terminal", *, timeout: float | None = None) -> Waited:
        """Wait for a run in one blocking call.

        Args:
            run_id: the run.
            until: ``terminal``, ``paused``, ``state=NAME``, ``phase=NAME`` or ``percent>=N``.
            timeout: seconds; None waits as long as it takes.

        Returns:
            Where the run stands; `met` is False where it ended, or its process died, without the
            condition.

        Raises:
            UnknownRun: no such run.
            WaitTimeout: time ran out.
        """
        from quant_registry.waiting import wait_for

        return wait_for(self.workspace, run_id, until, timeout=timeout, clock=self.clock)

    @on_class_or_instance
    def recover_lock(self, stage_id: str, lock_id: str) -> dict[str, Any]:
        """End the frozen process that holds a stage's lock as exactly `lock_id`; audited.

        Raises:
            InvalidInput: the lock is not held as `lock_id`.
            Conflict: its owner is alive, or cannot be judged from this host.
        """
        from quant_registry.recovery import recover_lock

        spec = self.registry[stage_id]
        return recover_lock(self.workspace, spec, lock_id, actor=self.actor, clock=self.clock)

    @on_class_or_instance
    def validate_stage(
        self,
        stage_id: str,
        params: Mapping[str, Any] | None = None,
        *,
        rehearse: bool = False,
    ) -> Validation:
        """Check prerequisites and plan a run; writes nothing.

        Args:
            stage_id: the stage.
            params: as for `run_stage`.
            rehearse: read and check every source too, as ``--dry-run`` does.

        Raises:
            UnknownStage, InvalidParams: the question itself is wrong.
        """
        from quant_registry.validate import validate_stage

        spec = self.registry[stage_id]
        return validate_stage(
            self.workspace, spec, params or {}, rehearse=rehearse, clock=self.clock
        )

    @on_class_or_instance
    def stages(self, *, category: str | None = None, tag: str | None = None) -> list[StageSpec]:
        """Return the declared stages of a category and with a tag, sorted by id."""
        return self.registry.find(category=category, tag=tag)

    @on_class_or_instance
    def describe(self, stage_id: str) -> dict[str, Any]:
        """Return a stage's declaration with the JSON Schema of its parameters."""
        from quant_registry.params import params_schema

        spec = self.registry[stage_id]
        return {**spec.to_dict(), "params_schema": params_schema(spec)}

    @on_class_or_instance
    def runs(
        self, stage_id: str | None = None, *, limit: int = 50, before: str | None = None
    ) -> list[RunRecord]:
        """Return the newest run records, newest first, of one stage or of all.

        Args:
            stage_id: the stage.
            limit: how many at most.
            before: only older runs than this one; the last of a page leads to the next page.
        """
        from quant_registry.record import records

        return list(records(self.workspace, stage_id, limit=limit, before=before))

    @on_class_or_instance
    def run(self, run_id: str) -> RunRecord:
        """Return one run's record.

        Raises:
            UnknownRun: no such run in this workspace.
        """
        from quant_registry.record import read_record

        return read_record(self.workspace, run_id)

    @on_class_or_instance
    def status(
        self, scope: str | None = None, *, since_seq: int | None = None
    ) -> list[dict[str, Any]]:
        """Return the status documents of live runs, or the last one of a stage or of a run.

        Args:
            scope: a stage id or a run id; None for everything that is live.
            since_seq: the `seq` of the status the caller has; where no event has come since, the
                answer is ``{run_id, seq, unchanged: true}``.

        Raises:
            UnknownRun: `scope` names neither.
        """
        from quant_sdk._standing import standing

        return standing(self.workspace, self.registry, scope, since_seq)

    @on_class_or_instance
    def standing(self) -> dict[str, Any]:
        """Return what control asks of runs, live or to come.

        Returns:
            ``pauses`` and ``throttles``, the directives that have not expired, and ``error``: why
            the control file cannot be read, so that the last good directives stand in, or None.
        """
        from quant_sdk._standing import standing_control

        return standing_control(self.workspace, self.clock.now())

    @on_class_or_instance
    def explain(self, run_id: str) -> Explanation:
        """Return in one sentence why a run is not moving, and the commands that help.

        Raises:
            UnknownRun: no such run in this workspace.
        """
        from quant_sdk.explain import explain

        return explain(self.workspace, run_id, clock=self.clock)

    @on_class_or_instance
    def pause(
        self, scope: str = ANY, *, reason: str = "", lasts: timedelta | None = None
    ) -> Answer:
        """Ask runs to stop at their next safe point; holds for later runs too.

        Args:
            scope: ``*``, a stage id or a run id.
            reason: for people who find it paused.
            lasts: after this the pause resumes by itself.
        """
        return self._steer("pause", scope, reason, lasts)

    @on_class_or_instance
    def resume(self, scope: str = ANY, *, reason: str = "") -> Answer:
        """Let paused runs in `scope` go on."""
        return self._steer("resume", scope, reason)

    @on_class_or_instance
    def cancel(self, scope: str = ANY, *, reason: str = "") -> Answer:
        """End the runs in `scope` that are live now, at their next safe point."""
        return self._steer("cancel", scope, reason)

    @on_class_or_instance
    def throttle(
        self,
        max_requests_per_second: float | None = None,
        scope: str = ANY,
        *,
        reason: str = "",
        lasts: timedelta | None = None,
    ) -> Answer:
        """Bound how often runs ask venues; holds for later runs too. Without a rate, lift that.

        Args:
            max_requests_per_second: requests a second to each venue, above 0; None lifts the
                throttle.
            scope: ``*``, a stage id or a run id.
            reason: for people who find it throttled.
            lasts: after this the throttle ends by itself.
        """
        return self._steer("throttle", scope, reason, lasts, max_requests_per_second)

    @on_class_or_instance
    def tail(
        self,
        run_id: str | None = None,
        *,
        follow: bool = False,
        since_seq: int | None = None,
        stage_id: str | None = None,
        stop: threading.Event | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Yield audit events, oldest first; with `follow`, wait for more until `stop` is set.

        A followed run ends the tail with its terminal event, or when its process is dead and
        nothing will come.
        """
        from quant_registry.audit_reader import tail
        from quant_registry.waiting import End

        return tail(
            self.workspace.audit,
            follow=follow,
            run_id=run_id,
            since_seq=since_seq,
            stage_id=stage_id,
            stop=stop,
            until=_is_end if run_id is not None else None,
            over=End(self.workspace, run_id, self.clock) if run_id is not None else None,
        )

    @on_class_or_instance
    def lock(self, stage_id: str) -> LockView:
        """Return who holds a stage's lock, with evidence."""
        from quant_registry.lock import view_lock

        return view_lock(self.workspace, self.registry[stage_id].id)

    @cached_property
    def lakehouse(self) -> Lakehouse:
        """The tables of this workspace."""
        from quant_sdk.lakehouse.lakehouse import Lakehouse

        return Lakehouse(self.workspace)

    @on_class_or_instance
    def observability(self, uri: str) -> SavedReport:
        """Return the conformance report that a URI names, or a node's last one.

        Args:
            uri: ``qmtl://observability/seamless/<node>``, with ``/<digest>`` for an earlier one.

        Raises:
            InvalidInput: it is no such URI.
            NoData: there is no report of that name.
        """
        from quant_sdk.observability import open_report

        return open_report(self.workspace, uri)

    @on_class_or_instance
    def bars(
        self,
        symbol: str,
        timeframe: str,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
    ) -> pl.DataFrame:
        """Return the bars of one series, sorted by time.

        Args:
            symbol: ``EXCHANGE:BASEQUOTE``, such as ``BINANCE:ADABTC``.
            timeframe: such as ``5m``.
            start: first opening time, inclusive; aware, or text with an offset or a plain UTC date.
            end: exclusive; the interval is ``[start, end)``.

        Returns:
            Columns `ts` (Datetime us, UTC, the bar's opening), `open`, `high`, `low`, `close`,
            `volume` (Float64; volume may be null), `source` (String).

        Raises:
            NoData: the lakehouse has no such series; the nearest names are in the fix.
        """
        return self.lakehouse.bars(symbol, timeframe, start, end)

    def _steer(
        self,
        action: Any,
        scope: str,
        reason: str,
        lasts: timedelta | None = None,
        max_requests_per_second: float | None = None,
    ) -> Answer:
        from quant_registry.steering import steer

        return steer(
            self.workspace,
            None if scope == ANY else self.registry,  # discovery costs a tenth of a cold pause
            action,
            scope=scope,
            reason=reason,
            actor=self.actor,
            clock=self.clock,
            lasts=lasts,
            max_requests_per_second=max_requests_per_second,
        )


def _is_end(event: dict[str, Any]) -> bool:
    return str(event.get("event")) in {
        "run_succeeded",
        "run_failed",
        "run_cancelled",
        "run_abandoned",
    }


def _user() -> str:
    try:
        # Directory services know names such as DOMAIN\\user, which are no labels.
        return re.sub(r"[^A-Za-z0-9._:@+-]+", "-", getpass.getuser()).strip("-") or "unknown"
    except (KeyError, OSError):
        return "unknown"
