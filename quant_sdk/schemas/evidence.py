"""What the canary of a schema has shown: clean checks since the last failure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from quant_registry.clock import iso
from quant_sdk.schemas.checks import recorded

if TYPE_CHECKING:
    from datetime import datetime

    from quant_registry.workspace import Workspace
    from quant_sdk.schemas.schema import CanonicalSchema


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What checks of one fingerprint found, up to now.

    Attributes:
        checks: clean ones since the last failure.
        days: on how many days (UTC) there were any of them.
        nodes: whose responses they were of, sorted.
        since: when the first of them was recorded; None where there is none.
        failures: checks that failed, ever.
        last_failure: when the last one failed; None where none has.
    """

    checks: int
    days: int
    nodes: tuple[str, ...]
    since: datetime | None
    failures: int
    last_failure: datetime | None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "checks": self.checks,
            "days": self.days,
            "nodes": list(self.nodes),
            "since": None if self.since is None else iso(self.since),
            "failures": self.failures,
            "last_failure": None if self.last_failure is None else iso(self.last_failure),
        }


def evidence(workspace: Workspace, schema: CanonicalSchema, now: datetime) -> Evidence:
    """Return what the checks of exactly this fingerprint have shown up to `now`."""
    told = [
        each
        for each in recorded(workspace, schema.name, schema.version)
        if each.fingerprint == schema.fingerprint
    ]
    failed = [each.at for each in told if not each.passed]
    last = max(failed, default=None)
    # A clock that was set back leaves lines of the future: they show nothing yet.
    clean = [
        each
        for each in told
        if each.passed and each.rows and each.at <= now and (last is None or each.at > last)
    ]
    return Evidence(
        checks=sum(each.checks for each in clean),
        days=len({each.at.date() for each in clean}),
        nodes=tuple(sorted({each.node for each in clean})),
        since=min((each.at for each in clean), default=None),
        failures=len(failed),
        last_failure=last,
    )
