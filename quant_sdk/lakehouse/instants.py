"""Instants, as somebody writes them."""

from __future__ import annotations

from datetime import UTC, date, datetime

from quant_registry.errors import InvalidInput


def optional_instant(value: datetime | str | None, name: str) -> datetime | None:
    """Return None for None, anything else as `instant`."""
    return None if value is None else instant(value, name)


def instant(value: datetime | str, name: str) -> datetime:
    """Return an aware datetime or ISO text in UTC; a text without offset is read as UTC.

    Raises:
        InvalidInput: it is naive, or no time; `name` says which.
    """
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        if not isinstance(moment, datetime):
            moment = datetime.combine(date.fromisoformat(str(value)), datetime.min.time())
    except ValueError as error:
        raise InvalidInput(
            f"{name} is {value!r}", fix="write a time as 2024-01-31 or 2024-01-31T10:00:00Z"
        ) from error
    if moment.tzinfo is None:
        if not isinstance(value, str):
            raise InvalidInput(
                f"{name} is naive", fix="give it a zone: datetime(..., tzinfo=timezone.utc)"
            )
        moment = moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise InvalidInput(f"{name} is {value!r}", fix="write a time of this era") from error
