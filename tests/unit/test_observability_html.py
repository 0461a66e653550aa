"""The page of a report: whole in itself, escaped, bounded, and readable without seeing."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from _reports import NOW, changed, daily_of, report_of, series_of

from quant_sdk.conformance.report import RuleCount, SchemaFinding
from quant_sdk.observability import ReportStore, render_html
from quant_sdk.observability._grid import MOST_COLUMNS, MOST_ROWS, Cell, make_grid
from quant_sdk.observability._heatmap import LEVELS, level_of
from quant_sdk.observability._markup import share

HOSTILE = "<script>alert(1)</script>\"'&</style></title>\u202e\x1b[31m"
VOID = {"meta", "rect", "circle", "line"}


class Page(HTMLParser):
    """The elements of a page, checked to be closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID or tag in {"rect", "circle"}:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        where = self._open[-1] if self._open else ""
        self.texts.setdefault(where, []).append(data)

    def all(self, name: str) -> list[dict]:
        return [attrs for tag, attrs in self.tags if tag == name]

    @property
    def text(self) -> str:
        return " ".join(
            each for name, all_ in self.texts.items() if name != "style" for each in all_
        )


@pytest.fixture
def page(workspace):
    """Keep reports, and show the last one."""

    def show(*reports) -> str:
        store = ReportStore(workspace)
        saved = [store.save(report, now=NOW, run_id="run-1") for report in reports]
        return render_html(saved[-1], store.history(reports[-1].node))

    return show


def flawed(**fields):
    return report_of(
        counts={"off_grid": 3, "return_spike": 2, "volume_spike": 1},
        findings=(
            SchemaFinding(
                code="lossy_cast", severity="block", column="close", detail="d", count=7_531
            ),
        ),
        series=(series_of("X:A", missing=5), series_of("X:B", behind=2)),
        daily=daily_of(["X:A", "X:B"], 30, lambda at, day: (12, 1) if at == day == 1 else (24, 0)),
        **fields,
    )


def hostile():
    rule = RuleCount(rule=HOSTILE, severity="block", count=1, sample=({HOSTILE: HOSTILE},))
    gap = {"start": "2024-01-01T00:00:00Z", "end": "2024-01-02T00:00:00Z", "missing": 5}
    return report_of(
        rules=(rule,),
        series=(
            series_of(HOSTILE, missing=5, calendar=HOSTILE, gaps=({**gap, "cause": HOSTILE},)),
        ),
        daily=daily_of([HOSTILE], 2, timeframe=HOSTILE),
        findings=(SchemaFinding(code=HOSTILE, severity="warn", column=HOSTILE, detail=HOSTILE),),
        world=HOSTILE,
        preset=HOSTILE,
    )


def test_the_page_says_what_the_report_says(page):
    text = Page(page(report_of(), flawed())).text
    for word in ("block", "table:bars", "off_grid", "lossy_cast", "X:A 1h", "bars/1", "run-1"):
        assert word in text
    assert "It is worse than the report before." in text
    assert flawed().digest in text
    assert "7,531" in text  # the rows of the finding


@pytest.mark.parametrize("make", [report_of, flawed, hostile])
def test_the_page_needs_nothing_else(page, make):
    text = page(report_of(), make())
    found = Page(text)
    names = {name for name, _ in found.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "base", "form", "use"}
    for _, attributes in found.tags:
        assert not {"src", "href", "xlink:href", "style"} & attributes.keys()
        assert not [name for name in attributes if name.startswith("on")]
    assert "url(" not in text
    assert "@import" not in text
    policies = [each["content"] for each in found.all("meta") if "http-equiv" in each]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_hostile_names_are_text_and_nothing_else(page):
    text = page(hostile(), changed(hostile(), rows_in=7))
    found = Page(text)
    assert "script" not in {name for name, _ in found.tags}
    assert text.count("</style>") == 1
    assert "\u202e" not in text
    assert "\x1b" not in text
    assert "<script>alert(1)" in found.text


