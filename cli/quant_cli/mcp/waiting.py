"""Waiting for a run without holding a thread: a look at its files, a pause, another look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from quant_sdk.errors import WaitTimeout

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from quant_sdk import QuantSDK

    Notify = Callable[[float, float | None, str | None], Awaitable[None]]

# A look reads two small files and asks whether the process lives.
POLL_SECONDS = 0.04


async def wait_run(sdk: QuantSDK, notify: Notify, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `QuantSDK.wait` answers; out of time, the same with the error that says so.

    Args:
        sdk: whose run it is.
        notify: told ``(seq, None, sentence)`` whenever the run moves.
        asked: `run_id`, `until` and `timeout`, in seconds.
    """
    run_id, until, patience = asked["run_id"], asked["until"], asked["timeout"]
    deadline = anyio.current_time() + patience
    mover = _Mover(notify)
    while True:
        try:
            waited = await anyio.to_thread.run_sync(
                lambda: sdk.wait(run_id, until, timeout=0).to_dict()
            )
        except WaitTimeout as error:
            if anyio.current_time() >= deadline:
                message = f"{run_id} is {error.waited['state']}, not {until}, after {patience:g} s"
                return {**error.waited, "error": {**error.to_dict(), "message": message}}
            await mover.tell(error.waited)
            await anyio.sleep(min(POLL_SECONDS, max(deadline - anyio.current_time(), 0)))
        else:
            await mover.tell(waited)
            return waited


class _Mover:
    """Tells of a run's progress when it has moved.

    The protocol wants each number greater than the last. A percentage starts anew with every count
    of a run, so the number is that of the run's last event, and the sentence holds the count.
    """

    def __init__(self, notify: Notify) -> None:
        self._notify = notify
        self._seq = -1
        self._sentence = ""

    async def tell(self, waited: dict[str, Any]) -> None:
        seq, sentence = waited["seq"] or 0, _sentence(waited)
        if seq > self._seq and sentence != self._sentence:
            self._seq, self._sentence = seq, sentence
            await self._notify(seq, None, sentence)


def _sentence(waited: dict[str, Any]) -> str:
    progress = waited["progress"] or {}
    words = [str(waited["state"]), str(waited["phase"] or "")]
    if progress.get("total") is not None:
        words.append(f"{progress['current']}/{progress['total']}")
    if progress.get("percent") is not None:
        words.append(f"{progress['percent']:g} %")
    if progress.get("eta_seconds") is not None:
        words.append(f"eta {progress['eta_seconds']:g} s")
    return " ".join(word for word in words if word)
