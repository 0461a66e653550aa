"""The registry: the stages somebody declared, and those that could not be imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import DuplicateStage, QuantError, UnknownStage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from .spec import StageSpec
    from .workspace import Workspace


class StageRegistry:
    """An ordinary instance: ``id in registry``, ``for spec in registry``, ``registry[id]``."""

    def __init__(self, stages: Iterable[StageSpec] = ()) -> None:
        self._stages: dict[str, StageSpec] = {}
        self._broken: dict[str, QuantError] = {}
        self.register(stages)

    @classmethod
    def discover(cls, workspace: Workspace | None = None) -> StageRegistry:
        """Return the stages of installed plugins and of the workspace's ``quant.yml``."""
        from .discovery import declarations

        registry = cls()
        for origin, load in declarations(workspace):
            try:
                registry.register(load())
            except QuantError as error:
                registry._broken[origin] = error
        return registry

    def register(self, stages: Iterable[StageSpec]) -> None:
        """Add `stages`, all of them or, where one id is taken, none.

        Raises:
            DuplicateStage: an id is declared twice.
        """
        merged = dict(self._stages)
        for spec in stages:
            if spec.id in merged:
                raise DuplicateStage(
                    f"stage {spec.id!r} is declared twice",
                    fix="rename one of them; ids are unique in a workspace",
                    stage_id=spec.id,
                )
            merged[spec.id] = spec
        self._stages = merged

    @property
    def broken(self) -> Mapping[str, QuantError]:
        """Plugins that could not be imported, by origin, each with its error."""
        return self._broken

    def find(self, *, category: str | None = None, tag: str | None = None) -> list[StageSpec]:
        """Return the stages of a category and with a tag, sorted by id."""
        return [
            spec
            for spec in self
            if (category is None or spec.category == category) and (tag is None or tag in spec.tags)
        ]

    def __getitem__(self, stage_id: str) -> StageSpec:
        try:
            return self._stages[stage_id]
        except KeyError:
            raise UnknownStage(stage_id, self._stages) from None

    def __contains__(self, stage_id: object) -> bool:
        return stage_id in self._stages

    def __iter__(self) -> Iterator[StageSpec]:
        return iter(sorted(self._stages.values(), key=lambda spec: spec.id))

    def __len__(self) -> int:
        return len(self._stages)

    def __repr__(self) -> str:
        return f"<StageRegistry: {len(self._stages)} stages, {len(self._broken)} broken plugins>"