def test_the_page_can_be_read_without_seeing_it(page):
    text = page(report_of(counts={"off_grid": 1}), flawed())
    found = Page(text)
    assert found.all("html") == [{"lang": "en"}]
    assert len(found.all("h1")) == len(found.all("main")) == 1
    pictures = found.all("svg")
    assert all(each["role"] == "img" for each in pictures)
    assert len(re.findall(r"<svg[^>]*><title>[^<]+</title>", text)) == len(pictures) >= 4
    assert len(found.all("table")) == len(found.all("caption")) >= 6
    assert all(each.get("scope") in {"col", "row"} for each in found.all("th"))
    regions = [each for each in found.all("div") if each.get("role") == "region"]
    assert regions
    assert all(each["aria-label"] and each["tabindex"] == "0" for each in regions)
    # Beside each picture stands a table with its numbers.
    assert text.count("show the numbers") == 2


def test_light_and_dark_are_as_the_reader_wants(page):
    assert "@media (prefers-color-scheme: dark)" in page(report_of())


def test_a_report_of_nothing_is_a_page_too(page):
    empty = report_of(rules=(), series=(), rows_in=0, rows_out=0)
    text = Page(page(empty)).text
    assert "no days to show" in text
    assert "No series has a gap." in text


def test_many_series_and_years_are_brought_to_a_size(page):
    names = [f"X:{at:03d}" for at in range(200)]
    daily = daily_of(names, 730, lambda at, day: (20, 0) if at % 9 == day % 70 == 0 else (24, 0))
    text = page(report_of(series=tuple(map(series_of, names)), daily=daily))
    assert len(text) < 500_000
    found = Page(text)
    assert "160 others" not in found.text
    assert "161 others" in found.text
    assert "The 100 that lack most, of 200." in found.text


def test_the_worst_series_keep_a_row_and_no_bar_is_lost():
    names = [f"X:{at:03d}" for at in range(100)]
    daily = daily_of(names, 400, lambda at, day: (24 - at % 50 // 25, at % 2 if day == 7 else 0))
    grid = make_grid(daily)
    assert len(grid.rows) == MOST_ROWS
    assert grid.columns <= MOST_COLUMNS
    assert grid.together == 100 - MOST_ROWS + 1
    kept = {row.name for row in grid.rows[:-1]}
    assert kept <= {name for at, name in enumerate(names) if at % 50 >= 25}
    sums = Cell()
    for row in grid.rows:
        sums.add(row.sum)
    for key in ("expected", "present", "flags"):
        assert getattr(sums, key) == sum(entry[key] for entry in daily)
    assert grid.span(grid.columns - 1)[1] == grid.last


@pytest.mark.parametrize(("step", "days", "columns"), [(7, 7, 104), (28, 28, 27), (1, 6, 122)])
def test_days_that_a_report_has_joined_make_a_column(step, days, columns):
    daily = daily_of(["X:A"], 728 if step < 28 else 756, step=step)
    grid = make_grid(daily)
    assert (grid.days, grid.columns) == (days, columns)
    assert all(cell.expected for cell in grid.by_column())
    assert (grid.last - grid.first).days == (727 if step < 28 else 755)


def test_series_of_several_timeframes_have_rows_of_their_own():
    daily = (*daily_of(["X:A"], 2), *daily_of(["X:A"], 2, timeframe="1d"))
    assert [row.name for row in make_grid(daily).rows] == ["X:A 1d", "X:A 1h"]


@pytest.mark.parametrize(
    ("expected", "present", "level"),
    [
        (0, 0, 0),
        (100, 100, 0),
        (100, 101, 0),
        (1000, 999, 1),
        (100, 99, 1),
        (100, 95, 2),
        (100, 94, 3),
        (100, 74, 4),
        (100, 1, 4),
        (100, 0, 5),
    ],
)
def test_a_cell_has_the_colour_of_what_it_lacks(expected, present, level):
    assert level_of(Cell(expected, present, 0)) == level
    assert level < len(LEVELS)


@pytest.mark.parametrize(
    ("part", "whole", "shown"),
    [
        (10**9 - 1, 10**9, "99.99 %"),
        (10**9, 10**9, "100 %"),
        (1, 10**9, "under 0.01 %"),
        (0, 5, "0 %"),
        (0, 0, "-"),
    ],
)
def test_only_what_is_whole_shows_as_a_hundred_percent(part, whole, shown):
    assert share(part, whole) == shown


def test_reading_and_showing_reports_loads_no_data_library(child_env):
    code = (
        "import quant_sdk.observability as o, sys; o.ReportStore, o.render_html, o.compare; "
        "print({m.partition('.')[0] for m in sys.modules} "
        "& {'polars', 'pyarrow', 'deltalake', 'pydantic', 'numpy', 'httpx'})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=child_env, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"
