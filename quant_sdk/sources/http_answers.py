"""What an HTTP answer other than 200 means: be patient, try again, or do not (RFC 9110)."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

BUSY: Final = frozenset({418, 429})
"""Too many requests; 418 is what some venues say before they ban an address."""
DENIED: Final = frozenset({401, 403, 407})
_REFUSED_FOR_NOW: Final = frozenset({408, 425})
_SERVER_ERROR: Final = 500
_LONGEST_PATIENCE: Final = 86_400.0


def may_pass(status: int) -> bool:
    """Tell whether the same request may be answered another time."""
    return status >= _SERVER_ERROR or status in _REFUSED_FOR_NOW


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Return the seconds of ``Retry-After``, a day at most; None where it is missing or neither.

    Args:
        headers: of the answer.
        now: aware; a date counts from the ``Date`` of the same answer, so that no clock here must
            be right, and from `now` where there is none.
    """
    value = (headers.get("Retry-After") or "").strip()
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - _sent(headers, now)).total_seconds()
        except (ValueError, TypeError, OverflowError):  # no date, or one without a zone
            return None
    return min(max(seconds, 0.0), _LONGEST_PATIENCE) if abs(seconds) < float("inf") else None


def _sent(headers: Mapping[str, str], now: datetime | None) -> datetime:
    sent = headers.get("Date")
    if sent is None and now is not None:
        return now
    return parsedate_to_datetime(sent or "")
