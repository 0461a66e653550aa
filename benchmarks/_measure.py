"""Shared by the benchmarks: time against a floor of the same run, memory of a child."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table: what was measured, beside what, and how far it may go."""

    name: str
    measured: str
    floor: str
    value: float
    target: float
    unit: str = "x"

    @property
    def met(self) -> bool:
        return self.value <= self.target

    def cells(self) -> tuple[str, ...]:
        told = f"{self.value:.2f}{self.unit}"
        bound = f"<= {self.target:g}{self.unit}"
        return self.name, self.measured, self.floor, told, bound, "met" if self.met else "missed"


def alternate(
    subject: Callable[[], object], floor: Callable[[], object], rounds: int
) -> tuple[float, float]:
    """Return the median seconds of both, run turn by turn so that noise meets both alike."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for call, found in zip((subject, floor), times, strict=True):
            began = time.perf_counter()
            call()
            found.append(time.perf_counter() - began)
    return statistics.median(times[0]), statistics.median(times[1])


def shell(*command: str, cwd: str, env: dict[str, str] | None = None) -> Callable[[], object]:
    """Return a call that runs a command and fails where it fails."""
    return lambda: subprocess.run(
        command, cwd=cwd, env={**os.environ, **(env or {})}, check=True, stdout=subprocess.DEVNULL
    )


def peak_memory(arguments: Sequence[str], cwd: str) -> int:
    """Return the peak resident bytes of ``python <arguments>``."""
    code = (
        "import resource, subprocess, sys;"
        "subprocess.run([sys.executable, *sys.argv[1:]], check=True, stdout=subprocess.DEVNULL);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        check=True,
        capture_output=True,
        text=True,
    )
    unit = 1 if sys.platform == "darwin" else 1024
    return int(done.stdout.split()[-1]) * unit


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms"


__all__ = ["Row", "alternate", "milliseconds", "peak_memory", "shell"]
