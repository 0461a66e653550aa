"""What bars must satisfy before they are published. Names resolve on first use (PEP 562)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quant_sdk.conformance.bars import CheckedBars, check_bars
    from quant_sdk.conformance.many import check_many
    from quant_sdk.conformance.rules import RULES, Rule

__all__ = ["RULES", "CheckedBars", "Rule", "check_bars", "check_many"]

_HOME_OF = {
    "RULES": "rules",
    "Rule": "rules",
    "CheckedBars": "bars",
    "check_bars": "bars",
    "check_many": "many",
}


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
