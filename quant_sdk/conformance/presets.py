"""Presets: the thresholds of the rules, and how grave it is to break them."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from quant_registry.errors import UnknownName
from quant_sdk.conformance.rules import BUILT_IN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from quant_sdk.conformance.report import Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """Thresholds by name; severities by rule id or code of a finding, where they are others.

    Both are copied, and cannot be changed: many pipelines share a preset.
    """

    name: str
    thresholds: Mapping[str, float | None]
    severities: Mapping[str, Severity] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("thresholds", "severities"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def __reduce__(self) -> tuple[Any, ...]:
        return _preset, (self.to_dict(),)

    def to_dict(self) -> dict[str, Any]:
        """Return the preset as JSON."""
        return {
            "name": self.name,
            "thresholds": dict(self.thresholds),
            "severities": dict(self.severities),
        }


def _preset(values: dict[str, Any]) -> Preset:
    return Preset(**values)


_DECLARED: Final = {name: value for rule in BUILT_IN for name, value in rule.thresholds.items()}

STRICT: Final = Preset(name="strict-blocking", thresholds=_DECLARED)
"""What is published: whatever cannot be true is refused."""

PERMISSIVE: Final = Preset(
    name="permissive-dev",
    thresholds={**_DECLARED, "max_return": 50.0, "max_spread": 1.0},
    severities={
        "return_spike": "warn",
        "negative_volume": "warn",
        "ohlc_order": "warn",
        "quote_crossed": "warn",
        "quote_wide_spread": "note",
        "unexpected_column": "note",
    },
)
"""For trying things out: what can still be computed with stays, and is told."""

PRESETS: Final = MappingProxyType({preset.name: preset for preset in (STRICT, PERMISSIVE)})


def preset_named(name: str) -> Preset:
    """Return a preset by name.

    Raises:
        UnknownName: there is none of that name.
    """
    if name not in PRESETS:
        raise UnknownName(name, PRESETS, fix=f"the presets are {', '.join(PRESETS)}")
    return PRESETS[name]
