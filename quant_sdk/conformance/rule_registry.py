"""The rules that somebody declared: the built-in ones, and those of plugins.

A plugin names a tuple of `Rule` in the entry-point group ``quant_sdk.conformance_rules``.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Final

from quant_registry.errors import BrokenPlugin, Conflict, QuantError, UnknownName
from quant_sdk.conformance.rule import Rule
from quant_sdk.conformance.rules import BUILT_IN

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from importlib.metadata import EntryPoint

GROUP: Final = "quant_sdk.conformance_rules"


class RuleRegistry:
    """An ordinary instance: ``id in registry``, ``for rule in registry``, ``registry[id]``."""

    def __init__(self, rules: Iterable[Rule] = BUILT_IN) -> None:
        self._rules: dict[str, Rule] = {}
        self._broken: dict[str, QuantError] = {}
        self.register(rules)

    @classmethod
    def discover(cls) -> RuleRegistry:
        """Return the built-in rules and those of installed plugins."""
        registry = cls()
        for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
            try:
                registry.register(_load(point))
            except QuantError as error:
                registry._broken[f"entry point {point.name}"] = error
        return registry

    def register(self, rules: Iterable[Rule]) -> None:
        """Add `rules`, all of them or, where one id is taken, none.

        Raises:
            Conflict: an id is declared twice.
        """
        merged = dict(self._rules)
        for rule in rules:
            if rule.id in merged:
                raise Conflict(
                    f"the rule {rule.id!r} is declared twice",
                    fix="rename one of them; ids are unique among all kinds",
                    rule=rule.id,
                )
            merged[rule.id] = rule
        self._rules = merged

    @property
    def broken(self) -> Mapping[str, QuantError]:
        """Plugins that could not be imported, by origin, each with its error."""
        return self._broken

    def of_kind(self, kind: str) -> tuple[Rule, ...]:
        """Return the rules of a kind, in the order in which they are asked."""
        return tuple(rule for rule in self if rule.kind == kind)

    def __getitem__(self, rule_id: str) -> Rule:
        if rule_id not in self._rules:
            raise UnknownName(rule_id, self._rules, fix="see: quant conformance rules")
        return self._rules[rule_id]

    def __contains__(self, rule_id: object) -> bool:
        return rule_id in self._rules

    def __iter__(self) -> Iterator[Rule]:
        return iter(self._rules.values())

    def __len__(self) -> int:
        return len(self._rules)

    def __repr__(self) -> str:
        return f"<RuleRegistry: {len(self._rules)} rules, {len(self._broken)} broken plugins>"


def _load(point: EntryPoint) -> tuple[Rule, ...]:
    try:
        found = point.load()
    except (Exception, SystemExit) as error:
        raise BrokenPlugin(
            f"the rules of {point.name!r} cannot be imported: {type(error).__name__}: {error}",
            fix=f"repair {point.value}, or uninstall what declares it",
        ) from error
    if not isinstance(found, tuple) or not all(isinstance(rule, Rule) for rule in found):
        raise BrokenPlugin(
            f"{point.value} is not a tuple of Rule", fix="declare RULES = (Rule(...), ...)"
        )
    return found
