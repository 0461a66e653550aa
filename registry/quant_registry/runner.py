"""The runner: one tuple of steps from a request to a terminal record."""

from __future__ import annotations

import os
import traceback
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from .abandoned import bury_abandoned
from .admission import Attempt, check_prerequisites, honour_key, resolve_params
from .clock import Clock, SystemClock, iso
from .errors import QuantError, RunCancelled, RunFailed, disk_full, is_disk_full
from .files import write_atomic
from .ids import check_label, new_lock_id, new_run_id
from .lifecycle import Lifecycle
from .lock import StageLock, refuse_held
from .owner import this_process
from .params import dump_model
from .record import RunRecord, RunState, find_record, read_record, records, write_record
from .run import Run, inherited_state
from .waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from .request import RunRequest
    from .spec import StageSpec
    from .workspace import Workspace

# What ends a process on purpose; other BaseExceptions, such as a Rust library's panic, are faults.
_STOPS = (KeyboardInterrupt, SystemExit, GeneratorExit)
_CONTINUABLE: frozenset[str] = frozenset({"failed", "cancelled", "abandoned"})


def run_stage(
    workspace: Workspace,
    spec: StageSpec,
    request: RunRequest,
    *,
    clock: Clock | None = None,
    environ: Mapping[str, str] | None = None,
) -> RunRecord:
    """Run a stage to its end and return its record, whatever the outcome.

    With an idempotency key that stands for a live run, wait for that run's end; for one that
    succeeded, return its record.

    Raises:
        InvalidParams: nothing was started.
        IdempotencyConflict, PlanDrifted: nothing was started.
        PrerequisitesNotMet: a blocking check failed; nothing was started.
        StageLocked: another live run holds the lock; nothing was started.
        DiskFull: there was no space for the run's own files.
    """
    attempt = _carry(workspace, spec, request, clock or SystemClock(), environ, STEPS)
    while attempt.attached is not None:
        ended = _end_of(attempt, attempt.attached)
        if ended.is_terminal:
            return ended
        # Its process died: now the key asks for a run that continues it.
        attempt = _carry(workspace, spec, request, attempt.clock, environ, STEPS)
    if isinstance(attempt.error, _STOPS):
        raise attempt.error  # KeyboardInterrupt and SystemExit are the caller's
    assert attempt.record is not None  # noqa: S101 - the last step sets it
    return attempt.record


def start_stage(
    workspace: Workspace,
    spec: StageSpec,
    request: RunRequest,
    *,
    clock: Clock | None = None,
    environ: Mapping[str, str] | None = None,
) -> RunRecord:
    """Start a stage in a process of its own; return its record, ``queued``, once it is durable.

    Raises:
        As `run_stage`, for what is known before the process starts; a lock that is lost to a
        rival after that ends the run as failed, with the error in its record.
    """
    attempt = _carry(workspace, spec, request, clock or SystemClock(), environ, START_STEPS)
    record = attempt.attached or attempt.record
    assert record is not None  # noqa: S101 - one of the two stands
    return record


def _end_of(attempt: Attempt, attached: RunRecord) -> RunRecord:
    """Wait for a run that is somebody else's too; the caller's `stop` ends only the waiting."""
    stop = attempt.request.stop
    waited = wait_for(
        attempt.workspace, attached.run_id, "terminal", timeout=None, clock=attempt.clock, stop=stop
    )
    if not waited.met and stop is not None and stop.is_set():
        raise RunCancelled(
            f"stopped waiting for run {attached.run_id}, which goes on",
            fix=f"wait again with: quant wait {attached.run_id}",
            run_id=attached.run_id,
        )
    return waited.record


def _carry(  # noqa: PLR0913, PLR0917 - two call sites just above
    workspace: Workspace,
    spec: StageSpec,
    request: RunRequest,
    clock: Clock,
    environ: Mapping[str, str] | None,
    steps: tuple[Callable[[Attempt], None], ...],
) -> Attempt:
    """Take a request through `steps`, until one finds that it is done already."""
    with _disk_told(workspace), ExitStack() as undo:
        attempt = Attempt(
            workspace=workspace,
            spec=spec,
            request=request,
            clock=clock,
            environ=os.environ if environ is None else environ,
            run_id=request.run_id or new_run_id(spec.id, clock.now()),
            undo=undo,
            key_held=undo.enter_context(ExitStack()),
            owner=this_process(check_label(request.actor, "actor")),
        )
        for step in steps:
            step(attempt)
            if attempt.attached is not None:
                break
    return attempt


@contextmanager
def _disk_told(workspace: Workspace) -> Iterator[None]:
    """Say of a disk that is too full for a run's own files what it is."""
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise disk_full(error.filename or workspace.root) from error
        raise


