"""Profiles: resolved, merged, and audited with findings; a bad one stops only itself."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from quant_sdk.sources.legacy.protocol import LegacyEntry
from quant_stages.manifest import settings
from quant_stages.manifest.document import Manifest, merge

if TYPE_CHECKING:
    from collections.abc import Iterator

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something about a profile; an ``error`` stops the profile."""

    severity: Severity
    code: str
    place: str
    message: str
    fix: str = ""

    def to_dict(self) -> dict[str, str]:
        """Return the form of the report."""
        return {
            "severity": self.severity,
            "code": self.code,
            "place": self.place,
            "message": self.message,
            "fix": self.fix,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileAudit:
    """What is known of a profile.

    Attributes:
        name: as in the manifest.
        resolved: the profile its alias leads to; its own name without one; None for a bad alias.
        settings: the defaults with the profile laid on them.
        findings: errors, warnings, notes.
        entries: its legacy sources.
    """

    name: str
    resolved: str | None
    settings: dict[str, Any]
    findings: tuple[Finding, ...]
    entries: tuple[LegacyEntry, ...]

    @property
    def ok(self) -> bool:
        """Whether the profile can be worked on."""
        return all(finding.severity != "error" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return the form of the report."""
        return {
            "name": self.name,
            "ok": self.ok,
            "resolved": self.resolved,
            "findings": [finding.to_dict() for finding in self.findings],
            "settings": self.settings,
        }


def audit_profiles(manifest: Manifest, only: tuple[str, ...] = ()) -> list[ProfileAudit]:
    """Return the audit of every profile, or of those named, in the manifest's order."""
    names = [name for name in manifest.profiles if not only or name in only]
    unknown = [name for name in only if name not in manifest.profiles]
    return [_audit(manifest, name) for name in names] + [
        _unknown(name, manifest) for name in unknown
    ]


def manifest_findings(manifest: Manifest) -> list[Finding]:
    """Return what is wrong with the manifest outside its profiles."""
    found = list(_key_findings(manifest.document, settings.MANIFEST, ""))
    default = manifest.document.get("default_profile")
    known = isinstance(default, str) and default in manifest.profiles
    if default is not None and not known:
        found.append(
            Finding(
                severity="warning",
                code="dangling_default",
                place="default_profile",
                message=f"there is no profile {default!r}",
                fix=_near(str(default), manifest.profiles),
            )
        )
    return found


def _audit(manifest: Manifest, name: str) -> ProfileAudit:
    resolved = _resolve(manifest, name)
    if isinstance(resolved, Finding):
        return _stopped(name, resolved)
    own = manifest.profiles[resolved]
    if not isinstance(own, dict):
        place = f"profiles.{resolved}"
        return _stopped(name, _error("not_a_profile", place, "it is no object and no alias"))
    merged = merge(manifest.defaults, own)
    findings = [*_section(own, resolved), *_findings(merged, f"profiles.{resolved}")]
    if "discovery" in own:
        findings += _path_findings(manifest, merged, f"profiles.{resolved}.discovery")
    bad = any(finding.severity == "error" for finding in findings)
    return ProfileAudit(
        name=name,
        resolved=resolved,
        settings=merged,
        findings=tuple(findings),
        entries=() if bad or "discovery" not in own else tuple(_entries(merged)),
    )


def _resolve(manifest: Manifest, name: str) -> str | Finding:
    """Follow aliases from `name`; return where they lead, or why they do not."""
    chain = [name]
    while isinstance(target := manifest.profiles[chain[-1]], str):
        if target in chain:
            path = " -> ".join([*chain, target])
            return _error("alias_cycle", f"profiles.{name}", f"the aliases go round: {path}")
        if target not in manifest.profiles:
            fix = _near(target, manifest.profiles)
            message = f"it is an alias of {target!r}, which is no profile"
            return _error("dangling_alias", f"profiles.{chain[-1]}", message, fix)
        chain.append(target)
    return chain[-1]


def _section(own: dict[str, Any], name: str) -> Iterator[Finding]:
    if "discovery" not in own:
        meta = "a meta profile: it combines others" if "sleeves" in own else "nothing to discover"
        yield Finding(
            severity="note",
            code="no_discovery",
            place=f"profiles.{name}",
            message=f"no discovery section ({meta})",
        )


def _findings(
    value: Any, place: str, shape: settings.Shape = settings.PROFILE
) -> Iterator[Finding]:
    """Yield what is wrong in `value` against `shape`, place by place."""
    problem = shape.problem(value)
    if problem:
        yield _error("impossible_value", place, problem, shape.fix)
        return
    if shape.items is not None and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _findings(item, f"{place}[{index}]", shape.items)
    if isinstance(value, dict) and (shape.keys or shape.values):
        yield from _key_findings(value, shape.keys, place, closed=shape.values is None)
        for key, item in value.items():
            inner = shape.keys.get(key) or shape.values
            if inner is not None:
                yield from _findings(item, f"{place}.{key}", inner)


def _key_findings(
    value: dict[str, Any], known: Any, place: str, *, closed: bool = True
) -> Iterator[Finding]:
    for key in getattr(value, "duplicates", ()):
        where = f"{place}.{key}".lstrip(".")
        yield _error("duplicate_key", where, f"the key {key!r} stands twice", "keep one of them")
    for key in value if closed else ():
        near = difflib.get_close_matches(key, list(known), n=1, cutoff=0.75)
        if key not in known and near:
            yield Finding(
                severity="warning",
                code="unknown_key",
                place=f"{place}.{key}".lstrip("."),
                message=f"{key!r} is no setting and is not used",
                fix=f"did you mean {near[0]!r}?",
            )


def _path_findings(manifest: Manifest, merged: dict[str, Any], place: str) -> Iterator[Finding]:
    discovery = merged.get("discovery")
    if not isinstance(discovery, dict):
        return
    for where, scanner in settings.scanners(discovery):
        if not settings.scanner_exists(manifest.folder, scanner):
            yield Finding(
                severity="warning",
                code="missing_scanner",
                place=f"{place}.{where}",
                message=f"there is no scanner file {scanner}.yaml",
                fix="write the path relative to the manifest, without suffix",
            )
    for index, entry in enumerate(settings.legacy(discovery)):
        path = entry.get("path")
        if isinstance(path, str) and not settings.exists(manifest.folder / path):
            yield _error(
                "missing_legacy_path",
                f"{place}.legacy[{index}]",
                f"there is nothing at {path!r}",
                "write the path relative to the manifest",
            )


def _entries(merged: dict[str, Any]) -> Iterator[LegacyEntry]:
    for entry in settings.legacy(merged.get("discovery", {})):
        yield LegacyEntry(**{key: entry[key] for key in settings.LEGACY.keys if key in entry})


def _unknown(name: str, manifest: Manifest) -> ProfileAudit:
    near = _near(name, manifest.profiles)
    return _stopped(name, _error("unknown_profile", f"profiles.{name}", "no such profile", near))


def _stopped(name: str, finding: Finding) -> ProfileAudit:
    return ProfileAudit(name=name, resolved=None, settings={}, findings=(finding,), entries=())


def _error(code: str, place: str, message: str, fix: str = "") -> Finding:
    return Finding(severity="error", code=code, place=place, message=message, fix=fix)


def _near(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.4)
    return f"did you mean {', '.join(near)}?" if near else "add it, or correct the name"
