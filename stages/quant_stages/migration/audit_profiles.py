"""Step 1: audit the manifest's profiles."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from quant_sdk.errors import SourceUnreadable
from quant_stages.manifest.document import read_manifest
from quant_stages.manifest.profiles import audit_profiles, manifest_findings
from quant_stages.migration.state import Failure

if TYPE_CHECKING:
    from quant_sdk import Run
    from quant_stages.manifest.profiles import ProfileAudit
    from quant_stages.migration.state import Migration

NAME = "audit_profiles"
PHASE = "ingestion"


def apply(run: Run, state: Migration) -> Migration:
    """Report on every profile; those with errors are left out, and counted as unread."""
    manifest = read_manifest(state.manifest_path)
    profiles = tuple(audit_profiles(manifest, state.params.profiles))
    general = manifest_findings(manifest)
    for profile in profiles:
        findings = [finding.to_dict() for finding in profile.findings]
        status = "success" if profile.ok else "failed"
        run.emit("profile_audited", profile=profile.name, status=status, findings=findings)
    report = run.write_report(
        "profiles",
        {
            "manifest": str(state.manifest_path),
            "default_profile": manifest.document.get("default_profile"),
            "findings": [finding.to_dict() for finding in general],
            "profiles": [profile.to_dict() for profile in profiles],
        },
    )
    return replace(
        state,
        profiles=profiles,
        failures=(*state.failures, *map(_failure, _bad(profiles))),
        reports=state.reports | {"profiles": report},
    )


def _bad(profiles: tuple[ProfileAudit, ...]) -> list[ProfileAudit]:
    return [profile for profile in profiles if not profile.ok]


def _failure(profile: ProfileAudit) -> Failure:
    errors = [finding for finding in profile.findings if finding.severity == "error"]
    return Failure(
        source=f"profile {profile.name}",
        symbol=None,
        error=SourceUnreadable(
            "; ".join(f"{finding.place}: {finding.message}" for finding in errors),
            fix="; ".join(finding.fix for finding in errors if finding.fix),
        ),
    )
