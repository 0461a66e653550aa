"""The tables of the page; each is bounded, and says what it leaves out."""

from __future__ import annotations

from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from quant_sdk.conformance.report import FLAGS
from quant_sdk.observability._markup import Markup, number, share, tag, text, together
from quant_sdk.observability.regression import MEASURES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from quant_sdk.conformance.report import ConformanceReport, RuleCount, SeriesRollup
    from quant_sdk.observability._grid import Grid
    from quant_sdk.observability.regression import Regression

MOST_SERIES: Final = 100
MOST_GAPS: Final = 20
MOST_SAMPLES: Final = 20
MOST_FIELDS: Final = 16
MOST_CHANGES: Final = 50
_LANE: Final = 190
_SHORT: Final = 32

_RARE: Final = {
    "verified_empty": "Verified empty",
    "outside": "Outside",
    "misaligned": "Off grid",
    "out_of_order": "Out of order",
    "identical_duplicates": "Identical duplicates",
    "conflicting_duplicates": "Conflicting duplicates",
    "behind": "Behind",
}


def table(
    caption: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    name: str = "",
    quiet: Callable[[int], bool] | None = None,
) -> Markup:
    """Return a table in a region that scrolls.

    Args:
        caption: what it shows.
        heads: a name a column.
        rows: a cell a column: a number, text, markup, or a pair of a class and one of these.
        name: what a screen reader calls it; default the caption.
        quiet: tells of a row's number whether it stands back.
    """
    lines = [list(row) for row in rows]
    right = [bool(lines) and all(_is_number(row[at]) for row in lines) for at in range(len(heads))]
    named = zip(heads, right, strict=True)
    head = tag(
        "tr", *(tag("th", each, scope="col", class_="n" if at else None) for each, at in named)
    )
    body = [
        tag(
            "tr",
            _cell("th", first, scope="row"),
            *(_cell("td", each) for each in rest),
            class_="quiet" if quiet is not None and quiet(at) else None,
        )
        for at, (first, *rest) in enumerate(lines)
    ]
    made = tag("table", tag("caption", caption), tag("thead", head), tag("tbody", *body))
    label = name or caption
    return tag("div", made, class_="scroll", role="region", aria_label=label, tabindex="0")


def _is_number(content: object) -> bool:
    if isinstance(content, tuple):
        return bool(content[0] == "n")
    return isinstance(content, int | float) and not isinstance(content, bool)


def _cell(kind: str, content: object, **attributes: str) -> Markup:
    if isinstance(content, tuple):
        class_, content = content
        return tag(kind, content, class_=class_, **attributes)
    if isinstance(content, int | float) and _is_number(content):
        return tag(kind, number(content), class_="n", **attributes)
    return tag(kind, content, **attributes)


def chip(word: str) -> Markup:
    """Return a word in its colour, with a sign for those who do not tell colours."""
    signs = {"pass": "✓", "better": "✓", "warn": "!", "block": "✕", "worse": "✕", "mixed": "!"}
    sign = signs.get(word)
    return tag("span", f"{sign} {word}" if sign else word, class_=f"chip {word}")


def moment(value: str | None) -> Markup:
    """Return an instant as ``2024-01-31 10:00`` in UTC; what is none stays as it is."""
    if value is None:
        return text("-")
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return text(value)
    plain = f"{at:%Y-%m-%d %H:%M}" + (f"{at:%S}".join((":", "")) if at.second else "")
    return tag("time", plain, datetime=value)


def rules_table(report: ConformanceReport) -> Markup:
    """Return every rule that was asked, the gravest first, and under them rows that broke them."""
    order = {"block": 0, "warn": 1, "note": 2}
    ranked = sorted(
        report.rules, key=lambda each: (not each.count, order.get(each.severity, 3), -each.count)
    )
    rows = [(each.rule, chip(each.severity), each.count) for each in ranked]
    made = table(
        "Counts are exact. Notes are no flags.",
        ("Rule", "Severity", "Count"),
        rows,
        name="Rules",
        quiet=lambda at: not ranked[at].count,
    )
    return together((made, *(_samples(each) for each in ranked if each.sample)))


def _samples(each: RuleCount) -> Markup:
    shown = each.sample[:MOST_SAMPLES]
    names = list(dict.fromkeys(key for row in shown for key in row))[:MOST_FIELDS]
    rows = [[_value(row.get(name)) for name in names] for row in shown]
    caption = f"{number(len(shown))} of {number(each.count)}"
    made = table(caption, names, rows, name=f"Rows that broke {each.rule}")
    summary = tag("summary", "where: ", tag("code", each.rule))
    return tag("details", summary, made)


def _value(value: Any) -> object:
    if isinstance(value, float):
        return ("n", f"{value:.10g}")
    if isinstance(value, int):
        return value
    return ("t", text(value)) if len(str(value)) <= _SHORT else text(value)


def schema_table(report: ConformanceReport) -> Markup:
    """Return how the frame departs from its schema; a sentence where it does not."""
    if not report.schema_findings:
        return tag("p", f"Columns, types and keys are as {report.schema_id} says.")
    rows = [
        (each.column or "-", chip(each.severity), each.code, each.count, each.detail)
        for each in report.schema_findings
    ]
    heads = ("Column", "Severity", "Finding", "Rows", "Detail")
    return table(f"Against {report.schema_id}.", heads, rows)


