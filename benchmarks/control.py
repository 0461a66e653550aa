"""What steers and observes a run: latencies under load, cold commands, the cost of observers."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import migration
from _measure import Row, alternate, milliseconds, shell

if TYPE_CHECKING:
    from collections.abc import Callable

    from quant_sdk import QuantSDK

PAUSES = 50
EVENTS = 400
COLD_ROUNDS = 15
WAITS = 100
OBSERVERS = 50
MIGRATIONS = 5
NOISY_SYMBOLS = 100
# Follows like `quant audit tail --follow`.
OBSERVER = """
import sys
from quant_sdk import QuantSDK
sdk = QuantSDK(sys.argv[1])
list(sdk.tail())
print("ready", flush=True)
for _ in sdk.tail(follow=True):
    pass
"""


def rows() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        pauses, floor, seen = _under_load(folder)
    with tempfile.TemporaryDirectory() as folder:
        status, pause, imports = _cold(folder)
    with tempfile.TemporaryDirectory() as folder:
        waited = _wait(folder)
    with tempfile.TemporaryDirectory() as folder:
        alone, watched = _observed(Path(folder))
    return [
        Row(
            name="control written -> `pause_requested`, p99 under load",
            measured=milliseconds(pauses),
            floor=f"{milliseconds(floor)}: the median; {PAUSES} times beside constant progress",
            value=pauses * 1e3,
            target=300.0,
            unit=" ms",
        ),
        Row(
            name="event written -> seen by `tail(follow=True)`, p99",
            measured=milliseconds(_p99(seen)),
            floor=f"{milliseconds(statistics.median(seen))}: the median of {EVENTS}",
            value=_p99(seen) * 1e3,
            target=50.0,
            unit=" ms",
        ),
        *(
            Row(
                name=f"`{name}`, cold",
                measured=milliseconds(found),
                floor=f"{milliseconds(bare)}: import click, pydantic",
                value=found / bare,
                target=2.0,
            )
            for name, (found, bare) in (
                ("quant status --json", (status, imports[0])),
                ("quant pause", (pause, imports[1])),
            )
        ),
        Row(
            name="`wait` on a finished run",
            measured=milliseconds(waited),
            floor=f"the slowest of {WAITS}",
            value=waited * 1e3,
            target=50.0,
            unit=" ms",
        ),
        Row(
            name=f"the migration beside {OBSERVERS} observers that tail",
            measured=f"{watched:.2f} s",
            floor=f"{alone:.2f} s: nobody looks",
            value=100 * (watched / alone - 1),
            target=5.0,
            unit=" %",
        ),
    ]


def noisy(run: Any, _params: Any) -> None:
    """Emit progress without a rest, a safe point before each event."""
    run.expect(1_000_000)
    while True:
        run.safe_point()
        run.advance()
        run.emit("ingest_progress", symbol="BINANCE:ADABTC", rows=1500, status="success")
        time.sleep(0.0005)


def _under_load(folder: str) -> tuple[float, float, list[float]]:
    """Return p99 and median of a pause's way, and the delays of followed events."""
    sdk, end = _begin(folder)
    try:
        pauses = [_pause(sdk) for _ in range(PAUSES)]
        seen = _followed(sdk)
    finally:
        end()
    return _p99(pauses), statistics.median(pauses), seen


def _begin(folder: str) -> tuple[QuantSDK, Callable[[], None]]:
    """Start the noisy run in a process of its own; return how it is ended."""
    from quant_sdk import QuantSDK

    shutil.copy(__file__, folder)
    for name in ("_measure.py", "migration.py"):
        shutil.copy(Path(__file__).with_name(name), folder)
    stages = (
        "from quant_sdk import StageSpec\n"
        'STAGES = (StageSpec(id="bench.noisy", category="bench", title="Noise", '
        'body="control:noisy"),)\n'
    )
    (Path(folder) / "noisy_stage.py").write_text(stages)
    (Path(folder) / "quant.yml").write_text('stages: ["noisy_stage:STAGES"]\n')
    sdk = QuantSDK(folder)
    record = sdk.run_stage("bench.noisy", detach=True)
    next(event for event in sdk.tail(record.run_id, follow=True) if event.get("progress"))

    def end() -> None:
        sdk.cancel(record.run_id)
        sdk.wait(record.run_id, timeout=30)

    return sdk, end


