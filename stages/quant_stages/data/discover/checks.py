"""Prerequisites of a discovery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quant_sdk import Check
from quant_sdk.sources.settings import read_source_settings
from quant_stages.data.discover.wanted import wishes

if TYPE_CHECKING:
    from quant_sdk import CheckContext, CheckStatus

Look = tuple["CheckStatus", str, str]


def _manifest(context: CheckContext) -> Look:
    found = wishes(context.workspace, context.params)
    return "passed", f"profiles: {', '.join(found.profiles)}", ""


def _scanners(context: CheckContext) -> Look:
    found = wishes(context.workspace, context.params)
    told = "; ".join(f"{item.scanner}: {item.error.message}" for item in found.failures[:5])
    fixes = "; ".join(item.error.fix for item in found.failures[:5] if item.error.fix)
    if not found.readable:
        missing = "no strategy of these profiles names a scanner"
        return "failed", told or missing, fixes or "add discovery.strategies with scanners"
    if found.failures:
        return "warning", f"{len(found.failures)} cannot be used: {told}", fixes
    odd = [finding for _, scanner in found.readable for finding in scanner.findings]
    if odd:
        told = "; ".join(f"{finding.place}: {finding.message}" for finding in odd[:5])
        return "warning", told, "; ".join(finding.fix for finding in odd[:5] if finding.fix)
    return "passed", f"{len(found.readable)} scanners can be asked", ""


def _sources(context: CheckContext) -> Look:
    return "passed", f"{read_source_settings(context.workspace).market} market", ""


CHECKS = (
    Check(name="sources", look=_sources),
    Check(name="manifest", look=_manifest),
    Check(name="scanners", look=_scanners),
)
