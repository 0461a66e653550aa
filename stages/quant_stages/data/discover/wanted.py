"""What the manifest wants discovered: scanners, each with the bars that its symbols need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from quant_sdk.errors import InvalidManifest, QuantError, UnknownName
from quant_sdk.sources.candidates import merge_ingest
from quant_sdk.sources.scanner.file import ScannerFile, read_scanner
from quant_stages.manifest.document import read_manifest
from quant_stages.manifest.profiles import audit_profiles

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from quant_sdk import Workspace
    from quant_stages.data.discover.params import DiscoverParams
    from quant_stages.manifest.document import Manifest
    from quant_stages.manifest.profiles import Finding, ProfileAudit

_LEGACY = ".discovery.legacy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One scanner that strategies name.

    Attributes:
        scanner: its path as the manifest writes it.
        path: the file, with or without suffix.
        markets: only these of its markets; None for all.
        ingest: timeframe and depth in days of the bars that its symbols need.
        strategies: those that name it.
    """

    scanner: str
    path: Path
    markets: tuple[str, ...] | None
    ingest: tuple[tuple[str, int | None], ...]
    strategies: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A scanner, or a place that should have named some, and why it gave nothing."""

    scanner: str
    error: QuantError

    def to_dict(self) -> dict[str, Any]:
        """Return the form of exports and results."""
        return {
            "scanner": self.scanner,
            "code": self.error.code,
            "message": self.error.message,
            "fix": self.error.fix,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """All that is wanted of a manifest.

    Attributes:
        profiles: those that were looked at.
        readable: scanners that can be asked.
        failures: profiles, strategies and scanners that cannot be used.
    """

    profiles: tuple[str, ...]
    readable: tuple[tuple[Wanted, ScannerFile], ...]
    failures: tuple[Failure, ...]


def wishes(workspace: Workspace, params: DiscoverParams) -> Wishes:
    """Return the scanners that the chosen profiles and strategies name, each once.

    Raises:
        InvalidManifest: the manifest cannot be read, or no profile is chosen.
        UnknownName: no chosen profile has a strategy of that name.
    """
    path = workspace.root / params.manifest
    manifest = read_manifest(path)
    profiles = _profiles(manifest, params.profiles)
    failures = [failure for profile in profiles for failure in _stopping(profile)]
    usable = [profile for profile in profiles if not list(_stopping(profile))]
    _check_strategies(params.strategies, usable)
    readable: list[tuple[Wanted, ScannerFile]] = []
    for item in _joined(_named(usable, manifest, params.strategies, failures)):
        try:
            readable.append((item, read_scanner(item.path, workspace.root)))
        except QuantError as error:
            failures.append(Failure(scanner=item.scanner, error=error))
    names = tuple(profile.name for profile in profiles)
    return Wishes(profiles=names, readable=tuple(readable), failures=tuple(failures))


def _profiles(manifest: Manifest, chosen: tuple[str, ...]) -> list[ProfileAudit]:
    """Return the chosen profiles; one that combines others stands for those."""
    default = manifest.document.get("default_profile")
    if not chosen and not isinstance(default, str):
        raise InvalidManifest(
            f"the manifest {manifest.path.name} names no default_profile",
            fix="add it, or name profiles with --profiles",
        )
    found: dict[str, ProfileAudit] = {}
    pending = list(chosen or (str(default),))
    seen: set[str] = set()
    while pending:
        name = pending.pop(0)
        if name in seen:
            continue
        seen.add(name)
        profile = audit_profiles(manifest, (name,))[0]
        sleeves = list(_sleeves(profile))
        pending += sleeves
        if not sleeves:
            found.setdefault(profile.resolved or name, profile)
    return list(found.values())


def _sleeves(profile: ProfileAudit) -> Iterator[str]:
    listed = profile.settings.get("sleeves")
    for sleeve in listed if isinstance(listed, list) else ():
        if isinstance(sleeve, dict) and isinstance(sleeve.get("profile"), str):
            yield sleeve["profile"]


def _stopping(profile: ProfileAudit) -> Iterator[Failure]:
    """Yield why a profile cannot be used; what is wrong with its legacy files does not matter."""
    for finding in profile.findings:
        if finding.severity == "error" and _LEGACY not in finding.place:
            yield Failure(scanner=finding.place, error=_as_error(finding))


def _as_error(finding: Finding) -> InvalidManifest:
    return InvalidManifest(f"{finding.place}: {finding.message}", fix=finding.fix)


def _strategies(profile: ProfileAudit) -> dict[str, dict[str, Any]]:
    discovery = profile.settings.get("discovery")
    found = discovery.get("strategies") if isinstance(discovery, dict) else None
    return found if isinstance(found, dict) else {}


def _check_strategies(chosen: tuple[str, ...], profiles: list[ProfileAudit]) -> None:
    known = {name for profile in profiles for name in _strategies(profile)}
    for name in chosen:
        if name not in known:
            raise UnknownName(name, sorted(known))


def _named(
    profiles: Iterable[ProfileAudit],
    manifest: Manifest,
    chosen: tuple[str, ...],
    failures: list[Failure],
) -> Iterator[Wanted]:
    for profile in profiles:
        markets = profile.settings.get("discovery", {}).get("enabled_markets")
        for name, strategy in _strategies(profile).items():
            if chosen and name not in chosen:
                continue
            if "interval" not in strategy:
                failures.append(Failure(scanner=name, error=_no_interval(name)))
                continue
            for scanner in strategy.get("scanners", ()):
                yield Wanted(
                    scanner=scanner,
                    path=manifest.folder / scanner,
                    markets=None if markets is None else tuple(item.lower() for item in markets),
                    ingest=((strategy["interval"], strategy.get("ingestion_depth")),),
                    strategies=(name,),
                )


def _no_interval(strategy: str) -> InvalidManifest:
    return InvalidManifest(
        f"the strategy {strategy!r} has no interval", fix='write "interval": "1h", or another one'
    )


def _joined(wanted: Iterable[Wanted]) -> list[Wanted]:
    """Return each scanner once, with all that strategies want of it."""
    found: dict[tuple[Path, tuple[str, ...] | None], Wanted] = {}
    for item in wanted:
        key = (item.path, item.markets)
        first = found.get(key, item)
        found[key] = Wanted(
            scanner=first.scanner,
            path=first.path,
            markets=first.markets,
            ingest=merge_ingest(first.ingest, item.ingest),
            strategies=tuple(dict.fromkeys((*first.strategies, *item.strategies))),
        )
    return list(found.values())
