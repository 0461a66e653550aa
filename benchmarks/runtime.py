"""The runtime in process: a run that does nothing, and one progress event."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from _measure import Row, alternate, milliseconds

ROUNDS = 40
EVENTS = 20_000


def rows() -> list[Row]:
    sys.path.insert(0, str(Path(__file__).parent))
    from noop_stage import STAGES

    from quant_sdk import QuantSDK, StageRegistry

    with tempfile.TemporaryDirectory() as folder:
        sdk = QuantSDK(folder, registry=StageRegistry(STAGES))
        sdk.run_stage("bench.noop")
        run, floor = alternate(
            lambda: sdk.run_stage("bench.noop"), lambda: _bare_writes(sdk.workspace), ROUNDS
        )
    event, write = _event()
    return [
        Row(
            name="a no-op stage in process, all records",
            measured=milliseconds(run),
            floor=f"{milliseconds(floor)}: its own durable writes, bare",
            value=run / floor,
            target=2.0,
        ),
        Row(
            name="progress event",
            measured=f"{event * 1e6:.1f} us",
            floor=f"{write * 1e6:.1f} us: one os.write of a line",
            value=event * 1e6,
            target=30.0,
            unit=" us",
        ),
    ]


def _bare_writes(workspace: object) -> None:
    """Write what a run leaves behind, as durably and as often, and nothing else."""
    root = Path(workspace.artifacts) / "bare"  # type: ignore[attr-defined]
    folder = root / f"{time.time_ns()}"
    folder.mkdir(parents=True)
    _sync(root)
    lock = _atomic(root / "lock.json", 550)
    _atomic(folder / "run.json", 1000)
    log = os.open(root / "audit.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(log, b"x" * 420 + b"\n")
    _atomic(root / "status.json", 900)
    os.write(log, b"x" * 420 + b"\n")
    os.fsync(log)
    os.close(log)
    _atomic(folder / "result.json", 3)
    _atomic(folder / "run.json", 1100)
    _atomic(root / "status.json", 900)
    _atomic(lock, 580)


def _atomic(path: Path, size: int) -> Path:
    draft = path.with_suffix(".tmp")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.write(descriptor, b"x" * size)
    os.fsync(descriptor)
    os.close(descriptor)
    draft.replace(path)
    _sync(path.parent)
    return path


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def _event() -> tuple[float, float]:
    """Return the seconds of one progress event of a live run, and of one bare write."""
    from quant_sdk import QuantSDK, StageRegistry, StageSpec

    found: list[float] = []

    def body(run: object, _params: object) -> dict[str, object]:
        run.expect(EVENTS)  # type: ignore[attr-defined]
        began = time.perf_counter()
        for _ in range(EVENTS):
            run.advance()  # type: ignore[attr-defined]
            run.emit("ingest_progress", symbol="BINANCE:ADABTC", rows=1500, status="success")  # type: ignore[attr-defined]
        found.append((time.perf_counter() - began) / EVENTS)
        return {}

    sys.modules[__name__].event_body = body  # type: ignore[attr-defined]
    spec = StageSpec(
        id="bench.event", category="bench", title="Emit", body=f"{__name__}:event_body"
    )
    with tempfile.TemporaryDirectory() as folder:
        QuantSDK(folder, registry=StageRegistry((spec,))).run_stage("bench.event")
        log = os.open(Path(folder) / "bare", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        began = time.perf_counter()
        for _ in range(EVENTS):
            os.write(log, b"x" * 600 + b"\n")
        write = (time.perf_counter() - began) / EVENTS
        os.close(log)
    return found[0], write
