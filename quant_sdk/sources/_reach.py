"""How far a venue looks ahead when it is asked: as its answers prove, not as it declares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quant_registry.errors import SourceError, SourceRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Collection


class Reach:
    """How many slots from the one asked for an answer without bars proves to be empty.

    It is measured once, by a bar that is known: a venue that gives it, asked so many slots before
    it, looks so far. While no bar is known, half of what the venue declares is believed.

    Args:
        declared: bars in an answer at most.
        first: no slot before this one is asked for.
        ask: returns the slots of the bars of ``[slot, beyond)``.
    """

    def __init__(
        self, declared: int, first: int, ask: Callable[[int, int], Collection[int]]
    ) -> None:
        self._declared = declared
        self._first = first
        self._ask = ask
        self._bar: int | None = None
        self._proven = 0
        self._measured = False
        self._believed = 0

    def told(self, slots: Collection[int], slot: int, beyond: int) -> tuple[list[int], int]:
        """Return what an answer to a question about ``[slot, beyond)`` tells.

        Args:
            slots: of the bars of the answer.
            slot: the first one asked for.
            beyond: the end of the page.

        Returns:
            The slots of the page that are filled, and the one at which what is known of it ends.

        Raises:
            SourceError: as `within`.
        """
        known = () if self._bar is None else (self._bar,)
        self._bar = min((*known, *(at for at in slots if at >= slot)), default=None)
        present = sorted({at for at in slots if slot <= at < beyond})
        # Some venues add their newest bar to every answer: one that stands apart proves nothing.
        apart = bool(present) and present[-1] == max(slots) and present[-1] - 1 not in slots
        if apart and len(present) > 1:
            present.pop()
            apart = False
        if apart or not present:
            empty = (present[0] if present else beyond) - slot
            proven = self.within(empty) if empty else 0
            if proven < empty or not present:
                return [], slot + proven
        self._proven = max(self._proven, present[-1] - slot + 1)
        return present, present[-1] + 1

    def within(self, slots: int) -> int:
        """Return how many of `slots`, which an answer left empty, are empty; one at least.

        Raises:
            SourceError: the venue could not be asked, or contradicts itself.
        """
        if slots <= self._proven:
            return slots
        if self._bar is None:
            half = max(slots // 2, 1)
            self._believed = max(self._believed, half)
            return half
        if not self._measured:
            self._measure(self._bar)
        return min(slots, self._proven)

    def refuted(self) -> bool:
        """Tell, once, whether more was believed than can be proven since a bar is known.

        Raises:
            SourceError: as `within`.
        """
        if self._bar is None or not self._believed:
            return False
        refuted = self.within(self._believed) < self._believed
        self._believed = 0
        return refuted

    def _measure(self, bar: int) -> None:
        width = min(self._declared, bar - self._first + 1)
        while width > self._proven:
            if self._gives(bar, width):
                self._proven = width
            width //= 2
        if not self._proven:
            raise SourceError(
                "the venue does not give a bar again that it gave", fix="run it again"
            )
        self._measured = True

    def _gives(self, bar: int, width: int) -> bool:
        try:
            return bar in self._ask(bar - width + 1, bar + 1)
        except SourceRefused:  # too long ago for it
            return False
