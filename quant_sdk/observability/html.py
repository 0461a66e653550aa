"""One report as one page that needs nothing else: no network, no script, no file beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from quant_sdk.observability._charts import flags_by_day, from_report_to_report, unexplained
from quant_sdk.observability._grid import make_grid
from quant_sdk.observability._heatmap import LEVELS, heatmap
from quant_sdk.observability._markup import Markup, number, share, tag, text, together
from quant_sdk.observability._style import STYLE
from quant_sdk.observability._tables import (
    changes_table,
    chip,
    gaps_table,
    grid_table,
    moment,
    rules_table,
    schema_table,
    series_table,
    severities,
    table,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quant_sdk.observability._grid import Grid
    from quant_sdk.observability.saved import SavedReport

_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
_OUTCOMES: Final = {
    "first": "This is the node's first report.",
    "same": "It is neither better nor worse than the report before.",
    "better": "It is better than the report before.",
    "worse": "It is worse than the report before.",
    "mixed": "Some of it is better and some of it is worse than in the report before.",
}


def render_html(saved: SavedReport, history: Sequence[SavedReport] = ()) -> str:
    """Return the page of a report.

    Args:
        saved: the report.
        history: the node's last reports, oldest first, for the picture of them over time.
    """
    grid = make_grid(saved.report.daily)
    body = tag(
        "main",
        _header(saved),
        _tiles(saved),
        _regression(saved),
        _findings(saved),
        _completeness(grid),
        _over_time(saved, grid, history),
        _section("Worst gaps", gaps_table(saved.report)),
        _section("Series", series_table(saved.report)) if saved.report.series else None,
        _footer(saved),
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{saved.report.verdict}: {saved.report.node} - conformance"),
        tag("style", Markup(STYLE)),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, tag('body', body), lang='en')}\n"


def _section(title: str, *parts: Markup | None) -> Markup:
    return tag("section", tag("h2", title), *parts)


def _header(saved: SavedReport) -> Markup:
    report = saved.report
    window = together(
        (
            "[",
            moment(report.start) if report.start else "the beginning",
            ", ",
            moment(report.end) if report.end else "the end",
            ")",
        )
    )
    told = [
        together(("Checked ", moment(saved.saved_at), " UTC")),
        together((report.schema_id, " over ", window)),
        text(f"preset {report.preset}, mode {report.mode}"),
        text(f"world {report.world}") if report.world else None,
        together(("as of ", moment(report.as_of))) if report.as_of else None,
        text("refused by the gate") if saved.refused else None,
    ]
    parts = [part for part in told if part is not None]
    line = together(part for each in parts for part in (Markup(" · "), each))
    return tag(
        "header",
        tag("p", "Conformance report", class_="over"),
        tag("h1", chip(report.verdict), report.node),
        tag("p", Markup(line[3:])),
    )


def _tiles(saved: SavedReport) -> Markup:
    report = saved.report
    expected = sum(each.expected for each in report.series)
    lacking = unexplained(saved)
    found = severities(report)
    tiles = (
        ("Rows in", number(report.rows_in), False),
        ("Rows out", number(report.rows_out), False),
        ("Quarantined", number(report.quarantined), report.quarantined > 0),
        ("Identical duplicates", number(report.identical_duplicates), False),
        ("Flags", number(report.flags), found["block"] > 0),
        ("Notes", number(found["note"]), False),
        ("Series", number(len(report.series)), False),
        ("Complete", share(expected - lacking, expected), False),
        ("Missing bars", number(lacking), False),
        ("Gaps", number(sum(each.gap_count for each in report.series)), False),
    )
    return tag(
        "dl",
        *(
            tag("div", tag("dt", name), tag("dd", value), class_="alarm" if alarm else None)
            for name, value, alarm in tiles
        ),
        class_="tiles",
    )


def _regression(saved: SavedReport) -> Markup:
    found = saved.regression
    sentence = tag("p", chip(found.outcome), f" {_OUTCOMES[found.outcome]}")
    if found.before is None:
        return _section("Against the report before", sentence)
    counts = ", ".join(f"{number(count)} {trend}" for trend, count in found.counts.items())
    caveats = tag("ul", *(tag("li", each) for each in found.caveats)) if found.caveats else None
    return _section(
        "Against the report before",
        sentence,
        tag("p", counts, ", compared with ", tag("code", found.before[:16]), class_="hint"),
        tag("h3", "The two have not in common") if caveats else None,
        caveats,
        changes_table(found),
    )


def _findings(saved: SavedReport) -> Markup:
    return together(
        (
            _section("Rules", rules_table(saved.report)),
            _section("Schema", schema_table(saved.report)),
        )
    )


def _completeness(grid: Grid | None) -> Markup:
    title = "Completeness by series and day"
    if grid is None:
        return _section(title, tag("p", "The report has no days to show."))
    held = "a day" if grid.days == 1 else f"{grid.days} days"
    kept = ""
    if grid.together:
        kept = f" The {len(grid.rows) - 1} worst series have a row of their own."
    picture = tag(
        "div",
        heatmap(grid),
        class_="scroll",
        role="region",
        tabindex="0",
        aria_label="Completeness by series and day",
    )
    return _section(
        title,
        tag("p", f"A column is {held}, in UTC. Blank: no bar is expected.{kept}", class_="hint"),
        _legend(),
        picture,
        tag("details", tag("summary", "show the numbers"), grid_table(grid)),
    )


def _legend() -> Markup:
    steps = [tag("li", tag("i", class_=f"l{at}"), name) for at, (name, _) in enumerate(LEVELS)]
    return tag("ul", *steps, tag("li", tag("i", class_="dot"), "flagged"), class_="legend")


def _over_time(saved: SavedReport, grid: Grid | None, history: Sequence[SavedReport]) -> Markup:
    return _section("Flags over time", _by_day(grid, saved.report.flags), _by_report(history))


def _by_day(grid: Grid | None, flags: int) -> Markup:
    title = tag("h3", "By day of the data")
    placed = 0 if grid is None else sum(cell.flags for cell in grid.by_column())
    others = f"{number(flags - placed)} flags belong to no day." if flags > placed else None
    if grid is None or not placed:
        return together((title, tag("p", others or "No day has a flag.")))
    picture = tag(
        "div",
        flags_by_day(grid),
        class_="scroll",
        role="region",
        tabindex="0",
        aria_label="Flags by day of the data",
    )
    hint = tag("p", others, class_="hint") if others else None
    return together(part for part in (title, picture, hint) if part is not None)


def _by_report(history: Sequence[SavedReport]) -> Markup:
    title = tag("h3", "From report to report")
    if len(history) < 2:  # noqa: PLR2004 - a line needs two points
        return together((title, tag("p", "There is no earlier report to compare with.")))
    flags, missing = from_report_to_report(history)
    rows = [
        (
            moment(each.saved_at),
            chip(each.report.verdict),
            each.report.rows_in,
            each.report.flags,
            each.report.quarantined,
            unexplained(each),
            each.regression.outcome,
            tag("code", each.report.digest[:16]),
        )
        for each in reversed(history)
    ]
    heads = (
        "Checked", "Verdict", "Rows in", "Flags", "Quarantined", "Missing",
        "Against the one before", "Digest",
    )  # fmt: skip
    pictures = tag(
        "div",
        tag("div", tag("p", "Flags", class_="hint"), flags),
        tag("div", tag("p", "Missing bars", class_="hint"), missing),
        class_="pair",
    )
    numbers = table(f"The last {len(rows)} reports, the newest first.", heads, rows)
    return together((title, pictures, tag("details", tag("summary", "show the numbers"), numbers)))


def _footer(saved: SavedReport) -> Markup:
    report = saved.report
    facts = {
        "URI": saved.uri,
        "File": saved.path,
        "Digest": report.digest,
        "Schema": f"{report.schema_id} {report.schema_fingerprint}",
        "Run": saved.run_id or "none",
    }
    rows = (
        part
        for name, value in facts.items()
        for part in (tag("dt", name), tag("dd", tag("code", value)))
    )
    return tag("footer", tag("dl", *rows))
