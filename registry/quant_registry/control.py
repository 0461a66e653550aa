"""Directives: what people and agents want of runs, and which one is in force.

Pause and resume are levels: they hold for later runs too. Cancel is an edge: it touches only runs
that started before it was issued. The most specific scope wins, then the latest. A throttle is a
level that is weighed apart from them: it neither shadows a pause nor is shadowed by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, cast

import orjson

from .clock import iso, parse_iso
from .errors import InvalidControl, InvalidInput
from .ids import stage_of_run_id, time_of_run_id

if TYPE_CHECKING:
    from collections.abc import Iterable

SCHEMA = "control/1"
ANY = "*"
Action = Literal["pause", "resume", "cancel", "throttle"]
_ACTIONS = ("pause", "resume", "cancel", "throttle")
_MAX_DIRECTIVES = 10_000
RATE = "max_requests_per_second"
# Slower than this is a pause, and waits of centuries overflow a clock.
SLOWEST, FASTEST = 0.001, 1_000_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Directive:
    """One wish: `action` for the runs in `scope` (``*``, a stage id or a run id).

    `max_requests_per_second` is a throttle's own; None lifts one.
    """

    scope: str
    action: Action
    issued_at: datetime
    expires_at: datetime | None = None
    reason: str = ""
    actor: str = ""
    max_requests_per_second: float | None = None

    @property
    def holds(self) -> bool:
        """Whether it is a level that holds runs back: a pause, or a throttle with a rate."""
        return self.action == "pause" or (
            self.action == "throttle" and self.max_requests_per_second is not None
        )

    @property
    def lifts(self) -> bool:
        """Whether it is the exception to a wider level: a resume, or a throttle without a rate."""
        return self.action == "resume" or (
            self.action == "throttle" and self.max_requests_per_second is None
        )

    def is_weighed_with(self, other: Directive) -> bool:
        """Tell whether one of the two can win over the other: throttles only over throttles."""
        return (self.action == "throttle") == (other.action == "throttle")

    def is_expired(self, now: datetime) -> bool:
        """Tell whether it is void at `now`."""
        return self.expires_at is not None and self.expires_at <= now

    def to_dict(self) -> dict[str, Any]:
        """Return the form the control file carries."""
        document: dict[str, Any] = {
            "scope": self.scope,
            "action": self.action,
            "reason": self.reason,
            "actor": self.actor,
            "issued_at": iso(self.issued_at),
            "expires_at": iso(self.expires_at) if self.expires_at else None,
        }
        if self.action == "throttle":
            document[RATE] = self.max_requests_per_second
        return document


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

    def since(self, scope: str) -> datetime:
        """Return from when on a cancel of `scope` is meant for this run.

        One that was issued for its parent just before this run began is meant for it too.
        """
        own = scope in {self.run_id, self.stage_id}
        parent = None if own else time_of_run_id(self.parent_run_id or "")
        return self.started_at if parent is None else min(parent, self.started_at)


def in_force(directives: Iterable[Directive], target: Target, now: datetime) -> Directive | None:
    """Return the pause or cancel that `target` must obey, or None."""
    return _winner(
        (
            directive
            for directive in directives
            if directive.action != "throttle"
            and (
                directive.action != "cancel" or directive.issued_at > target.since(directive.scope)
            )
        ),
        target,
        now,
    )


def throttle_in_force(
    directives: Iterable[Directive], target: Target, now: datetime
) -> Directive | None:
    """Return the throttle that `target` must keep to, or None."""
    return _winner((item for item in directives if item.action == "throttle"), target, now)


def _winner(directives: Iterable[Directive], target: Target, now: datetime) -> Directive | None:
    """Return the most specific, then the latest; None for none, or for one that lifts."""
    heard = [
        item for item in directives if target.specificity(item.scope) and not item.is_expired(now)
    ]
    if not heard:
        return None
    # max() keeps the first of equals; of two issued at once the one further down is the later.
    heard.reverse()
    winner = max(heard, key=lambda item: (target.specificity(item.scope), item.issued_at))
    return None if winner.lifts else winner


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
        max_requests_per_second=_rate(entry, place) if action == "throttle" else None,
    )


def check_rate(value: Any) -> float:
    """Return a throttle's rate in requests a second.

    Raises:
        InvalidInput: no number, or none from 0.001 to 1,000,000; 0 would be a pause.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not SLOWEST <= value <= FASTEST:
        raise InvalidInput(
            f"{RATE} is {str(value)[:40]!r}",
            fix=f"write a number from {SLOWEST} to {FASTEST:.0f}, or null to lift the throttle; "
            "to stop requests altogether use pause",
        )
    return float(value)


def _rate(entry: dict[str, Any], place: str) -> float | None:
    # A forgotten rate must not lift a throttle.
    value = entry.get(RATE, "missing")
    if value is None:
        return None
    try:
        return check_rate(value)
    except InvalidInput as error:
        raise InvalidControl(f"{place}: {error.message}", fix=error.fix) from error


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
    With a throttle the same happens among the throttles, one without a rate being their resume.
    """
    kept = [
        item
        for item in directives
        if not item.is_expired(now) and not (item.scope == new.scope and item.is_weighed_with(new))
    ]
    if not new.lifts:
        kept = [
            item
            for item in kept
            if not (item.lifts and item.is_weighed_with(new) and _is_wider(new.scope, item.scope))
        ]
    kept.append(new)
    return tuple(
        item
        for item in kept
        if not item.lifts
        or any(
            other.holds and other.is_weighed_with(item) and _is_wider(other.scope, item.scope)
            for other in kept
        )
    )


def _is_wider(scope: str, than: str) -> bool:
    return than != ANY and scope in {ANY, stage_of_run_id(than)}


def mtime_of(nanoseconds: int) -> datetime:
    """Return a file's ``st_mtime_ns`` as an aware UTC datetime."""
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC)
