"""Durations as people write them: 45s, 30m, 2h, 1d."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click import Context, Parameter

_WRITTEN = re.compile(r"([1-9][0-9]{0,7})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def duration(_: Context, __: Parameter, value: str | None) -> timedelta | None:
    """Return the duration that an option's value names; an option's callback."""
    if value is None:
        return None
    try:
        return parse(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def parse(text: str) -> timedelta:
    """Return the duration that `text` names.

    Raises:
        ValueError: it names none.
    """
    match = _WRITTEN.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no duration; write 45s, 30m, 2h or 1d")
    return timedelta(seconds=int(match[1]) * _SECONDS[match[2]])
