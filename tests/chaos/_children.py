"""Processes beside the tests: a market, and runners of stages, each ordered by lines of JSON."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from signal import SIGKILL
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE = Path(__file__).parent
PATIENCE = 120.0


def environment(**more: str) -> dict[str, str]:
    """Return the environment in which a child imports what this process does."""
    paths = [str(HERE), *(path for path in sys.path if path)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **more}


class Child:
    """A process of `_orders.py`; leaving the context ends it."""

    def __init__(self, *arguments: str, **environ: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "_orders.py"), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(**environ),
            text=True,
        )

    def order(self, document: Mapping[str, Any]) -> None:
        """Send an order; its answer is read by `answer`."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(document) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Return the next answer; waits for it."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the child ended with {self._process.wait(PATIENCE)}"
        return json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """End it by SIGKILL; safe to call twice."""
        self._process.kill()
        self._process.wait(PATIENCE)
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()


class MarketChild(Child):
    """A market in a process of its own."""

    def __init__(self) -> None:
        super().__init__("market")
        self.url = self.answer()["url"]

    def set(self, offset: float, corrections: Mapping[str, Any]) -> None:
        """Put its clock off by so many seconds, and let these bars be corrected."""
        self.order({"offset": offset, "corrections": dict(corrections)})
        self.answer()


class RunnerChild(Child):
    """A process that runs stages in a workspace."""

    def __init__(self, workspace: Path) -> None:
        super().__init__("runs", str(workspace))

    def begin(self, stage: str, offset: float, /, **params: Any) -> None:
        """Order a run; `answer` waits for its end."""
        self.order({"stage": stage, "offset": offset, "params": params})


class ForkChild(Child):
    """A process that forks one for each run; the forks may be killed."""

    def __init__(self) -> None:
        super().__init__("forks")
        self.answer()

    def run(
        self,
        workspace: Path,
        stage: str,
        offset: float,
        *,
        place: str | None = None,
        nth: int = 1,
        seconds: float | None = None,
        **params: Any,
    ) -> int:
        """Run a stage in a fork; return its exit code, -9 where it was killed.

        Args:
            workspace: where.
            stage: the stage.
            offset: of its clock.
            place: where it is killed, one of `PLACES` in `_orders.py`.
            nth: at which coming to the place.
            seconds: when it is killed at last.
            params: of the stage.
        """
        document = {"workspace": str(workspace), "stage": stage, "offset": offset}
        self.order({**document, "params": params, "place": place, "nth": nth})
        pid = self.answer()["pid"]
        killer = threading.Timer(PATIENCE if seconds is None else seconds, os.kill, (pid, SIGKILL))
        killer.start()
        try:
            return self.answer()["exit"]
        finally:
            killer.cancel()
            killer.join()
