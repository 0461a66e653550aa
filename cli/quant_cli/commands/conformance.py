"""``quant conformance``: check data, and read, show and compare what was found."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import click

from quant_cli.commands.stage import StageLeaf, carry_out
from quant_cli.output import cell, facts, listing, table
from quant_cli.session import Leaf, Session, pass_session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from quant_sdk.observability import Entry, ReportStore, SavedReport

LISTED = 50
SERIES = 50
SAMPLED = 5
BLOCKED = 8
WIDE = 160
"""How wide lines are where nobody tells how wide the terminal is, in characters."""
NARROWEST = 40

_FACTS = (
    "node",
    "world",
    "start",
    "end",
    "as_of",
    "schema_id",
    "preset",
    "mode",
    "rows_in",
    "rows_out",
    "quarantined",
    "identical_duplicates",
)


@click.group()
def conformance() -> None:
    """Check data against its schema and rules, and compare what was found."""


@conformance.command("run", cls=StageLeaf)
@click.option("--table", "table_name", metavar="TABLE", help="A table; default: bars.")
@click.option("--snapshot", metavar="ID", help="The table as a snapshot keeps it.")
@click.option("--path", metavar="PATH", help="A file or folder: Parquet, Feather or CSV.")
@click.option(
    "--schema", "data_schema", metavar="ID", help="The canonical schema, such as ticks/1."
)
@click.option("--symbol", "symbols", metavar="SYMBOL", multiple=True, help="May be repeated.")
@click.option(
    "--timeframe", "timeframes", metavar="TIMEFRAME", multiple=True, help="May be repeated."
)
@click.option("--since", metavar="TIME", help="First instant, inclusive, UTC.")
@click.option("--until", metavar="TIME", help="Exclusive: [since, until).")
@click.option("--as-of", metavar="TIME", help="Count staleness against this instant, or: now.")
@click.option("--preset", metavar="NAME", help="See: quant conformance rules --preset NAME.")
@click.option("--mode", metavar="MODE", help="blocking, partial_ok or shadow.")
@click.option("--node", metavar="NODE", help="Keep the report under this name.")
@click.option("--world", metavar="WORLD", help="The world whose data it is.")
@click.option(
    "--gate-worse/--no-gate-worse", default=None, help="Exit 8 where it is worse than before too."
)
@click.option("--workers", type=int, help="Threads; default: the machine's cores.")
@pass_session
def run_check(session: Session, /, *, table_name: str | None, dry_run: bool, **given: Any) -> int:
    """Check a table, a snapshot or files; exit code 8 where blocked. Runs seamless.conformance."""
    params = {"table": table_name, **{key: _filled(value) for key, value in given.items()}}
    return carry_out(session, "seamless.conformance", params, dry_run=dry_run)


def _filled(value: Any) -> Any:
    return (list(value) or None) if isinstance(value, tuple) else value


@conformance.command("list", cls=Leaf)
@click.argument("node", required=False)
@click.option(
    "--limit", type=click.IntRange(1), default=LISTED, show_default=True, help="Reports at most."
)
@pass_session
def list_reports(session: Session, *, node: str | None, limit: int) -> None:
    """List the last report of each node, or all reports of one, newest first."""
    store = _store(session)
    nodes = store.nodes() if node is None else (node,)
    entries = [entry for name in nodes for entry in store.entries(name)[: 1 if not node else None]]
    document = listing("reports", entries, limit)
    document["reports"] = [
        {
            "node": entry.node,
            "saved_at": entry.saved_at,
            "verdict": _verdict(store, entry),
            "uri": entry.uri,
        }
        for entry in document["reports"]
    ]
    for path in store.strange() if node is None else ():
        session.output.warn(f"passed over: {path} is no folder of reports")
    session.output.emit(document, _reports_text)


def _verdict(store: ReportStore, entry: Entry) -> str:
    from quant_sdk.errors import Corrupted

    try:
        return store.read(entry.uri).report.verdict
    except Corrupted:
        return "unreadable"


def _reports_text(document: dict[str, Any]) -> Iterator[str]:
    columns = ("node", "saved_at", "verdict", "uri")
    yield from table(document["reports"], columns, empty="no reports", widest=200)
    if document["truncated"]:
        yield "more: raise --limit"


@conformance.command("report", cls=Leaf)
@click.argument("uri", metavar="[URI]", required=False)
@click.option(
    "--html",
    "page",
    metavar="FILE",
    type=click.Path(dir_okay=False, writable=True),
    help="Write a page with pictures, which needs nothing else.",
)
@click.option(
    "--limit", type=click.IntRange(0), default=SERIES, show_default=True, help="Series at most."
)
@pass_session
def show_report(session: Session, *, uri: str | None, page: str | None, limit: int) -> None:
    """Show a report by its URI or its node; without one, the last report that was made."""
    if page is not None:
        _check_folder(page)
    store = _store(session)
    saved = store.read(uri) if uri is not None else _last(store)
    document = _document(saved, limit)
    if page is not None:
        document["html"] = str(_write_page(page, saved, store))
    session.output.emit(document, _report_text)


def _last(store: ReportStore) -> SavedReport:
    from quant_sdk.errors import NoData

    newest = [entries[0] for node in store.nodes() if (entries := store.entries(node))]
    if not newest:
        raise NoData("there are no reports", fix="make one: quant conformance run")
    return store.read(max(newest, key=lambda entry: entry.saved_at).uri)


def _check_folder(path: str) -> None:
    from pathlib import Path

    from quant_sdk.errors import InvalidInput

    folder = Path(path).parent
    if not folder.is_dir():
        raise InvalidInput(f"there is no folder {folder}", fix="make it, or name one that stands")


def _write_page(path: str, saved: SavedReport, store: ReportStore) -> Path:
    from pathlib import Path

    from quant_sdk.observability import render_html

    target = Path(path)
    target.write_text(render_html(saved, store.history(saved.report.node)), encoding="utf-8")
    return target


def _document(saved: SavedReport, limit: int) -> dict[str, Any]:
    """Return what was kept, the series that lack most first and bounded; days stay in the file."""
    document = saved.to_dict()
    report = document["report"]
    del report["daily"]
    series = sorted(
        report["series"],
        key=lambda item: (item["verified_empty"] - item["missing"], item["symbol"]),
    )
    report["series"] = series[:limit]
    return {
        **document,
        "flags": saved.report.flags,
        "path": saved.path,
        "truncated": len(series) > limit,
        "next_cursor": None,
    }


def _report_text(document: dict[str, Any]) -> Iterator[str]:
    report, regression = document["report"], document["regression"]
    yield f"{report['verdict']}{' (refused by the gate)' if document['refused'] else ''}"
    yield from facts({**{name: report[name] for name in _FACTS}, "flags": document["flags"]})
    yield ""
    yield from table(report["rules"], ("rule", "severity", "count"), empty="no rules")
    yield from _samples_text(report["rules"])
    if report["schema_findings"]:
        yield ""
        columns = ("column", "severity", "code", "count", "detail")
        yield from table(report["schema_findings"], columns, widest=200)
    yield ""
    shown = (
        "symbol",
        "timeframe",
        "first",
        "last",
        "expected",
        "present",
        "missing",
        "gap_count",
    )
    yield from table(report["series"], shown, empty="no series are shown")
    if document["truncated"]:
        yield "more series: raise --limit"
    yield ""
    yield f"against the report before: {regression['outcome']}"
    yield from _changes_text(regression)
    yield from facts({name: document.get(name) for name in ("uri", "path", "run_id", "html")})


def _samples_text(rules: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the first rows that broke each rule, a line each, as wide as the terminal."""
    wide = shutil.get_terminal_size((WIDE, 0)).columns
    for rule in rules:
        if not rule["sample"]:
            continue
        shown = rule["sample"][:SAMPLED]
        yield ""
        yield f"{rule['rule']}: {len(shown)} of {rule['count']}"
        for row in shown:
            told = {name: value for name, value in row.items() if value is not None}
            yield f"  {cell(told, widest=max(wide - 2, NARROWEST))}"


