"""The runner: one tuple of steps from a request to a terminal record."""

from __future__ import annotations

import os
import traceback
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

from .abandoned import bury_abandoned
from .checks import COMMON, CheckContext, run_checks
from .clock import Clock, SystemClock, iso
from .errors import PrerequisitesNotMet, QuantError, RunCancelled, RunFailed
from .files import write_atomic
from .ids import check_label, new_lock_id, new_run_id
from .lifecycle import Lifecycle
from .lock import StageLock
from .owner import Owner, this_process
from .params import dump_model, resolve_params
from .record import (
    RunRecord,
    RunState,
    find_record,
    params_digest,
    records,
    write_record,
)
from .run import Run, inherited_state

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping

    from .spec import StageSpec
    from .workspace import Workspace

# What ends a process on purpose; other BaseExceptions, such as a Rust library's panic, are faults.
_STOPS = (KeyboardInterrupt, SystemExit, GeneratorExit)
_CONTINUABLE: frozenset[str] = frozenset({"failed", "cancelled", "abandoned"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """What a caller asks for.

    Attributes:
        params: for the stage's params model.
        actor: who asks: a person, or an agent's name.
        lock_id: the caller's own, such as its session id; made where None.
        fresh: start over instead of continuing an unfinished run.
        stop: set it to have the run cancelled at its next safe point.
        on_start: called once the run is recorded durably; what it raises ends the run.
    """

    params: Mapping[str, Any] = field(default_factory=dict)
    actor: str = "sdk"
    lock_id: str | None = None
    fresh: bool = False
    stop: threading.Event | None = None
    on_start: Callable[[RunRecord], None] | None = None


@dataclass(slots=True, kw_only=True)
class _Attempt:
    """The way of one request through the steps; each step fills its part."""

    workspace: Workspace
    spec: StageSpec
    request: RunRequest
    clock: Clock
    environ: Mapping[str, str]
    run_id: str
    undo: ExitStack
    owner: Owner | None = None
    params: Any = None
    lock: StageLock | None = None
    lock_id: str | None = None
    continued: RunRecord | None = None
    life: Lifecycle | None = None
    result: dict[str, Any] | None = None
    error: BaseException | None = None
    record: RunRecord | None = None


def run_stage(
    workspace: Workspace,
    spec: StageSpec,
    request: RunRequest,
    *,
    clock: Clock | None = None,
    environ: Mapping[str, str] | None = None,
) -> RunRecord:
    """Run a stage to its end and return its record, whatever the outcome.

    Raises:
        InvalidParams: nothing was started.
        PrerequisitesNotMet: a blocking check failed; nothing was started.
        StageLocked: another live run holds the lock; nothing was started.
    """
    clock = clock or SystemClock()
    with ExitStack() as undo:
        attempt = _Attempt(
            workspace=workspace,
            spec=spec,
            request=request,
            clock=clock,
            environ=os.environ if environ is None else environ,
            run_id=new_run_id(spec.id, clock.now()),
            undo=undo,
        )
        for step in STEPS:
            step(attempt)
    assert attempt.record is not None  # noqa: S101 - the last step sets it
    if isinstance(attempt.error, _STOPS):
        raise attempt.error  # KeyboardInterrupt and SystemExit are the caller's
    return attempt.record


def _resolve_params(attempt: _Attempt) -> None:
    check_label(attempt.request.actor, "actor")
    if attempt.request.lock_id is not None:
        check_label(attempt.request.lock_id, "lock id")
    attempt.params = resolve_params(attempt.spec, attempt.request.params)
    attempt.owner = this_process(attempt.request.actor)


def _check(attempt: _Attempt) -> None:
    context = CheckContext(
        workspace=attempt.workspace,
        spec=attempt.spec,
        params=attempt.params,
        clock=attempt.clock,
        environ=attempt.environ,
    )
    results = run_checks((*COMMON, *(attempt.spec.load("checks") or ())), context)
    failed = [result for result in results if result.status == "failed"]
    if failed:
        raise PrerequisitesNotMet(
            "; ".join(f"{result.name}: {result.detail}" for result in failed),
            fix="; ".join(result.fix for result in failed if result.fix),
            checks=[result.to_dict() for result in results],
        )


def _claim_lock(attempt: _Attempt) -> None:
    if attempt.spec.lock is None:
        return
    assert attempt.owner is not None  # noqa: S101 - set in the first step
    lock = StageLock(attempt.workspace, attempt.spec.id)
    attempt.lock_id = attempt.request.lock_id or new_lock_id(attempt.request.actor)
    lock.acquire(
        run_id=attempt.run_id,
        lock_id=attempt.lock_id,
        owner=attempt.owner,
        now=attempt.clock.now(),
    )
    attempt.undo.callback(lambda: lock.release(attempt.clock.now()))
    attempt.lock = lock


def _record_run(attempt: _Attempt) -> None:
    request, workspace, spec = attempt.request, attempt.workspace, attempt.spec
    assert attempt.owner is not None  # noqa: S101 - set in the first step
    last = _last_holder(attempt)
    if last is None:
        bury_abandoned(
            workspace,
            spec,
            clock=attempt.clock,
            actor=request.actor,
            lock_held=attempt.lock is not None,
        )
    params = dump_model(attempt.params)
    digest = params_digest(params)
    attempt.continued = None if request.fresh else _unfinished(workspace, spec, digest, last)
    attempt.record = RunRecord(
        run_id=attempt.run_id,
        stage_id=spec.id,
        stage_version=spec.version,
        state="running",
        actor=request.actor,
        created_at=iso(attempt.clock.now()),
        params=params,
        params_digest=digest,
        lock_id=attempt.lock_id,
        epoch=attempt.lock.epoch if attempt.lock is not None else 0,
        owner=attempt.owner.to_dict(),
        continues=attempt.continued.run_id if attempt.continued else None,
    )
    write_record(workspace, attempt.record)


def _work(attempt: _Attempt) -> None:
    assert attempt.record is not None  # noqa: S101 - recorded in the step before
    workspace = attempt.workspace
    life = attempt.life = Lifecycle(
        workspace=workspace,
        spec=attempt.spec,
        record=attempt.record,
        lock=attempt.lock,
        clock=attempt.clock,
        stop=attempt.request.stop,
    )
    try:
        if attempt.request.on_start is not None:
            attempt.request.on_start(attempt.record)
        body = attempt.spec.load("body")
        life.start()
        life.safe_point()
        state = inherited_state(workspace, attempt.continued)
        attempt.result = dump_model(body(Run(life, state), attempt.params))
    except BaseException as error:  # noqa: BLE001 - every outcome gets its terminal record
        attempt.error = error


def _close(attempt: _Attempt) -> None:
    assert attempt.life is not None  # noqa: S101 - made in the step before
    error = attempt.error
    state = _outcome(error)
    known = error if isinstance(error, QuantError) else _as_known(error)
    if isinstance(known, RunFailed) and error is not None:
        _keep_traceback(attempt, error)
    try:
        attempt.record = attempt.life.finish(state, result=attempt.result, error=known)
    except Exception as failure:  # noqa: BLE001 - whatever it is, the caller is told of the run
        raise RunFailed(
            f"run {attempt.run_id} {state}, but that could not be recorded: "
            f"{type(failure).__name__}: {failure}",
            fix="see that the workspace can be written; the next run of the stage records it",
            run_id=attempt.run_id,
        ) from (error or failure)


def _keep_traceback(attempt: _Attempt, error: BaseException) -> None:
    text = "".join(traceback.format_exception(error))
    folder = attempt.workspace.run_dir(attempt.run_id)
    with suppress(OSError):  # the terminal record matters more
        write_atomic(folder / "traceback.txt", text.encode(errors="backslashreplace"))


def _outcome(error: BaseException | None) -> RunState:
    if error is None:
        return "succeeded"
    return "cancelled" if isinstance(error, (RunCancelled, *_STOPS)) else "failed"


def _as_known(error: BaseException | None) -> QuantError | None:
    if error is None:
        return None
    if isinstance(error, _STOPS):
        return RunCancelled(f"stopped by {type(error).__name__}", fix="run the stage again")
    return RunFailed(
        f"{type(error).__name__}: {error}", fix="see traceback.txt in the run's folder"
    )


def _last_holder(attempt: _Attempt) -> RunRecord | None:
    """Return the run that held the lock before, if it ended; then every earlier one has too.

    Each run gives the earlier ones their end before it records itself, so this one record
    stands for all, however long the history is.
    """
    if attempt.lock is None:
        return None
    last = find_record(attempt.workspace, attempt.lock.previous_run_id)
    return last if last is not None and last.is_terminal else None


def _unfinished(
    workspace: Workspace, spec: StageSpec, digest: str, last: RunRecord | None
) -> RunRecord | None:
    """Return the newest run of these params and this version if it has to be continued."""
    newest_first = chain(() if last is None else (last,), records(workspace, spec.id))
    for record in newest_first:
        if (record.params_digest, record.stage_version) == (digest, spec.version):
            return record if record.state in _CONTINUABLE else None
    return None


STEPS = (_resolve_params, _check, _claim_lock, _record_run, _work, _close)
