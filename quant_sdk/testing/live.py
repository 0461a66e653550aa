"""A run in a thread of its own, and a test's hands on it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from quant_sdk.testing.patience import SECONDS, eventually

if TYPE_CHECKING:
    from collections.abc import Mapping

    from quant_registry.record import RunRecord
    from quant_sdk.sdk import QuantSDK


class BackgroundRun:
    """A run that goes on beside the test; made by `StageRunner.start`.

    Every wait ends after 30 seconds with an AssertionError, so that no test hangs.
    """

    def __init__(self, sdk: QuantSDK, stage_id: str, params: Mapping[str, Any]) -> None:
        self._sdk = sdk
        self._stop = threading.Event()
        self._started = threading.Event()
        self._first: RunRecord | None = None
        self._record: RunRecord | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(
            target=self._run, args=(stage_id, params), name=f"run of {stage_id}", daemon=True
        )
        self._thread.start()

    def _run(self, stage_id: str, params: Mapping[str, Any]) -> None:
        try:
            self._record = self._sdk.run_stage(
                stage_id, params, stop=self._stop, on_start=self._on_start
            )
        except BaseException as error:  # noqa: BLE001 - handed to the test by `end`
            self._error = error
        finally:
            self._started.set()

    def _on_start(self, record: RunRecord) -> None:
        self._first = record
        self._started.set()

    @property
    def run_id(self) -> str:
        """The run's id; waits until the run is recorded, and raises what kept it from that."""
        if not self._started.wait(SECONDS):
            raise AssertionError(f"the run was not recorded within {SECONDS:g} s")
        if self._first is None:
            raise self._error or AssertionError("the run ended before it was recorded")
        return self._first.run_id

    @property
    def state(self) -> str:
        """The state as the run's record tells it."""
        return self._sdk.run(self.run_id).state

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return the run's audit events so far, all or those of one name."""
        found = self._sdk.tail(self.run_id)
        return [event for event in found if name in {None, event["event"]}]

    def wait_for_event(self, name: str, times: int = 1) -> dict[str, Any]:
        """Wait until the event stands in the audit log, `times` times; return the last of them."""
        found: list[dict[str, Any]] = []

        def came() -> bool:
            nonlocal found
            ended = self._ended  # asked first: what came before the end is not missed
            found = self.events(name)
            return ended or len(found) >= times

        eventually(came, f"event {name!r}, {times} times,")
        if len(found) < times:
            raise AssertionError(f"the run ended with {len(found)} of {times} {name!r} events")
        return found[times - 1]

    def pause(self, reason: str = "") -> None:
        """Pause this run, and wait until it says ``paused``: it has stopped at a safe point."""
        self.ask_pause(reason)
        self._await_state("paused")

    def ask_pause(self, reason: str = "") -> None:
        """Pause this run, and wait only until it has heard of it; for one that stands at a gate."""
        self._sdk.pause(self.run_id, reason=reason)
        asked = {"pause_requested", "paused"}
        eventually(lambda: self._ended or self.state in asked, "the run's hearing of a pause")

    def resume(self, reason: str = "") -> None:
        """Let this run go on, and wait until it does or has ended."""
        self._sdk.resume(self.run_id, reason=reason)
        eventually(lambda: self.state not in {"paused", "pause_requested"}, "the run's going on")

    def cancel(self, reason: str = "") -> RunRecord:
        """Cancel this run, wait for its end and return its record."""
        self._sdk.cancel(self.run_id, reason=reason)
        return self.end()

    def end(self) -> RunRecord:
        """Wait for the end and return the record; raise what the runner raised."""
        self._thread.join(SECONDS)
        if self._thread.is_alive():
            raise AssertionError(f"the run did not end within {SECONDS:g} s")
        if self._error is not None:
            raise self._error
        if self._record is None:
            raise AssertionError("the run ended without a record")
        return self._record

    def close(self) -> None:
        """Stop the run at its next safe point and wait for its thread; raises nothing."""
        self._stop.set()
        self._thread.join(SECONDS)

    @property
    def _ended(self) -> bool:
        return self._started.is_set() and not self._thread.is_alive()

    def _await_state(self, state: str) -> None:
        eventually(lambda: self.state == state or self._ended, f"state {state!r}")
        if self._ended and self.state != state:
            raise AssertionError(f"the run ended {self.state} before it was {state}")