@conformance.command("rules", cls=Leaf)
@click.option("--preset", metavar="NAME", help="With the severities and thresholds of a preset.")
@click.option("--kind", metavar="KIND", help="Only rules for bars, ticks or quotes.")
@pass_session
def list_rules(session: Session, *, preset: str | None, kind: str | None) -> None:
    """List the rules, what each measures, and the presets."""
    from quant_sdk.conformance.pipeline import ConformancePipeline
    from quant_sdk.conformance.presets import PRESETS, STRICT, preset_named
    from quant_sdk.conformance.rule_registry import RuleRegistry

    registry = RuleRegistry.discover()
    chosen = preset_named(preset or STRICT.name)
    kinds = sorted({rule.kind for rule in registry}) if kind is None else [kind]
    settings = [ConformancePipeline(name, preset=chosen).setting for name in kinds]
    rules = [
        rule.to_dict() | {"thresholds": {key: found.thresholds[key] for key in rule.thresholds}}
        for found in settings
        for rule in found.rules
    ]
    document = {
        **listing("rules", rules),
        "preset": chosen.name,
        "presets": sorted(PRESETS),
        "broken": [{"origin": key, **error.to_dict()} for key, error in registry.broken.items()],
    }
    session.output.emit(document, _rules_text)


def _rules_text(document: dict[str, Any]) -> Iterator[str]:
    columns = ("id", "kind", "severity", "thresholds", "measures")
    yield from table(document["rules"], columns, empty="no rules", widest=200)
    yield f"preset {document['preset']}; there are {cell(document['presets'])}"
    for plugin in document["broken"]:
        yield f"broken: {cell(plugin['origin'])}: {cell(plugin['message'], widest=200)}"