def _claim_lock(attempt: Attempt) -> None:
    if attempt.spec.lock is None:
        return
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


def _spawn(attempt: Attempt) -> None:
    """Record the run as queued, in the name of a process that will claim the lock itself."""
    from .detached import spawn

    if attempt.spec.lock is not None:
        refuse_held(attempt.workspace, attempt.spec.id)
        attempt.lock_id = attempt.request.lock_id or new_lock_id(attempt.request.actor)
    request = replace(attempt.request, lock_id=attempt.lock_id)
    # A queued run that died never held the lock, so no later holder leads to it.
    bury_abandoned(
        attempt.workspace, attempt.spec, clock=attempt.clock, actor=request.actor, lock_held=False
    )

    def recorded(record: RunRecord) -> None:
        attempt.record = record
        attempt.key_held.close()

    spawn(attempt.workspace, attempt.spec, request, _new_record(attempt), recorded)


def _record_run(attempt: Attempt) -> None:
    workspace, spec = attempt.workspace, attempt.spec
    last = _last_holder(attempt)
    if last is None:
        bury_abandoned(
            workspace,
            spec,
            clock=attempt.clock,
            actor=attempt.request.actor,
            lock_held=attempt.lock is not None,
        )
    queued = None if attempt.request.run_id is None else read_record(workspace, attempt.run_id)
    if attempt.request.fresh:
        attempt.continued = None
    elif queued is not None and queued.continues is not None:
        attempt.continued = find_record(workspace, queued.continues)
    elif attempt.continued is None:
        attempt.continued = _unfinished(attempt, last)
    attempt.record = (queued or _new_record(attempt)).changed(
        state="running",
        owner=attempt.owner.to_dict(),
        lock_id=attempt.lock_id,
        epoch=attempt.lock.epoch if attempt.lock is not None else 0,
        continues=attempt.continued.run_id if attempt.continued else None,
    )
    write_record(workspace, attempt.record)
    attempt.key_held.close()


def _new_record(attempt: Attempt) -> RunRecord:
    request, workspace, spec = attempt.request, attempt.workspace, attempt.spec
    return RunRecord(
        run_id=attempt.run_id,
        stage_id=spec.id,
        stage_version=spec.version,
        state="queued",
        actor=request.actor,
        created_at=iso(attempt.clock.now()),
        params=dump_model(attempt.params),
        params_digest=attempt.digest,
        lock_id=attempt.lock_id,
        idempotency_key=request.idempotency_key,
        plan_hash=request.plan_hash,
        parent_run_id=request.parent_run_id,
        status_file=workspace.display(workspace.status_file(spec, attempt.run_id)),
        continues=attempt.continued.run_id if attempt.continued else None,
    )


def _work(attempt: Attempt) -> None:
    assert attempt.record is not None  # noqa: S101 - recorded in the step before
    workspace = attempt.workspace
    life = attempt.life = Lifecycle(
        workspace=workspace,
        spec=attempt.spec,
        record=attempt.record,
        lock=attempt.lock,
        clock=attempt.clock,
        stop=attempt.request.stop,
        registry=attempt.request.registry,
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


def _close(attempt: Attempt) -> None:
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


def _keep_traceback(attempt: Attempt, error: BaseException) -> None:
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
    if is_disk_full(error):
        return disk_full(getattr(error, "filename", None) or "the workspace")
    return RunFailed(
        f"{type(error).__name__}: {error}", fix="see traceback.txt in the run's folder"
    )


def _last_holder(attempt: Attempt) -> RunRecord | None:
    """Return the run that held the lock before, if it ended; then every earlier one has too.

    Each run gives the earlier ones their end before it records itself, so this one record
    stands for all, however long the history is.
    """
    if attempt.lock is None:
        return None
    last = find_record(attempt.workspace, attempt.lock.previous_run_id)
    return last if last is not None and last.is_terminal else None


def _unfinished(attempt: Attempt, last: RunRecord | None) -> RunRecord | None:
    """Return the newest run of these params and this version if it has to be continued."""
    wanted = (attempt.digest, attempt.spec.version)
    earlier = chain(() if last is None else (last,), records(attempt.workspace, attempt.spec.id))
    for record in earlier:
        same = (record.params_digest, record.stage_version) == wanted
        # A run that never got the lock left nothing, and must not hide the one before it.
        began = record.epoch > 0 or attempt.spec.lock is None
        if same and began and record.run_id != attempt.run_id:
            return record if record.state in _CONTINUABLE else None
    return None


# From a request to a terminal record; and to a record of a run that a child process carries on.
ADMISSION = (resolve_params, honour_key, check_prerequisites)
STEPS = (*ADMISSION, _claim_lock, _record_run, _work, _close)
START_STEPS = (*ADMISSION, _spawn)
