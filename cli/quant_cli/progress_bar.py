"""A live progress bar on a terminal, drawn from the run's status file like any observer's."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Self

from quant_sdk import read_status

if TYPE_CHECKING:
    from pathlib import Path

    from quant_sdk import RunRecord, StageSpec, Workspace

PERIOD_SECONDS = 0.25


class ProgressBar:
    """Follows one run on stderr from `follow` until the context ends."""

    def __init__(self, workspace: Workspace, spec: StageSpec) -> None:
        self._workspace = workspace
        self._spec = spec
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def follow(self, record: RunRecord) -> None:
        """Begin to draw the run of `record`."""
        path = self._workspace.status_file(self._spec, record.run_id)
        self._thread = threading.Thread(
            target=self._draw, args=(path, record.run_id), name="quant-progress", daemon=True
        )
        self._thread.start()

    def _draw(self, path: Path, run_id: str) -> None:
        # A run shorter than one period draws nothing, and does not pay for rich.
        if self._over.wait(PERIOD_SECONDS):
            return
        progress = _bar()
        task = progress.add_task("starting", total=None, eta="")
        with progress:
            while not self._over.wait(PERIOD_SECONDS):
                status = read_status(path)
                if status is not None and status.get("run_id") == run_id:
                    progress.update(task, **shown(status))


def shown(status: dict[str, Any]) -> dict[str, Any]:
    """Return what the bar shows of a status: description, completed, total, eta."""
    count = status.get("progress") or {}
    step = status.get("step") or ""
    state = status["state"]
    description = step if state == "running" and step else f"{state} {step}".strip()
    eta = count.get("eta_seconds")
    return {
        "description": description,
        "completed": count.get("current", 0),
        "total": count.get("total"),
        "eta": "" if eta is None else f"eta {clock_time(eta)}",
    }


def clock_time(seconds: float) -> str:
    """Return seconds as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[eta]}"),
        console=Console(stderr=True),
        redirect_stdout=False,
        transient=True,
    )
