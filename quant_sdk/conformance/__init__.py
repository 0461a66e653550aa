"""What data must satisfy before it is served or published. Names resolve on first use (PEP 562)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quant_registry.lazy import lazily

if TYPE_CHECKING:
    from quant_sdk.conformance.bars import CheckedBars
    from quant_sdk.conformance.folder import Piece, pieces, run_files, run_folder
    from quant_sdk.conformance.merging import merge
    from quant_sdk.conformance.pipeline import STAGES, ConformancePipeline, ConformanceResult
    from quant_sdk.conformance.presets import PRESETS, Preset
    from quant_sdk.conformance.report import (
        ConformanceReport,
        RuleCount,
        SchemaFinding,
        SeriesRollup,
    )
    from quant_sdk.conformance.rule import Asked, Rule
    from quant_sdk.conformance.rule_registry import RuleRegistry
    from quant_sdk.conformance.rules import RULES

__all__ = [
    "PRESETS",
    "RULES",
    "STAGES",
    "Asked",
    "CheckedBars",
    "ConformancePipeline",
    "ConformanceReport",
    "ConformanceResult",
    "Piece",
    "Preset",
    "Rule",
    "RuleCount",
    "RuleRegistry",
    "SchemaFinding",
    "SeriesRollup",
    "merge",
    "pieces",
    "run_files",
    "run_folder",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        ".bars": ("CheckedBars",),
        ".folder": ("Piece", "pieces", "run_files", "run_folder"),
        ".merging": ("merge",),
        ".pipeline": ("STAGES", "ConformancePipeline", "ConformanceResult"),
        ".presets": ("PRESETS", "Preset"),
        ".report": ("ConformanceReport", "RuleCount", "SchemaFinding", "SeriesRollup"),
        ".rule": ("Asked", "Rule"),
        ".rule_registry": ("RuleRegistry",),
        ".rules": ("RULES",),
    },
)
