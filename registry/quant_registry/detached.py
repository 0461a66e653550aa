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
from dataclasses import asdict, replace
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
    from pathlib import Path

    from .clock import Clock

OUTPUT = "output.log"


def spawn(
    workspace: Workspace, spec: StageSpec, request: RunRequest, record: RunRecord
) -> RunRecord:
    """Start the run of `record` in a process of its own; return the record as it was written.

    Args:
        workspace: its root becomes the child's folder.
        spec: the stage; its parts must be importable in a new process.
        request: what was asked; `stop` and `on_start` stay with the parent.
        record: the record to be written, without its owner.
    """
    folder = workspace.run_dir(record.run_id)
    make_folder(folder)
    child = _start(workspace, folder / OUTPUT)
    try:
        queued = record.changed(
            state="queued", owner=process_owner(child.pid, record.actor).to_dict()
        )
        write_record(workspace, queued)
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
    except BaseException:
        child.kill()
        child.wait()
        raise
    return queued


def _start(workspace: Workspace, output: Path) -> subprocess.Popen[bytes]:
    paths = os.pathsep.join(path for path in sys.path if path)
    with output.open("ab") as log:
        return subprocess.Popen(  # noqa: S603 - this interpreter, this module
            [sys.executable, "-m", __name__, str(workspace.root)],
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
    content = sys.stdin.buffer.read()
    if not content:
        return 1  # the parent died before it recorded the run
    order = orjson.loads(content)
    workspace = Workspace.resolve(argv[0])
    document = order["spec"]
    spec = StageSpec(
        **document | {"effects": Effects(**document["effects"]), "tags": tuple(document["tags"])}
    )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    request = RunRequest(**order["request"], run_id=order["run_id"], stop=stop)
    clock = SystemClock()
    try:
        return run_stage(workspace, spec, request, clock=clock).exit_code
    except Exception as error:  # noqa: BLE001 - a queued run gets its terminal record too
        known = error if isinstance(error, QuantError) else RunFailed(f"{error}", fix="")
        close_queued(workspace, order["run_id"], known, clock=clock)
        return known.exit_code


def close_queued(
    workspace: Workspace, run_id: str, error: QuantError, *, clock: Clock
) -> RunRecord:
    """Write the terminal record of a run that could not begin."""
    record = read_record(workspace, run_id)
    if record.is_terminal:
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
