"""Bars over time: flags by day of the data, and from report to report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from quant_sdk.observability._heatmap import LABELS, WIDTH, months, width_of
from quant_sdk.observability._markup import Markup, number, tag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quant_sdk.observability._grid import Grid
    from quant_sdk.observability.saved import SavedReport

_HEIGHT: Final = 96
_TOP: Final = 10
_MONTHS: Final = 22
_SMALL: Final = 520
_WIDEST: Final = 26


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One bar of a chart: its height, the class that colours it, and its tooltip."""

    value: int
    kind: str
    told: str


def flags_by_day(grid: Grid) -> Markup:
    """Return flags by day of the data, a column as wide as in the heat map above it."""
    columns = []
    for at, cell in enumerate(grid.by_column()):
        begin, end = grid.span(at)
        when = f"{begin}" if begin == end else f"{begin} to {end}"
        told = f"{when}: {number(cell.flags)} flags"
        columns.append(Column(value=cell.flags, kind="flag", told=told))
    title = f"Flags by day, {grid.first} to {grid.last}: {number(_sum(columns))} in all"
    height, step = _MONTHS + _HEIGHT + 4, width_of(grid)
    return tag(
        "svg",
        tag("title", title),
        months(grid, _MONTHS - 8, height),
        *_bars(columns, left=LABELS, width=step * grid.columns, top=_MONTHS, step=step),
        viewBox=f"0 0 {WIDTH} {height}",
        role="img",
        class_="wide",
    )


def from_report_to_report(history: Sequence[SavedReport]) -> tuple[Markup, Markup]:
    """Return two small pictures over a node's last reports: their flags, and their missing bars."""
    flags, missing = [], []
    for saved in history:
        report = saved.report
        when = saved.saved_at[:19].replace("T", " ")
        refused = ", refused" if saved.refused else ""
        kind = report.verdict if report.flags else "pass"
        told = f"{when}: {number(report.flags)} flags, verdict {report.verdict}{refused}"
        flags.append(Column(value=report.flags, kind=kind, told=told))
        lacking = unexplained(saved)
        told = f"{when}: {number(lacking)} missing bars"
        missing.append(Column(value=lacking, kind="lack", told=told))
    ends = (history[0].saved_at[:10], history[-1].saved_at[:10])
    return _small("Flags", flags, ends), _small("Missing bars", missing, ends)


def unexplained(saved: SavedReport) -> int:
    """Return how many bars a report's series lack, without those of which a source says so."""
    return sum(each.missing - each.verified_empty for each in saved.report.series)


def _small(title: str, columns: Sequence[Column], ends: tuple[str, str]) -> Markup:
    summary = f"{title} in the last {len(columns)} reports, {ends[0]} to {ends[1]}"
    below = _TOP + _HEIGHT + 15
    step = min((_SMALL - 72) / len(columns), _WIDEST)
    newest = max(round(len(columns) * step), 150) + 64
    return tag(
        "svg",
        tag("title", summary),
        *_bars(columns, left=64, width=_SMALL - 72, top=_TOP, step=step),
        tag("text", ends[0], x=64, y=below, class_="axis"),
        tag("text", ends[1], x=newest, y=below, class_="label"),
        viewBox=f"0 0 {_SMALL} {below + 5}",
        role="img",
        class_="small",
    )


def _bars(
    columns: Sequence[Column], *, left: int, width: float, top: int, step: float
) -> list[Markup]:
    """Draw columns from the left, on a scale from 0 to the highest of them."""
    most = max((column.value for column in columns), default=0)
    base = top + _HEIGHT
    right = left + width
    parts = [
        tag("line", x1=left, x2=right, y1=base, y2=base, class_="base"),
        tag("text", "0", x=left - 8, y=base, class_="label"),
    ]
    if most:
        parts.append(tag("line", x1=left, x2=right, y1=top, y2=top, class_="grid"))
        parts.append(tag("text", number(most), x=left - 8, y=top + 9, class_="label"))
    for at, column in enumerate(columns):
        # What is not zero is seen, however small it is beside the highest.
        high = max(column.value / most * _HEIGHT, 2.5) if column.value else 0
        place = {"x": round(left + at * step, 1), "width": round(max(step - 1.2, 0.8), 1)}
        if high:
            drawn = tag(
                "rect", y=round(base - high, 1), height=round(high, 1), class_=column.kind, **place
            )
        else:
            drawn = tag("rect", y=base - 1, height=2, class_="zero", **place)
        area = tag("rect", y=top, height=_HEIGHT, class_="hover", **place)
        parts.append(tag("g", tag("title", column.told), area, drawn))
    return parts


def _sum(columns: Sequence[Column]) -> int:
    return sum(column.value for column in columns)
