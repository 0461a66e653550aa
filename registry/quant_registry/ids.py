"""Identifiers: made here, and checked here before one comes near a path."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime

from .errors import InvalidIdentifier

_STAGE = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+-]*")
_MAX = 128
_TIME = "%Y%m%dT%H%M%S.%fZ"


def check_stage_id(text: str) -> str:
    """Return `text` if it is dotted lower-case words, as in ``ops.migration.dataops_v2``."""
    return _check(text, _STAGE, "stage id", "use dotted lower-case words: team.area.stage")


def check_run_id(text: str) -> str:
    """Return `text` if it can name a folder: letters, digits and ``. _ : @ + -``."""
    return _check(text, _PLAIN, "run id", "list the runs with: quant run list")


def check_label(text: str, noun: str) -> str:
    """Return `text` if it may stand as a lock id, an actor or a key."""
    return _check(text, _PLAIN, noun, "use letters, digits and . _ : @ + - (at most 128)")


def _check(text: str, pattern: re.Pattern[str], noun: str, fix: str) -> str:
    if len(text) > _MAX or not pattern.fullmatch(text) or ".." in text:
        raise InvalidIdentifier(f"{text[:64]!r} is not a valid {noun}", fix=fix)
    return text


def new_run_id(stage_id: str, now: datetime) -> str:
    """Return an id that sorts by time: ``20260203T100000.000000Z-ops.migration.dataops_v2-1f9c2a``.

    Microseconds, because "the newest run" decides what is continued.
    """
    return f"{now.strftime(_TIME)}-{stage_id}-{secrets.token_hex(3)}"


def stage_of_run_id(run_id: str) -> str:
    """Return the stage part of an id made by `new_run_id`, or an empty string."""
    _, _, rest = run_id.partition("-")
    return rest.rpartition("-")[0]


def time_of_run_id(run_id: str) -> datetime | None:
    """Return when an id was made by `new_run_id`, aware, in UTC; None for another one."""
    try:
        return datetime.strptime(run_id.partition("-")[0], _TIME).replace(tzinfo=UTC)
    except ValueError:
        return None


def new_lock_id(actor: str) -> str:
    """Return a lock id for a caller that brought none."""
    return f"{actor}-{secrets.token_hex(6)}"
