"""`StageRunner`: stages on a temporary workspace, run as in production, driven by a test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from quant_registry.errors import NoData
from quant_registry.registry import StageRegistry
from quant_registry.workspace import Workspace
from quant_sdk.sdk import QuantSDK
from quant_sdk.testing.live import BackgroundRun

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable
    from types import TracebackType

    from quant_registry.clock import Clock
    from quant_registry.record import RunRecord
    from quant_registry.spec import StageSpec

ACTOR = "test"
_FOLDER = "workspace"
_SETTINGS = "quant.yml"


class StageRunner:
    """Runs stages in a workspace of their own: the real runner, locks, audit and control.

    Use it as a context, or call `close`, so that no run outlives its test.

    Args:
        root: the workspace's folder; made if it does not stand.
        stages: what can be run, such as a module's ``STAGES``; nothing else is found.
        clock: the time of the runs; default the machine's.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        stages: Iterable[StageSpec],
        *,
        clock: Clock | None = None,
    ) -> None:
        self.root = Path(root)
        self.root.mkdir(parents=True, exist_ok=True)
        self.stages = tuple(stages)
        self.sdk = QuantSDK(
            self.root, registry=StageRegistry(self.stages), actor=ACTOR, clock=clock
        )
        """For all that has no method here: a lock id, ``fresh=True``, `QuantSDK.validate_stage`."""
        self._live: list[BackgroundRun] = []

    @property
    def workspace(self) -> Workspace:
        """Where everything stands."""
        return self.sdk.workspace

    def run(self, stage_id: str, /, **params: Any) -> RunRecord:
        """Run a stage to its end; return its record, whatever the outcome.

        Raises:
            UnknownStage, InvalidParams, PrerequisitesNotMet, StageLocked: nothing was started.
        """
        return self.sdk.run_stage(stage_id, params)

    def start(self, stage_id: str, /, **params: Any) -> BackgroundRun:
        """Start a stage in a thread; what keeps it from starting is raised by the handle."""
        self._live.append(BackgroundRun(self.sdk, stage_id, params))
        return self._live[-1]

    def run_killed_at(
        self, point: str, stage_id: str, /, *, occurrence: int = 1, **params: Any
    ) -> int:
        """Run a stage in a process of its own that dies by SIGKILL at a fault point.

        Args:
            point: one of `quant_sdk.testing.POINTS`.
            stage_id: the stage; its parts must be importable in another process.
            occurrence: at which coming to the point; 2 is the second.
            params: for the stage.

        Returns:
            The exit code: ``-9`` where it was killed, the run's own where it never came there.
        """
        from quant_sdk.testing.child import run_child

        spec = self.sdk.registry[stage_id]
        return run_child(self.workspace, spec, params, point=point, occurrence=occurrence)

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return the workspace's audit events, oldest first, all or those of one name."""
        return [event for event in self.sdk.tail() if name in {None, event["event"]}]

    def write_control(self, content: bytes | str | dict[str, Any]) -> Path:
        """Write the control file as an editor would: in place, and whatever it says.

        Args:
            content: bytes, text, or an object such as ``{"action": "pause"}``.
        """
        if isinstance(content, dict):
            content = json.dumps(content)
        path = self.workspace.control
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def close(self) -> None:
        """Stop what still runs."""
        for run in self._live:
            run.close()
        self._live.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<StageRunner: {len(self.stages)} stages in {self.root}>"


def stage_runner(
    tmp_path: Path, stages: Iterable[StageSpec], *, clock: Clock | None = None
) -> StageRunner:
    """Return a `StageRunner` on a workspace under `tmp_path`."""
    return StageRunner(tmp_path / _FOLDER, stages, clock=clock)


def workspace_stages(start: str | os.PathLike[str]) -> tuple[StageSpec, ...]:
    """Return the stages of the workspace that `start` stands in, found as ``quant`` finds them.

    Args:
        start: a file or folder in it, such as a test's ``__file__``; the nearest folder upwards
            with a ``quant.yml`` is the workspace.

    Raises:
        NoData: there is no ``quant.yml`` above.
        BrokenPlugin: it names stages that cannot be imported.
    """
    registry = StageRegistry.discover(Workspace.resolve(_workspace_above(Path(start))))
    for origin, error in registry.broken.items():
        if origin.startswith(_SETTINGS):
            raise error
    return tuple(registry)


def _workspace_above(start: Path) -> Path:
    start = start.resolve()
    for folder in (start, *start.parents):
        if (folder / _SETTINGS).is_file():
            return folder
    raise NoData(
        f"no {_SETTINGS} stands in or above {start}",
        fix="name a file of a workspace, or pass the tuple of stages itself",
    )
