"""Recovering a lock from a frozen owner: real fencing, not a guess from age.

The owner is named by its exact lock id, its pid and start token are verified, its process is ended,
and the kernel then frees the lock. Nothing else can make sure that it never writes again.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

from .abandoned import burial, bury_abandoned
from .audit import AuditLog
from .audit_reader import chain_end
from .errors import Conflict, InvalidInput
from .ids import check_label, new_run_id
from .lock import StageLock, view_lock
from .owner import Owner, liveness, this_process

if TYPE_CHECKING:
    from .clock import Clock
    from .spec import StageSpec
    from .workspace import Workspace

_FREED_SECONDS = 10.0
_POLL_SECONDS = 0.02


def recover_lock(
    workspace: Workspace, spec: StageSpec, lock_id: str, *, actor: str, clock: Clock
) -> dict[str, Any]:
    """End the frozen process that holds a stage's lock as `lock_id`, and give its run its end.

    Returns:
        ``{stage_id, lock_id, run_id, pid, epoch, abandoned}``; `epoch` is the one taken for it.

    Raises:
        InvalidInput: the lock is not held as `lock_id`.
        Conflict: the owner is alive, or cannot be judged from this host.
    """
    check_label(lock_id, "lock id")
    view = view_lock(workspace, spec.id)
    if view.lock_id != lock_id or view.state == "free":
        raise InvalidInput(
            f"{spec.id} is not held as {lock_id!r}: {view.state}, {view.evidence}",
            fix=f"look again with: quant lock show {spec.id}",
        )
    if view.state != "frozen":
        raise Conflict(
            f"the owner of {lock_id!r} is {view.state}: {view.evidence}",
            fix=f"ask it to stop: quant cancel --scope {view.run_id}",
        )
    owner = Owner.from_dict(view.owner or {})
    _end(owner)
    lock = _take(workspace, spec, owner, actor=actor, clock=clock)
    try:
        fields = {"status": "success", "lock_id": lock_id, "pid": owner.pid, "epoch": lock.epoch}
        _tell(workspace, spec, str(view.run_id), fields, actor=actor, clock=clock)
        buried = bury_abandoned(workspace, spec, clock=clock, actor=actor, lock_held=True)
        return {
            "stage_id": spec.id,
            "lock_id": lock_id,
            "run_id": view.run_id,
            "pid": owner.pid,
            "epoch": lock.epoch,
            "abandoned": [record.run_id for record in buried],
        }
    finally:
        lock.release(clock.now())


def _end(owner: Owner) -> None:
    """Kill exactly this process; one that took its pid meanwhile is left alone."""
    try:
        if sys.platform == "linux":
            descriptor = os.pidfd_open(owner.pid)
            try:
                # The descriptor names the process that is checked next, whatever the pid does.
                if _is_frozen_still(owner):
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            finally:
                os.close(descriptor)
        elif _is_frozen_still(owner):
            os.kill(owner.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise Conflict(
            f"process {owner.pid} may not be ended by this user",
            fix="run it as the user who owns that process",
        ) from error


def _is_frozen_still(owner: Owner) -> bool:
    """Tell whether there is something to end; one that has woken meanwhile is left alone."""
    life, evidence = liveness(owner)
    if life in {"alive", "unknown"}:
        raise Conflict(f"the owner has woken: {evidence}", fix="look again with: quant lock show")
    return life == "frozen"


def _take(
    workspace: Workspace, spec: StageSpec, owner: Owner, *, actor: str, clock: Clock
) -> StageLock:
    """Take the lock as soon as the kernel has freed it."""
    never = threading.Event()
    deadline = clock.monotonic() + _FREED_SECONDS
    while liveness(owner)[0] != "dead" and clock.monotonic() < deadline:
        clock.wait(never, _POLL_SECONDS)
    lock = StageLock(workspace, spec.id)
    lock.acquire(
        run_id=new_run_id(spec.id, clock.now()),
        lock_id=f"recovery-{actor}",
        owner=this_process(actor),
        now=clock.now(),
    )
    return lock


def _tell(  # noqa: PLR0913 - one call site
    workspace: Workspace,
    spec: StageSpec,
    run_id: str,
    fields: dict[str, Any],
    *,
    actor: str,
    clock: Clock,
) -> None:
    """Append ``lock_recovered`` to the chain of the run whose owner was ended."""
    with burial(workspace):
        log = AuditLog(
            workspace.audit,
            run_id=run_id,
            stage_id=spec.id,
            actor=actor,
            clock=clock,
            head=chain_end(workspace.audit, run_id)[0],
        )
        log.append("lock_recovered", fields, durable=True)
        log.close()
