"""Completeness by series and day, brought to a size that can be looked at.

A report tells of single days, or of several days in one where there are many. They are put
together in columns of equal length. Beyond a number of series the worst keep a row of their own,
and all the others share one.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MOST_ROWS: Final = 40
MOST_COLUMNS: Final = 122


@dataclass(slots=True)
class Cell:
    """What is expected, present and flagged in one cell, in bars."""

    expected: int = 0
    present: int = 0
    flags: int = 0

    def add(self, other: Cell) -> None:
        """Count the bars of another cell too."""
        self.expected += other.expected
        self.present += other.present
        self.flags += other.flags

    @property
    def missing(self) -> int:
        """How many expected bars are not there."""
        return max(self.expected - self.present, 0)


@dataclass(slots=True)
class Row:
    """One series, or all those that have no row of their own; cells by column."""

    name: str
    cells: dict[int, Cell] = field(default_factory=lambda: defaultdict(Cell))

    @property
    def sum(self) -> Cell:
        """The whole row in one cell."""
        total = Cell()
        for cell in self.cells.values():
            total.add(cell)
        return total


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Rows in the order of their names, and how many days a column holds from `first` on.

    ``together`` is how many series the last row stands for; 0 where each has its own.
    """

    rows: tuple[Row, ...]
    first: date
    last: date
    days: int
    together: int

    @property
    def columns(self) -> int:
        """How many columns there are."""
        return (self.last - self.first).days // self.days + 1

    def span(self, column: int) -> tuple[date, date]:
        """Return the first and the last day of a column, both inclusive."""
        begin = self.first + timedelta(days=column * self.days)
        return begin, min(begin + timedelta(days=self.days - 1), self.last)

    def by_column(self) -> list[Cell]:
        """Return all rows in one, a cell a column."""
        totals = [Cell() for _ in range(self.columns)]
        for row in self.rows:
            for column, cell in row.cells.items():
                totals[column].add(cell)
        return totals


def make_grid(daily: Iterable[Mapping[str, Any]]) -> Grid | None:
    """Lay out a report's ``daily``; None where there is nothing to lay out."""
    entries = list(daily)
    if not entries:
        return None
    days = [date.fromisoformat(entry["day"][:10]) for entry in entries]
    step = max(int(entry.get("days", 1)) for entry in entries)
    first, last = min(days), max(days) + timedelta(days=step - 1)
    length = step * -(-((last - first).days + 1) // (step * MOST_COLUMNS))
    many = len({entry["timeframe"] for entry in entries}) > 1
    rows: dict[str, Row] = {}
    for entry, day in zip(entries, days, strict=True):
        name = f"{entry['symbol']} {entry['timeframe']}" if many else str(entry["symbol"])
        cell = Cell(int(entry["expected"]), int(entry["present"]), int(entry["flags"]))
        row = rows.setdefault(name, Row(name))
        row.cells[(day - first).days // length].add(cell)
    kept, others = _worst(list(rows.values()))
    return Grid(rows=(*kept, *others[1]), first=first, last=last, days=length, together=others[0])


def _worst(rows: list[Row]) -> tuple[list[Row], tuple[int, list[Row]]]:
    """Part the rows that are shown from the one that stands for the others."""
    if len(rows) <= MOST_ROWS:
        return sorted(rows, key=lambda row: row.name), (0, [])
    sums = {row.name: row.sum for row in rows}
    ranked = sorted(
        rows, key=lambda row: (-sums[row.name].missing - sums[row.name].flags, row.name)
    )
    kept, rest = ranked[: MOST_ROWS - 1], ranked[MOST_ROWS - 1 :]
    together = Row(f"{len(rest)} others")
    for row in rest:
        for column, cell in row.cells.items():
            together.cells[column].add(cell)
    return sorted(kept, key=lambda row: row.name), (len(rest), [together])
