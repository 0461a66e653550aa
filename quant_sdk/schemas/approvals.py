"""Who approved which schema: a line for each approval, of exactly one fingerprint, with an end."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from quant_registry.clock import iso, parse_iso
from quant_registry.errors import InvalidInput
from quant_registry.ids import check_label
from quant_sdk.schemas.journal import append_line, read_lines
from quant_sdk.schemas.state import governance_dir

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from quant_registry.clock import Clock
    from quant_registry.workspace import Workspace
    from quant_sdk.schemas.schema import CanonicalSchema

APPROVAL: Final = "schema_approval/1"
LASTS: Final = timedelta(days=30)
"""How long an approval holds by default."""
LONGEST: Final = timedelta(days=365)
_TAG: Final = re.compile(r"\+[^@]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """One person's word for one schema.

    Attributes:
        name, version, fingerprint: of the schema.
        approver: who approved it, as they say.
        actor: who recorded it.
        approved_at: when (aware, UTC).
        expires_at: from when on it does not count any more.
    """

    name: str
    version: int
    fingerprint: str
    approver: str
    actor: str
    approved_at: datetime
    expires_at: datetime

    @property
    def person(self) -> str:
        """What tells approvers apart; see `person`."""
        return person(self.approver)

    def holds(self, schema: CanonicalSchema, now: datetime) -> bool:
        """Tell whether it counts for `schema` as it is at `now`."""
        return (self.name, self.version, self.fingerprint) == (
            schema.name,
            schema.version,
            schema.fingerprint,
        ) and self.approved_at <= now < self.expires_at

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, as in the file."""
        return {
            "schema": APPROVAL,
            "name": self.name,
            "version": self.version,
            "fingerprint": self.fingerprint,
            "approver": self.approver,
            "actor": self.actor,
            "approved_at": iso(self.approved_at),
            "expires_at": iso(self.expires_at),
        }

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Approval:
        """Return what `to_dict` wrote.

        Raises:
            KeyError, TypeError, ValueError: it is no approval.
        """
        if found["schema"] != APPROVAL:
            raise ValueError(f"{found['schema']!r} is not {APPROVAL}")
        return cls(
            name=str(found["name"]),
            version=int(found["version"]),
            fingerprint=str(found["fingerprint"]),
            approver=str(found["approver"]),
            actor=str(found["actor"]),
            approved_at=parse_iso(found["approved_at"]),
            expires_at=parse_iso(found["expires_at"]),
        )


def person(name: str) -> str:
    """Return what tells one person from another: letters and digits, without a ``+tag``."""
    untagged = _TAG.sub("", name)
    return "".join(sign for sign in untagged.casefold() if sign.isalnum())


def approvals_file(workspace: Workspace) -> Path:
    """The file of approvals, append only."""
    return governance_dir(workspace) / "approvals.jsonl"


def approve(  # noqa: PLR0913 - what an approval is of
    workspace: Workspace,
    schema: CanonicalSchema,
    *,
    approver: str,
    actor: str,
    clock: Clock,
    lasts: timedelta = LASTS,
) -> Approval:
    """Record that `approver` approves `schema` as it is; durable when it returns.

    Args:
        workspace: where it is kept.
        schema: exactly this fingerprint is approved.
        approver: who approves. Nobody verifies it: `actor` stands beside it.
        actor: who records it.
        clock: the time.
        lasts: how long it holds, at most a year.

    Raises:
        InvalidIdentifier: `approver` or `actor` is no label.
        InvalidInput: it would hold for no time, or for more than a year.
    """
    if not timedelta(0) < lasts <= LONGEST:
        raise InvalidInput(
            f"an approval cannot hold for {lasts}", fix="let it hold for up to 365 days"
        )
    now = clock.now()
    approval = Approval(
        name=schema.name,
        version=schema.version,
        fingerprint=schema.fingerprint,
        approver=check_label(approver, "approver"),
        actor=check_label(actor, "actor"),
        approved_at=now,
        expires_at=now + lasts,
    )
    append_line(approvals_file(workspace), approval.to_dict(), durable=True)
    return approval


def approvals(workspace: Workspace) -> tuple[Approval, ...]:
    """Return every approval that was recorded, in that order; torn and foreign lines are none."""
    found = []
    for line in read_lines(approvals_file(workspace)):
        try:
            found.append(Approval.from_dict(line))
        except (KeyError, TypeError, ValueError):
            continue
    return tuple(found)


def standing(workspace: Workspace, schema: CanonicalSchema, now: datetime) -> tuple[Approval, ...]:
    """Return the approvals that count for `schema` now, the last of each person, sorted."""
    last = {each.person: each for each in approvals(workspace) if each.holds(schema, now)}
    return tuple(last[person] for person in sorted(last))
