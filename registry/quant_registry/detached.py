"""Detached runs: recorded before they are answered, in a process that outlives its parent.

The parent starts the child, writes the record as ``queued`` with the child as its owner, and only
then lets the child go. A parent that dies before leaves a child that reads nothing and ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import traceback
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from .audit import AuditLog, Head
from .clock import SystemClock, iso
from .errors import QuantError, RunFailed
from .files import make_folder
from .owner import process_owner
from .record import RunRecord, read_record, write_record
from .request import RunRequest
from .runner import run_stage
from .spec import Effects, StageSpec
from .workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable

    from .clock import Clock

OUTPUT = "output.log"


def spawn(
    workspace: Workspace,
    spec: StageSpec,
    request: RunRequest,
    record: RunRecord,
    recorded: Callable[[RunRecord], None],
) -> RunRecord:
    """Start the run of `record` in a process of its own; return the record as it was written.

    Args:
        workspace: its root becomes the child's folder.
        spec: the stage; its parts must be importable in a new process.
        request: what was asked; `stop` and `on_start` stay with the parent.
        record: the record to be written, without its owner.
        recorded: called with the durable record before the child is let go, because a parent may
            die after that.

    Raises:
        RunFailed: the child died before it could be let go.
    """
    folder = workspace.run_dir(record.run_id)
    make_folder(folder)
    child = _start(workspace, folder / OUTPUT)
    try:
        queued = record.changed(
            state="queued", owner=process_owner(child.pid, record.actor).to_dict()
        )
        write_record(workspace, queued)
        recorded(queued)
        order = {
            "spec": asdict(spec),
            "run_id": record.run_id,
            "request": {
                "params": dict(request.params),
                "actor": request.actor,
                "lock_id": request.lock_id,
                "fresh": request.fresh,
            },
        }
        _let_go(child, orjson.dumps(order))
    except BaseException as error:
        child.kill()
        child.communicate()
        if isinstance(error, BrokenPipeError):
            raise _stillborn(workspace, record.run_id) from error
        raise
    return queued


def _stillborn(workspace: Workspace, run_id: str) -> RunFailed:
    """Give a run whose process died before it was let go its terminal record."""
    output = workspace.display(workspace.run_dir(run_id) / OUTPUT)
    error = RunFailed("its process died before the run began", fix=f"see {output}", run_id=run_id)
    close_queued(workspace, run_id, error, clock=SystemClock())
    return error


def _start(workspace: Workspace, output: Path) -> subprocess.Popen[bytes]:
    # Absolute, because the child works in another folder; -P, because nothing in that folder may
    # stand in for a module of the standard library.
    paths = os.pathsep.join(str(Path(path).absolute()) for path in sys.path)
    with output.open("ab") as log:
        return subprocess.Popen(  # noqa: S603 - this interpreter, this module
            [sys.executable, "-P", "-m", __name__, str(workspace.root)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd=workspace.root,
            env={**os.environ, "PYTHONPATH": paths},
            start_new_session=True,
        )


def _let_go(child: subprocess.Popen[bytes], order: bytes) -> None:
    assert child.stdin is not None  # noqa: S101 - asked for as a pipe
    child.stdin.write(order)
    child.stdin.close()
    # Somebody must collect the child's exit status as long as this process lives.
    threading.Thread(target=child.wait, name="quant-detached", daemon=True).start()


def main(argv: list[str]) -> int:
    """Carry out the order on stdin; the end of this process is told by its exit code."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    content = sys.stdin.buffer.read()
    if not content:
        return 1  # the parent died before it recorded the run
    order = orjson.loads(content)
    workspace = Workspace.resolve(argv[0])
    clock = SystemClock()
    try:
        request = RunRequest(**order["request"], run_id=order["run_id"], stop=stop)
        return run_stage(workspace, _spec(order["spec"]), request, clock=clock).exit_code
    except Exception as error:  # noqa: BLE001 - a queued run gets its terminal record too
        traceback.print_exc()
        known = error if isinstance(error, QuantError) else _as_failed(workspace, order, error)
        close_queued(workspace, order["run_id"], known, clock=clock)
        return known.exit_code


def _spec(document: dict[str, Any]) -> StageSpec:
    parts = {"effects": Effects(**document["effects"]), "tags": tuple(document["tags"])}
    return StageSpec(**document | parts)


def _as_failed(workspace: Workspace, order: dict[str, Any], error: Exception) -> RunFailed:
    output = workspace.display(workspace.run_dir(order["run_id"]) / OUTPUT)
    return RunFailed(f"{type(error).__name__}: {error}", fix=f"see {output}")


def close_queued(
    workspace: Workspace, run_id: str, error: QuantError, *, clock: Clock
) -> RunRecord:
    """Write the terminal record of a run that could not begin.

    One that had begun keeps what it wrote: its next run or `quant doctor` gives it its end.
    """
    record = read_record(workspace, run_id)
    if record.state != "queued":
        return record
    log = AuditLog(
        workspace.audit,
        run_id=run_id,
        stage_id=record.stage_id,
        actor=record.actor,
        clock=clock,
        head=Head(int(record.audit_head["seq"]), str(record.audit_head["hash"])),
    )
    document: dict[str, Any] = error.to_dict() | {"exit_code": error.exit_code}
    head = log.append("run_failed", {"status": "failed", "error": document}, durable=True)
    log.close()
    ended = replace(
        record,
        state="failed",
        error=document,
        finished_at=iso(clock.now()),
        audit_head=head._asdict(),
    )
    write_record(workspace, ended)
    return ended


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
