"""Directives: what people and agents want of runs, and which one is in force.

Pause and resume are levels: they hold for later runs too. Cancel is an edge: it touches only runs
that started before it was issued. The most specific scope wins, then the latest.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, cast

import orjson

from .clock import iso, parse_iso
from .errors import InvalidControl
from .ids import stage_of_run_id

if TYPE_CHECKING:
    from collections.abc import Iterable

SCHEMA = "control/1"
ANY = "*"
Action = Literal["pause", "resume", "cancel"]
_ACTIONS = ("pause", "resume", "cancel")
_MAX_DIRECTIVES = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Directive:
    """One wish: `action` for the runs in `scope` (``*``, a stage id or a run id)."""

    scope: str
    action: Action
    issued_at: datetime
    expires_at: datetime | None = None
    reason: str = ""
    actor: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the form the control file carries."""
        return {
            "scope": self.scope,
            "action": self.action,
            "reason": self.reason,
            "actor": self.actor,
            "issued_at": iso(self.issued_at),
            "expires_at": iso(self.expires_at) if self.expires_at else None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The run that directives are weighed for; a child also hears those for its parent."""

    run_id: str
    stage_id: str
    started_at: datetime
    parent_run_id: str | None = None

    def specificity(self, scope: str) -> int:
        """Return 5 for this run, 4 its parent, 3 its stage, 2 its parent's, 1 any run, else 0."""
        ranks = {
            ANY: 1,
            stage_of_run_id(self.parent_run_id or ""): 2,
            self.stage_id: 3,
            self.parent_run_id: 4,
            self.run_id: 5,
        }
        return ranks.get(scope, 0)


def in_force(directives: Iterable[Directive], target: Target, now: datetime) -> Directive | None:
    """Return the pause or cancel that `target` must obey, or None."""
    heard = [
        directive
        for directive in directives
        if target.specificity(directive.scope)
        and (directive.expires_at is None or directive.expires_at > now)
        and (directive.action != "cancel" or directive.issued_at > target.started_at)
    ]
    if not heard:
        return None
    # max() keeps the first of equals; of two issued at once the one further down is the later.
    heard.reverse()
    winner = max(heard, key=lambda item: (target.specificity(item.scope), item.issued_at))
    return None if winner.action == "resume" else winner


def parse_control(content: bytes, written_at: datetime) -> tuple[Directive, ...]:
    """Return the directives in a control file, in its short or its full form.

    Args:
        content: the file's bytes.
        written_at: the file's mtime; it stands in for a missing `issued_at`.

    Raises:
        InvalidControl: not JSON, or not of either form; the message names the place.
    """
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise InvalidControl(f"the control file is not JSON: {error}", fix=_FIX) from error
    if not isinstance(document, dict):
        raise InvalidControl("the control file does not hold a JSON object", fix=_FIX)
    if "action" not in document and "directives" not in document:
        raise InvalidControl("the control file names no `action` and no `directives`", fix=_FIX)
    listed = document.get("directives", [])
    if not isinstance(listed, list) or len(listed) > _MAX_DIRECTIVES:
        raise InvalidControl("`directives` is not a list of at most 10,000", fix=_FIX)
    entries = [*listed, *([document] if "action" in document else [])]
    return tuple(_directive(entry, index, written_at) for index, entry in enumerate(entries))


def dump_control(directives: Iterable[Directive]) -> bytes:
    """Return the full form as a person would like to find it in an editor."""
    document = {"schema": SCHEMA, "directives": [item.to_dict() for item in directives]}
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


_FIX = 'write {"action": "pause"} or {"directives": [{"scope": "*", "action": "pause"}]}'


def _directive(entry: Any, index: int, written_at: datetime) -> Directive:
    place = f"directive {index}"
    if not isinstance(entry, dict):
        raise InvalidControl(f"{place} is not an object", fix=_FIX)
    action = entry.get("action")
    if action not in _ACTIONS:
        raise InvalidControl(
            f"{place}: the action is {str(action)[:40]!r}", fix=f"use one of {', '.join(_ACTIONS)}"
        )
    scope = entry.get("scope", ANY)
    if not isinstance(scope, str) or not scope:
        raise InvalidControl(f"{place}: the scope is no text", fix="use *, a stage id or a run id")
    return Directive(
        scope=scope,
        action=cast("Action", action),
        issued_at=_moment(entry, "issued_at", place) or written_at,
        expires_at=_moment(entry, "expires_at", place),
        reason=str(entry.get("reason") or "")[:500],
        actor=str(entry.get("actor") or "")[:128],
    )


def _moment(entry: dict[str, Any], key: str, place: str) -> datetime | None:
    text = entry.get(key)
    if text is None:
        return None
    try:
        return parse_iso(text)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidControl(
            f"{place}: {key} is {str(text)[:40]!r}",
            fix="write a time with its offset: 2026-02-03T10:00:00Z",
        ) from error


def supersede(
    directives: Iterable[Directive], new: Directive, now: datetime
) -> tuple[Directive, ...]:
    """Return the directives after `new` was issued.

    Expired ones and those of the same scope go, and with a pause or a cancel the resumes of
    narrower scopes, which were exceptions to an earlier one. A resume is kept only as long as a
    wider pause would hold its scope otherwise, so that it does not shadow the pauses of next week.
    """
    kept = [
        item
        for item in directives
        if item.scope != new.scope and (item.expires_at is None or item.expires_at > now)
    ]
    if new.action != "resume":
        kept = [
            item for item in kept if item.action != "resume" or not _is_wider(new.scope, item.scope)
        ]
    pauses = [item.scope for item in (*kept, new) if item.action == "pause"]
    return tuple(
        item
        for item in (*kept, new)
        if item.action != "resume" or any(_is_wider(scope, item.scope) for scope in pauses)
    )


def _is_wider(scope: str, than: str) -> bool:
    return than != ANY and scope in {ANY, stage_of_run_id(than)}


def mtime_of(nanoseconds: int) -> datetime:
    """Return a file's ``st_mtime_ns`` as an aware UTC datetime."""
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC)