def _pause(sdk: QuantSDK) -> float:
    """Write the control file as an editor does; return the seconds until the event was written."""
    [run] = sdk.status()
    control = sdk.workspace.control
    began = time.time()
    control.write_text('{"action": "pause"}')
    events = sdk.tail(run["run_id"], follow=True, since_seq=run["seq"])
    asked = next(event for event in events if event["event"] == "pause_requested")
    control.write_text('{"action": "resume"}')
    # The event, because the record follows the event and may still say what it said before.
    next(event for event in events if event["event"] == "resumed")
    return _moment(asked) - began


def _followed(sdk: QuantSDK) -> list[float]:
    """Return the seconds from each event's writing to its being seen."""
    [run] = sdk.status()
    delays = []
    for event in sdk.tail(run["run_id"], follow=True, since_seq=run["seq"]):
        delays.append(time.time() - _moment(event))
        if len(delays) > 2 * EVENTS:
            break
    # The first ones stood in the log already.
    return delays[-EVENTS:]


def _moment(event: dict[str, Any]) -> float:
    from datetime import datetime

    return datetime.fromisoformat(event["timestamp"]).timestamp()


def _cold(folder: str) -> tuple[float, float, tuple[float, float]]:
    quant = str(Path(sys.executable).with_name("quant"))
    shutil.copy(Path(__file__).with_name("noop_stage.py"), folder)
    (Path(folder) / "quant.yml").write_text('stages: ["noop_stage:STAGES"]\n')
    shell(quant, "stage", "run", "bench.noop", "--json", cwd=folder)()
    imports = shell(sys.executable, "-c", "import click, pydantic", cwd=folder)
    looking = shell(quant, "status", "--json", cwd=folder)
    pausing = shell(quant, "pause", "--json", cwd=folder)
    status, first = alternate(looking, imports, COLD_ROUNDS)
    pause, second = alternate(pausing, imports, COLD_ROUNDS)
    return status, pause, (first, second)


def _wait(folder: str) -> float:
    from quant_sdk import QuantSDK, StageRegistry

    sys.path.insert(0, str(Path(__file__).parent))
    from noop_stage import STAGES

    sdk = QuantSDK(folder, registry=StageRegistry(STAGES))
    run_id = sdk.run_stage("bench.noop").run_id
    found = []
    for _ in range(WAITS):
        began = time.perf_counter()
        sdk.wait(run_id)
        found.append(time.perf_counter() - began)
    return max(found)


def _observed(home: Path) -> tuple[float, float]:
    """Return the median seconds of a migration alone and beside observers, turn by turn."""
    migration.make_inputs(home / "in", NOISY_SYMBOLS)
    migration.migrate(str(_workspace(home, "warm", 2)))
    alone, watched = [], []
    for index in range(MIGRATIONS):
        alone.append(_migration(_workspace(home, f"alone-{index}", NOISY_SYMBOLS)))
        workspace = _workspace(home, f"watched-{index}", NOISY_SYMBOLS)
        end = _observe(workspace)
        watched.append(_migration(workspace))
        end()
    return min(alone), min(watched)


def _workspace(home: Path, name: str, symbols: int) -> Path:
    return migration._workspace(home, name, symbols)  # noqa: SLF001 - the same inputs


def _migration(workspace: Path) -> float:
    began = time.perf_counter()
    migration.migrate(str(workspace))
    return time.perf_counter() - began


def _observe(workspace: Path) -> Callable[[], None]:
    """Start the observers, and return how they are ended."""
    observers = [
        subprocess.Popen([sys.executable, "-c", OBSERVER, str(workspace)], stdout=subprocess.PIPE)
        for _ in range(OBSERVERS)
    ]
    for observer in observers:
        assert observer.stdout is not None
        observer.stdout.readline()

    def end() -> None:
        for observer in observers:
            observer.terminate()
            observer.communicate()

    return end


def _p99(values: list[float]) -> float:
    return sorted(values)[min(int(len(values) * 0.99), len(values) - 1)]