@conformance.command("diff", cls=Leaf)
@click.argument("before", metavar="URI")
@click.argument("after", metavar="[URI]", required=False)
@click.option("--gate-worse", is_flag=True, help="Exit 8 where the second is worse.")
@pass_session
def diff_reports(session: Session, *, before: str, after: str | None, gate_worse: bool) -> int:
    """Compare two reports; with one node, its last report with the one before."""
    from quant_sdk.observability import compare

    store = _store(session)
    old, new = (store.read(before), store.read(after)) if after else _last_two(store, before)
    found = compare(old.report, new.report)
    document = {"before": old.uri, "after": new.uri, **found.to_dict()}
    document |= {"before": old.uri, "after": new.uri}
    session.output.emit(document, _diff_text)
    return BLOCKED if gate_worse and found.is_worse else 0


def _last_two(store: ReportStore, uri: str) -> tuple[SavedReport, SavedReport]:
    from quant_sdk.errors import NoData

    new = store.read(uri)
    entries = store.entries(new.report.node)
    at = next(at for at, entry in enumerate(entries) if entry.uri == new.uri)
    if at + 1 == len(entries):
        raise NoData(
            f"{new.report.node} has no report before this one", fix="give two URIs, or check again"
        )
    return store.read(entries[at + 1].uri), new


def _diff_text(document: dict[str, Any]) -> Iterator[str]:
    yield document["outcome"]
    yield from facts({name: document[name] for name in ("before", "after")})
    yield from _changes_text(document)


def _changes_text(regression: dict[str, Any]) -> Iterator[str]:
    for caveat in regression["caveats"]:
        yield f"not in common: {cell(caveat)}"
    if regression["changes"]:
        columns = ("name", "measure", "trend", "before", "after", "effect")
        yield from table(regression["changes"], columns)


def _store(session: Session) -> ReportStore:
    from quant_sdk.observability import ReportStore

    return ReportStore(session.sdk.workspace)
