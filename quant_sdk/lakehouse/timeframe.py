"""Bar lengths (``1m``, ``5m``, ``1h``, ``1d``, ``1w``, ``1M``) and the grid they open on.

The grid's origin is 1970-01-01T00:00Z. Weeks open on Monday (the first one is 1969-12-29),
months on day 1 at midnight. Instants are integers: microseconds since the epoch, UTC. A slot is
the number of a bar on its grid; slot ``n`` covers the half-open ``[open_of(n), open_of(n + 1))``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from quant_registry.errors import InvalidInput

_PATTERN: Final = re.compile(r"([1-9][0-9]{0,5})([smhdwM])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_FIRST_MONDAY: Final = -3 * 86_400 * 1_000_000
_LONGEST_SECONDS: Final = 3_660 * 86_400
_LONGEST_MONTHS: Final = 120
_SHOWN: Final = 40


@dataclass(frozen=True, slots=True)
class Timeframe:
    """The length of a bar, made by `parse`: a count and one of ``s m h d w M``."""

    count: int
    unit: str

    @classmethod
    def parse(cls, text: str) -> Timeframe:
        """Return the timeframe written as a whole number and a unit, at most ten years long.

        Raises:
            InvalidInput: the text is not of that form, or the bar is too long.
        """
        match = _PATTERN.fullmatch(text)
        if match is None:
            raise InvalidInput(
                f"{_shown(text)} is not a timeframe",
                fix="write a number and one of s m h d w M, as in 1m, 5m, 1h, 1d, 1w, 1M",
                timeframe=text[:_SHOWN],
            )
        count, unit = int(match[1]), match[2]
        longest = _LONGEST_MONTHS if unit == "M" else _LONGEST_SECONDS // _SECONDS[unit]
        if count > longest:
            raise InvalidInput(
                f"a bar of {text} is longer than ten years",
                fix=f"use at most {longest}{unit}",
                timeframe=text,
            )
        return cls(count, unit)

    def __str__(self) -> str:
        return self.text

    @property
    def text(self) -> str:
        """The written form, as in the column ``timeframe``."""
        return f"{self.count}{self.unit}"

    @property
    def micros(self) -> int | None:
        """The length in microseconds; None for months, whose length varies."""
        return None if self.unit == "M" else self.count * _SECONDS[self.unit] * 1_000_000

    @property
    def origin(self) -> int:
        """The opening of slot 0, in microseconds since the epoch."""
        return _FIRST_MONDAY if self.unit == "w" else 0

    @property
    def is_daily(self) -> bool:
        """Whether bars last days or longer: they are stored by year, others by month."""
        return self.unit in "dwM"

    def slot_of(self, at: int) -> int:
        """Return the slot that holds the instant ``at`` (microseconds since the epoch)."""
        if self.micros is not None:
            return (at - self.origin) // self.micros
        day = _EPOCH + timedelta(microseconds=at)
        return ((day.year - 1970) * 12 + day.month - 1) // self.count

    def open_of(self, slot: int) -> int:
        """Return the instant at which ``slot`` opens, in microseconds since the epoch."""
        if self.micros is not None:
            return self.origin + slot * self.micros
        years, month = divmod(slot * self.count, 12)
        opening = datetime(1970 + years, month + 1, 1, tzinfo=UTC)
        return (opening - _EPOCH) // _MICROSECOND

    def floor(self, at: int) -> int:
        """Return the opening of the bar that holds the instant ``at``."""
        return self.open_of(self.slot_of(at))

    def end_of(self, opening: datetime) -> datetime:
        """Return where the bar that opens at ``opening`` (aware) ends, exclusive."""
        return from_micros(self.open_of(self.slot_of(to_micros(opening)) + 1))

    def bars_between(self, start: datetime, end: datetime) -> int:
        """Return how many bars the half-open ``[start, end)`` of two openings holds."""
        return self.slot_of(to_micros(end)) - self.slot_of(to_micros(start))

    def on_grid(self, at: int) -> bool:
        """Tell whether a bar opens exactly at ``at``."""
        return self.floor(at) == at

    def grid(self, start: int, end: int) -> list[int]:
        """Return every opening within the half-open ``[start, end)``, in order."""
        if end <= start:
            return []
        first = self.slot_of(start - 1) + 1
        return [self.open_of(slot) for slot in range(first, self.slot_of(end - 1) + 1)]


def to_micros(moment: datetime) -> int:
    """Return an aware datetime as microseconds since the epoch."""
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(at: int) -> datetime:
    """Return microseconds since the epoch as a datetime in UTC."""
    return _EPOCH + timedelta(microseconds=at)


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