def changes_table(regression: Regression) -> Markup:
    """Return what is not as it was, what makes it worse first."""
    shown = regression.changes[:MOST_CHANGES]
    if not shown:
        return tag("p", "Nothing has changed.")
    rows = [
        (
            each.name,
            MEASURES[each.measure],
            tag("span", each.trend, class_=f"chip {_effect(each.effect)}"),
            _side(each.before),
            _side(each.after),
        )
        for each in shown
    ]
    total = sum(regression.counts.values())
    caption = f"{len(shown)} of {number(total)} changes." if total > len(shown) else "All changes."
    return table(caption, ("What", "Measure", "Change", "Before", "Now"), rows)


def _effect(effect: str) -> str:
    return {"worse": "block", "better": "pass"}.get(effect, "note")


def _side(value: int | str | None) -> object:
    if isinstance(value, str):
        return ("n", moment(value))
    return ("n", "-") if value is None else value


def grid_table(grid: Grid) -> Markup:
    """Return the heat map in numbers, a line a row."""
    rows = []
    for row in grid.rows:
        total = row.sum
        short = sum(cell.missing > 0 for cell in row.cells.values())
        rows.append(
            (
                row.name,
                total.expected,
                total.present,
                total.missing,
                ("n", share(total.expected - total.missing, total.expected)),
                short,
                total.flags,
            )
        )
    heads = ("Series", "Expected", "Present", "Missing", "Complete", "Short columns", "Flags")
    return table("The picture in numbers.", heads, rows)


def gaps_table(report: ConformanceReport) -> Markup:
    """Return the longest gaps, each with its place between the first and the last bar of all."""
    found = [(each, gap) for each in report.series for gap in each.gaps]
    if not found:
        return tag("p", "No series has a gap.")
    found.sort(key=lambda pair: (-int(pair[1]["missing"]), pair[0].symbol, str(pair[1]["start"])))
    span = _span(report)
    rows = [
        (
            f"{each.symbol} {each.timeframe}",
            ("t", moment(gap["start"])),
            ("t", moment(gap["end"])),
            int(gap["missing"]),
            gap.get("cause") or "",
            _lane(gap, span),
        )
        for each, gap in islice(found, MOST_GAPS)
    ]
    total = sum(each.gap_count for each in report.series)
    caption = f"The longest {len(rows)} of {number(total)}; [from, to) in UTC."
    return table(caption, ("Series", "From", "To", "Missing", "Cause", "Where"), rows)


def _span(report: ConformanceReport) -> tuple[datetime, datetime] | None:
    ends = [
        datetime.fromisoformat(each)
        for item in report.series
        for each in (item.first, item.last, *(gap["end"] for gap in item.gaps))
        if each is not None
    ]
    return (min(ends), max(ends)) if ends and min(ends) < max(ends) else None


def _lane(gap: Mapping[str, Any], span: tuple[datetime, datetime] | None) -> Markup:
    if span is None:
        return text("")
    begin, end = (datetime.fromisoformat(gap[name]) for name in ("start", "end"))
    whole = (span[1] - span[0]).total_seconds()
    left = min(max((begin - span[0]).total_seconds() / whole, 0.0), 1.0) * _LANE
    width = min(max((end - begin).total_seconds() / whole * _LANE, 2.0), _LANE)
    return tag(
        "svg",
        tag(
            "title", f"{left / _LANE:.0%} of the way from {span[0]:%Y-%m-%d} to {span[1]:%Y-%m-%d}"
        ),
        tag("rect", x=0, y=4, width=_LANE, height=4, rx=2, class_="track"),
        tag(
            "rect",
            x=round(min(left, _LANE - width), 1),
            y=0,
            width=round(width, 1),
            height=12,
            rx=1,
            class_="hole",
        ),
        viewBox=f"0 0 {_LANE} 12",
        role="img",
        class_="lane",
    )


def series_table(report: ConformanceReport) -> Markup:
    """Return the series, those that lack most first; columns of zeros are left out."""
    ranked = sorted(
        report.series, key=lambda each: (-_lacking(each), -each.behind, each.symbol, each.timeframe)
    )
    shown = ranked[:MOST_SERIES]
    rare = {
        name: head
        for name, head in _RARE.items()
        if any(getattr(each, name) for each in report.series)
    }
    rows = [
        (
            f"{each.symbol} {each.timeframe}",
            each.calendar,
            ("t", moment(each.first)),
            ("t", moment(each.last)),
            each.expected,
            each.present,
            each.missing,
            ("n", share(each.expected - each.missing, each.expected)),
            each.gap_count,
            *(getattr(each, name) for name in rare),
        )
        for each in shown
    ]
    more = len(ranked) > len(shown)
    caption = (
        f"The {len(rows)} that lack most, of {number(len(ranked))}." if more else "All series."
    )
    zeros = [head.lower() for name, head in _RARE.items() if name not in rare]
    if zeros:
        caption += f" For all of them zero: {', '.join(zeros)}."
    heads = ("Series", "Calendar", "First", "Last", "Expected", "Present", "Missing", "Complete")
    return table(caption, (*heads, "Gaps", *rare.values()), rows, name="Series")


def _lacking(each: SeriesRollup) -> int:
    return each.missing - each.verified_empty


def severities(report: ConformanceReport) -> dict[str, int]:
    """Return how many findings there are by severity."""
    found = dict.fromkeys(("note", *FLAGS), 0)
    for each in report.rules:
        found[each.severity] += each.count
    for finding in report.schema_findings:
        found[finding.severity] += finding.count
    return found
