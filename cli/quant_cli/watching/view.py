"""What the person in front of it does: which run is marked, what is asked, what is answered."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from quant_cli.watching import frame
from quant_cli.watching.keys import DOWN, QUIT, UP

if TYPE_CHECKING:
    from quant_cli.watching.scene import Row, Scene

_WISHES = {"p": "pause", "r": "resume", "c": "cancel"}
_STEP = {UP: -1, DOWN: 1}


class Wish(NamedTuple):
    """What a key asks for: ``pause``, ``resume``, ``cancel`` of a run, or ``quit``."""

    action: str
    run_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The view's own state; a key makes the next one."""

    selected: str | None = None
    question: str | None = None
    answer: str = ""

    @property
    def told(self) -> str:
        """What the last line says."""
        if self.question is not None:
            return f"cancel {self.question}? y/n"
        return self.answer or frame.KEYS

    def settled(self, scene: Scene) -> View:
        """Mark the first run where the marked one has gone."""
        ids = [row.run_id for row in scene.rows]
        if self.selected in ids:
            return self
        return replace(self, selected=ids[0] if ids else None, question=None)

    def press(self, key: str, scene: Scene) -> tuple[View, Wish | None]:
        """Return the view after `key`, and what it asks for."""
        if self.question is not None:
            wish = Wish("cancel", self.question) if key == "y" else None
            return replace(self, question=None, answer=""), wish
        if key == QUIT:
            return self, Wish("quit")
        if key in _STEP:
            return replace(self, selected=self._moved(scene, _STEP[key]), answer=""), None
        row = next((row for row in scene.rows if row.run_id == self.selected), None)
        if key not in _WISHES or row is None:
            return replace(self, answer=""), None
        return self._steer(_WISHES[key], row)

    def _steer(self, action: str, row: Row) -> tuple[View, Wish | None]:
        if row.ended:
            return replace(self, answer=f"it has ended: {row.state}"), None
        if action == "cancel":
            return replace(self, question=row.run_id), None
        return replace(self, answer=f"{action} asked of {row.run_id}"), Wish(action, row.run_id)

    def _moved(self, scene: Scene, by: int) -> str | None:
        ids = [row.run_id for row in scene.rows]
        if not ids:
            return None
        place = ids.index(self.selected) if self.selected in ids else 0
        return ids[max(min(place + by, len(ids) - 1), 0)]
