"""Progress: one object for audit, status, CLI and agents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Progress:
    """How far a run is; `current` never goes back.

    Args:
        active_seconds: seconds the run has worked, pauses left out.
    """

    def __init__(self, active_seconds: Callable[[], float]) -> None:
        self._active_seconds = active_seconds
        self._began = active_seconds()
        self.current = 0
        self.total: int | None = None

    def expect(self, total: int | None) -> bool:
        """Set the total; tell whether a known one was changed."""
        revised = self.total is not None and total != self.total
        self.total = total
        return revised

    def advance(self, by: int = 1) -> None:
        """Count `by` more items as done."""
        if by < 0:
            raise ValueError("progress never goes back")
        self.current += by

    def to_dict(self) -> dict[str, Any]:
        """Return ``{current, total, percent, eta_seconds}``; unknown is null."""
        return {
            "current": self.current,
            "total": self.total,
            "percent": self._percent(),
            "eta_seconds": self._eta(),
        }

    def _percent(self) -> float | None:
        if self.total is None:
            return None
        return round(100.0 * min(self.current / self.total, 1.0), 1) if self.total else 100.0

    def _eta(self) -> float | None:
        if self.total is None or self.current == 0:
            return None
        elapsed = self._active_seconds() - self._began
        return round(max(self.total - self.current, 0) * elapsed / self.current, 1)
