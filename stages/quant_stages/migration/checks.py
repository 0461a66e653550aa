"""Prerequisites of the migration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quant_sdk import Check, free_bytes
from quant_stages.manifest.document import read_manifest
from quant_stages.manifest.profiles import audit_profiles, manifest_findings
from quant_stages.migration.plan import discovered, pending_bytes

if TYPE_CHECKING:
    from quant_sdk import CheckContext, CheckStatus

Look = tuple["CheckStatus", str, str]


def _manifest(context: CheckContext) -> Look:
    path = context.workspace.root / context.params.manifest
    manifest = read_manifest(path)
    profiles = audit_profiles(manifest, context.params.profiles)
    findings = [
        *(finding for finding in manifest_findings(manifest)),
        *(finding for profile in profiles for finding in profile.findings),
    ]
    serious = [finding for finding in findings if finding.severity != "note"]
    told = "; ".join(f"{item.place}: {item.message}" for item in serious)
    fixes = "; ".join(item.fix for item in serious if item.fix)
    working = [profile.name for profile in profiles if profile.entries]
    if not working:
        return "failed", told or "no profile names legacy sources", fixes or "add discovery.legacy"
    if serious:
        return "warning", told, fixes
    return "passed", f"profiles with legacy sources: {', '.join(working)}", ""


def _sources(context: CheckContext) -> Look:
    found = discovered(context)
    if found.failures:
        told = "; ".join(f"{item.source}: {item.error.message}" for item in found.failures[:5])
        fixes = "; ".join(item.error.fix for item in found.failures[:5])
        return "warning", f"{len(found.failures)} cannot be used: {told}", fixes
    return "passed", f"{len(found.files)} files are named", ""


def _disk(context: CheckContext) -> Look:
    needed, free = pending_bytes(context), free_bytes(context.workspace)
    detail = f"{needed} bytes to move, {free} bytes free"
    if free < needed:
        return "failed", detail, f"free {needed - free} bytes, or move the workspace"
    return "passed", detail, ""


def _credentials(_: CheckContext) -> Look:
    return "not_applicable", "legacy sources are local files", ""


def _api_limits(_: CheckContext) -> Look:
    return "not_applicable", "no network is used", ""


CHECKS = (
    Check(name="manifest", look=_manifest),
    Check(name="sources", look=_sources),
    Check(name="disk", look=_disk),
    Check(name="credentials", look=_credentials),
    Check(name="api_limits", look=_api_limits),
)
