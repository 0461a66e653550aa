"""The section ``seamless.conformance`` of a workspace's ``quant.yml``.

seamless:
conformance:
mode: shadow              # blocking (default), partial_ok, shadow
preset: permissive-dev    # strict-blocking (default)
thresholds: {max_return: 20}
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, get_args

from quant_registry.errors import InvalidInput
from quant_registry.settings import check_keys, read_settings, section_of
from quant_sdk.conformance.presets import PRESETS, STRICT
from quant_sdk.conformance.report import Mode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from quant_registry.workspace import Workspace

SECTION: Final = "seamless.conformance"
_SHOWN: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class ConformanceSettings:
    """How the data of a workspace is checked, where nobody says otherwise."""

    mode: Mode = "blocking"
    preset: str = STRICT.name
    thresholds: Mapping[str, float | None] = field(default_factory=dict)

    def options(self) -> dict[str, Any]:
        """Return them as arguments of `ConformancePipeline`."""
        return {"mode": self.mode, "preset": self.preset, "thresholds": self.thresholds}


def read_conformance_settings(workspace: Workspace) -> ConformanceSettings:
    """Return the section of the workspace's ``quant.yml``; the defaults where there is none.

    Raises:
        InvalidInput: the file is no YAML, or a value is not possible; its place is named.
    """
    settings = read_settings(workspace)
    parent, _, name = SECTION.partition(".")
    if isinstance(around := settings.get(parent), dict):
        check_keys(around, [name], parent)
    section = section_of(settings, SECTION)
    return ConformanceSettings() if section is None else _parsed(section)


def _parsed(section: Any) -> ConformanceSettings:
    if not isinstance(section, dict):
        raise _impossible(SECTION, section, "write a mapping of keys to values")
    known = {"mode": get_args(Mode), "preset": tuple(PRESETS), "thresholds": ()}
    for key, value in section.items():
        if key not in known:
            raise _impossible(f"{SECTION}.{key}", value, f"the keys are {', '.join(known)}")
        if key != "thresholds" and value not in known[key]:
            raise _impossible(f"{SECTION}.{key}", value, f"write one of {', '.join(known[key])}")
    thresholds = section.get("thresholds") or {}
    if not isinstance(thresholds, dict):
        raise _impossible(
            f"{SECTION}.thresholds", thresholds, "write a mapping of names to numbers"
        )
    return ConformanceSettings(**{**section, "thresholds": thresholds})


def _impossible(place: str, value: Any, fix: str) -> InvalidInput:
    return InvalidInput(f"quant.yml: {place} is {str(value)[:_SHOWN]!r}", fix=fix)
