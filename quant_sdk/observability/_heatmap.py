"""The picture of completeness: a row a series, a column a day or a few."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from quant_sdk.observability._markup import Markup, number, share, tag, text, together

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from quant_sdk.observability._grid import Cell, Grid, Row

WIDTH: Final = 1080
LABELS: Final = 190
PLOT: Final = WIDTH - LABELS - 8
_ROW: Final = 17
_BAR: Final = 13
_TOP: Final = 26
_LONGEST: Final = 26
_LEAST_LABEL: Final = 46  # pixels that a month's name needs
_WIDEST: Final = 44
_FEW_DAYS: Final = 45

LEVELS: Final = (
    ("complete", 1.0),
    ("99 % and more", 0.99),
    ("95 % and more", 0.95),
    ("75 % and more", 0.75),
    ("under 75 %", 0.0),
    ("none present", -1.0),
)
"""The steps of the scale, the best first, each with the least share that it stands for."""


def level_of(cell: Cell) -> int:
    """Return the step of the scale that a cell stands on."""
    if cell.missing == 0:
        return 0
    if cell.present <= 0:
        return len(LEVELS) - 1
    kept = cell.present / cell.expected
    return next(at for at, (_, least) in enumerate(LEVELS) if at and kept >= least)


def heatmap(grid: Grid) -> Markup:
    """Return the picture, with a tooltip a cell."""
    height = _TOP + len(grid.rows) * _ROW + 4
    totals = grid.by_column()
    title = (
        f"Completeness of {len(grid.rows)} rows from {grid.first} to {grid.last}: "
        f"{sum(cell.missing > 0 for cell in totals)} of {grid.columns} columns lack a bar"
    )
    return tag(
        "svg",
        tag("title", title),
        months(grid, _TOP - 8, height),
        *(_row(grid, row, _TOP + at * _ROW) for at, row in enumerate(grid.rows)),
        viewBox=f"0 0 {WIDTH} {height}",
        role="img",
        class_="wide",
    )


def months(grid: Grid, baseline: int, height: int) -> Markup:
    """Return the names of months, as many as there is room for, and faint lines."""
    parts = []
    for day, label in _marks(grid):
        at = round(LABELS + (day - grid.first).days * width_of(grid) / grid.days, 1)
        parts.append(tag("line", x1=at, x2=at, y1=baseline + 4, y2=height, class_="grid"))
        parts.append(tag("text", label, x=at + 2, y=baseline, class_="axis"))
    return together(parts)


def width_of(grid: Grid) -> float:
    """Return the width of a column."""
    return min(PLOT / grid.columns, _WIDEST)


def _marks(grid: Grid) -> list[tuple[date, str]]:
    if (grid.last - grid.first).days < _FEW_DAYS:
        return [(grid.first, f"{grid.first.day} {grid.first:%b %Y}")]
    starts = list(_month_starts(grid.first, grid.last))
    step = max(-(-len(starts) * _LEAST_LABEL // PLOT), 1)
    shown = [day for day in starts if (day.year * 12 + day.month - 1) % step == 0]
    return [
        (day, f"{day:%b %Y}" if day.month == 1 or day == shown[0] else f"{day:%b}") for day in shown
    ]


def _month_starts(first: date, last: date) -> Iterator[date]:
    day = first.replace(day=1)
    while day <= last:
        if day >= first:
            yield day
        day = day.replace(year=day.year + day.month // 12, month=day.month % 12 + 1)


def _row(grid: Grid, row: Row, top: int) -> Markup:
    short = row.name if len(row.name) <= _LONGEST else f"{row.name[: _LONGEST - 1]}…"
    label = tag(
        "text",
        tag("title", row.name),
        text(short),
        x=LABELS - 8,
        y=top + _BAR - 3,
        class_="label",
    )
    return tag("g", label, *_cells(grid, row, top))


def _cells(grid: Grid, row: Row, top: int) -> Iterator[Markup]:
    """Draw neighbours of one level that no flag marks as one."""
    width = width_of(grid)
    for first, last, cell in _runs(row):
        left = LABELS + first * width
        across = (last - first + 1) * width
        begin, end = grid.span(first)[0], grid.span(last)[1]
        when = f"{begin}" if begin == end else f"{begin} to {end}"
        flags = f", {number(cell.flags)} flags" if cell.flags else ""
        told = (
            f"{row.name}, {when}: {number(cell.present)} of {number(cell.expected)} bars, "
            f"{share(cell.expected - cell.missing, cell.expected)}{flags}"
        )
        yield tag(
            "rect",
            tag("title", told),
            x=round(left, 1),
            y=top,
            width=round(max(across - (0.6 if width > 3 else 0), 0.8), 1),  # noqa: PLR2004 - pixels
            height=_BAR,
            class_=f"l{level_of(cell)}",
        )
        if cell.flags:
            middle = round(left + across / 2, 1)
            yield tag("circle", cx=middle, cy=top + _BAR / 2, r=2, class_="mark")


def _runs(row: Row) -> Iterator[tuple[int, int, Cell]]:
    from quant_sdk.observability._grid import Cell

    run: tuple[int, int, Cell] | None = None
    for column in sorted(row.cells):
        cell = row.cells[column]
        if not cell.expected and not cell.present and not cell.flags:
            continue
        joins = (
            run is not None
            and run[1] == column - 1
            and level_of(run[2]) == level_of(cell) == 0
            and not run[2].flags
            and not cell.flags
        )
        if run is not None and joins:
            run[2].add(cell)
            run = (run[0], column, run[2])
            continue
        if run is not None:
            yield run
        run = (column, column, Cell(cell.expected, cell.present, cell.flags))
    if run is not None:
        yield run
